"""The manifests keep the published schemas, and agree with the image and the program."""

import copy
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import msgspec
import pytest

from shared.errors import UsageError
from shared.settings import PREFIX
from tests.conftest import ROOT
from tests.deploy.dockerfile import read
from tests.deploy.manifests import FOLDER, Manifest, build, check, through_keda
from worker.desk.access import Access
from worker.settings import Settings, read_settings

OVERLAYS = ["overlays/cpu", "overlays/gpu"]
ALL = [*OVERLAYS, "desk", "topics"]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()


def one(folder: str, kind: str) -> Manifest:
    (found,) = (manifest for manifest in build(folder) if manifest["kind"] == kind)
    return found


def pod(folder: str) -> Manifest:
    spec: Manifest = one(folder, "Job" if folder == "topics" else "Deployment")["spec"]
    template: Manifest = spec["template"]["spec"]
    return template


@pytest.mark.parametrize("folder", ALL)
def test_every_manifest_keeps_its_schema(folder: str) -> None:
    manifests = build(folder)
    assert len(manifests) >= 2
    for manifest in manifests:
        if manifest["kind"] == "ScaledObject":
            assert through_keda(manifest) == manifest
        else:
            check(manifest)


@pytest.mark.slow
def test_a_slip_would_be_found() -> None:
    deployment = copy.deepcopy(one("overlays/cpu", "Deployment"))
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    container["securityContext"]["readOnlyRootFileSystem"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        check(deployment)
    scaled = copy.deepcopy(one("overlays/cpu", "ScaledObject"))
    scaled["spec"]["minReplicas"] = 2
    assert through_keda(scaled) != scaled
    scaled["spec"]["minReplicaCount"] = "two"
    with pytest.raises(subprocess.CalledProcessError):
        through_keda(scaled)


def test_every_file_is_built_into_something() -> None:
    listed = {"kustomization.yaml", "settings.env", "topics.sh"}
    for kustomization in FOLDER.rglob("kustomization.yaml"):
        text = kustomization.read_text()
        for path in kustomization.parent.iterdir():
            assert path.is_dir() or path.name in listed or path.name in text, path


@pytest.mark.parametrize("folder", ALL)
def test_pods_run_with_no_more_than_they_need(folder: str) -> None:
    assert_hardened(pod(folder))


def assert_hardened(spec: Manifest) -> None:
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in spec["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"].keys() == {"requests", "limits"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_deployment_agrees_with_the_image(overlay: str) -> None:
    spec = pod(overlay)
    (container,) = spec["containers"]
    steps = read()
    (user,) = (s["value"] for s in steps if s["instruction"] == "USER")
    context = spec["securityContext"]
    assert f"{context['runAsUser']}:{context['runAsGroup']}" == user
    (volumes,) = (s["value"] for s in steps if s["instruction"] == "VOLUME")
    mounted = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert set(re.findall(r'"(.*?)"', volumes)) <= mounted.keys()
    (port,) = container["ports"]
    assert port["containerPort"] == Settings().metrics_port
    assert f"EXPOSE {port['containerPort']}\n" in DOCKERFILE
    probes = {
        name: probe["httpGet"]["path"] for name, probe in container.items() if "Probe" in name
    }
    assert probes == {
        "startupProbe": "/healthz",
        "livenessProbe": "/healthz",
        "readinessProbe": "/readyz",
    }
    assert all(
        probe["httpGet"]["port"] == port["name"]
        for name, probe in container.items()
        if "Probe" in name
    )
    tag = container["image"].rpartition(":")[2]
    assert tag.endswith("-gpu") == ("nvidia.com/gpu" in container["resources"]["limits"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_settings_are_ones_that_the_program_reads(overlay: str) -> None:
    (container,) = pod(overlay)["containers"]
    environment = dict(one(overlay, "ConfigMap")["data"])
    environment |= {v["name"]: v["value"] for v in container.get("env", [])}
    settings = read_settings(environment)
    assert any(name.startswith(PREFIX) for name in environment)
    (trigger,) = one(overlay, "ScaledObject")["spec"]["triggers"]
    metadata: dict[str, Any] = trigger["metadata"]
    assert metadata["bootstrapServers"] == settings.kafka_bootstrap_servers
    assert metadata["consumerGroup"] == settings.group_id
    assert metadata["topic"] == settings.input_topic


def test_the_desk_agrees_with_its_image_and_lets_nobody_in_without_a_token() -> None:
    (container,) = pod("desk")["containers"]
    settings = read_settings(
        dict(one("desk", "ConfigMap")["data"]) | {"TRIAGE_DESK_TOKEN": "of the secret, long enough"}
    )
    (port,) = container["ports"]
    assert port["containerPort"] == settings.desk_port
    assert f"EXPOSE {settings.desk_port}\n" in DOCKERFILE
    Access(settings)
    with pytest.raises(UsageError):
        Access(msgspec.structs.replace(settings, desk_token=None))
    assert one("desk", "Deployment")["spec"]["replicas"] == 1
    labels = one("desk", "Deployment")["spec"]["template"]["metadata"]["labels"].items()
    selected = one("desk", "NetworkPolicy")["spec"]["podSelector"]["matchLabels"].items()
    assert selected <= labels
    assert one("desk", "Service")["spec"]["selector"].items() <= labels


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_it_scales_within_the_partitions_and_never_to_zero(overlay: str) -> None:
    scaled = one(overlay, "ScaledObject")["spec"]
    assert scaled["scaleTargetRef"]["name"] == one(overlay, "Deployment")["metadata"]["name"]
    assert "replicas" not in one(overlay, "Deployment")["spec"]
    assert scaled["minReplicaCount"] >= 1
    assert "idleReplicaCount" not in scaled
    (job,) = pod("topics")["containers"]
    partitions = {v["name"]: v["value"] for v in job["env"]}["PARTITIONS"]
    assert scaled["maxReplicaCount"] == int(partitions)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_with_models_in_weights_and_biases_no_volume_is_claimed(
    overlay: str, tmp_path: Path
) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "kubernetes")
    kustomization = folder / overlay / "kustomization.yaml"
    text = kustomization.read_text()
    kustomization.write_text(text.replace("../../keda]", "../../keda, ../../wandb-registry]"))
    without = build(str(folder / overlay))

    expected = copy.deepcopy(build(overlay))
    expected.remove(one(overlay, "PersistentVolumeClaim"))
    (spec,) = (m["spec"]["template"]["spec"] for m in expected if m["kind"] == "Deployment")
    (volume,) = (v for v in spec["volumes"] if "persistentVolumeClaim" in v)
    spec["volumes"].remove(volume)
    mounts = spec["containers"][0]["volumeMounts"]
    mounts.remove(next(mount for mount in mounts if mount["name"] == volume["name"]))
    assert without == expected


@pytest.mark.parametrize("wandb", [False, True], ids=["registry in a folder", "in W&B"])
def test_a_job_lets_models_learn_where_that_is_wanted(wandb: bool, tmp_path: Path) -> None:
    assert "CronJob" not in {manifest["kind"] for manifest in build("overlays/cpu")}
    folder = shutil.copytree(FOLDER, tmp_path / "kubernetes")
    kustomization = folder / "overlays" / "cpu" / "kustomization.yaml"
    components = "../../adapt, ../../wandb-registry" if wandb else "../../adapt"
    text = kustomization.read_text().replace("../../keda]", f"../../keda, {components}]")
    kustomization.write_text(text)
    manifests = build(str(folder / "overlays" / "cpu"))
    for manifest in manifests:
        if manifest["kind"] != "ScaledObject":
            check(manifest)
    (job,) = (manifest["spec"] for manifest in manifests if manifest["kind"] == "CronJob")
    spec = job["jobTemplate"]["spec"]["template"]["spec"]
    assert_hardened(spec)
    (container,) = spec["containers"]
    assert container["image"].endswith("-trainer")
    assert " AS trainer\n" in DOCKERFILE
    claimed = [v["name"] for v in spec["volumes"] if "persistentVolumeClaim" in v]
    assert claimed == ([] if wandb else ["registry"])
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    assert mounts == {volume["name"] for volume in spec["volumes"]}
    configs = {m["metadata"]["name"]: m["data"] for m in manifests if m["kind"] == "ConfigMap"}
    used = [source["configMapRef"]["name"] for source in container["envFrom"][:1]]
    used += [v["configMap"]["name"] for v in spec["volumes"] if "configMap" in v]
    assert set(used) <= configs.keys()
    assert container["command"] == ["sh", f"/scripts/{next(iter(configs[used[1]]))}"]
    read_settings(configs[used[0]])
    labels = job["jobTemplate"]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        m["spec"]["podSelector"]["matchLabels"] for m in manifests if m["kind"] == "NetworkPolicy"
    ]
    assert [selector for selector in selectors if selector.items() <= labels.items()] == [labels]


def test_what_is_selected_is_there() -> None:
    labels = one("overlays/cpu", "Deployment")["spec"]["template"]["metadata"]["labels"]
    for kind in ("Service", "PodDisruptionBudget", "NetworkPolicy"):
        spec = one("overlays/cpu", kind)["spec"]
        selector = spec.get("selector") or spec["podSelector"]
        assert selector.get("matchLabels", selector) == labels


def test_labels_are_not_added_to_what_others_are_selected_by() -> None:
    rules = one("overlays/cpu", "NetworkPolicy")["spec"]["egress"]
    (names,) = (rule["to"] for rule in rules if "to" in rule)
    assert names[0]["podSelector"] == {"matchLabels": {"k8s-app": "kube-dns"}}

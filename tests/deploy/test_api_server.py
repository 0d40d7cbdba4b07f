"""A real Kubernetes API server takes the manifests, and their pods where pods are restricted."""

from collections.abc import Iterator

import pytest

from tests.deploy.api_server import Cluster, api_server, build_api_server, need_go_and_etcd
from tests.deploy.manifests import Manifest, build

pytestmark = [pytest.mark.release, pytest.mark.timeout(3600)]

FOLDERS = ["overlays/cpu", "overlays/gpu", "desk", "topics", "adapt"]
NAMESPACE: Manifest = {
    "apiVersion": "v1",
    "kind": "Namespace",
    "metadata": {
        "name": "triage",
        "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
    },
}

TRY_POD = ("create", "--dry-run=server", "-n", "triage", "-f", "-")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    need_go_and_etcd()
    program = build_api_server(tmp_path_factory.mktemp("build"))
    with api_server(program, tmp_path_factory.mktemp("cluster")) as running:
        made = running.kubectl("create", "-f", "-", manifests=[NAMESPACE])
        assert made.returncode == 0, made.stderr
        yield running


def of_the_api_server(folder: str) -> list[Manifest]:
    """Return a folder's manifests without KEDA's, whose kind another program adds."""
    return [manifest for manifest in build(folder) if manifest["kind"] != "ScaledObject"]


def pods(manifests: list[Manifest]) -> list[Manifest]:
    """Return the pods that controllers would make."""
    made = []
    for manifest in manifests:
        spec = manifest.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        if template:
            metadata = template["metadata"] | {"name": manifest["metadata"]["name"]}
            pod = {"apiVersion": "v1", "kind": "Pod"}
            made.append(pod | {"metadata": metadata, "spec": template["spec"]})
    return made


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_cluster_takes_the_manifests_and_restricted_pods(folder: str, cluster: Cluster) -> None:
    manifests = of_the_api_server(folder)
    strict = ("apply", "-n", "triage", "--validate=strict", "-f", "-")
    taken = cluster.kubectl(*strict, manifests=manifests)
    assert (taken.returncode, taken.stderr) == (0, "")
    assert len(taken.stdout.splitlines()) == len(manifests)
    changes = cluster.kubectl("diff", "-n", "triage", "-f", "-", manifests=manifests)
    assert (changes.returncode, changes.stdout) == (0, "")
    pod = pods(manifests)
    assert len(pod) == 1
    made = cluster.kubectl(*TRY_POD, manifests=pod)
    assert (made.returncode, made.stderr) == (0, "")


def test_a_slip_would_be_refused(cluster: Cluster) -> None:
    manifests = of_the_api_server("overlays/cpu")
    (pod,) = pods(manifests)
    pod["metadata"]["name"] = "slip"
    container = pod["spec"]["containers"][0]
    container["securityContext"]["allowPrivilegeEscalation"] = True
    refused = cluster.kubectl(*TRY_POD, manifests=[pod])
    assert "violates PodSecurity" in refused.stderr
    del container["securityContext"]["allowPrivilegeEscalation"]
    container["redinessProbe"] = container.pop("readinessProbe")
    refused = cluster.kubectl(*TRY_POD, manifests=[pod])
    assert "redinessProbe" in refused.stderr

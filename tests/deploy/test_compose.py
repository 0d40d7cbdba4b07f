"""The Compose file is valid, and its parts are those of this repository."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.deploy.dockerfile import read
from tests.deploy.programs import program

DEPLOY = ROOT / "deploy"


@pytest.fixture(scope="module")
def composed() -> dict[str, Any]:
    """Return Docker Compose's own reading of the file, which fails if it breaks the schema."""
    done = subprocess.run(
        [program("docker-compose"), "-f", DEPLOY / "compose.yaml", "config", "--format", "json"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def test_compose_refuses_what_its_schema_does_not_know(tmp_path: Path) -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    (tmp_path / "compose.yaml").write_text(text.replace("read_only:", "read_onyl:"))
    done = subprocess.run(
        [program("docker-compose"), "-f", tmp_path / "compose.yaml", "config", "-q"],
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "read_onyl" in done.stderr


def test_what_is_built_and_mounted_is_there(composed: dict[str, Any]) -> None:
    stages = [s["value"].split(" AS ")[-1] for s in read()]
    mounted = []
    for service in composed["services"].values():
        if "build" in service:
            assert service["build"]["target"] in stages
            assert Path(service["build"]["context"]) == ROOT
            assert (ROOT / service["build"]["dockerfile"]).is_file()
        volumes = service.get("volumes", ())
        mounted += [volume["source"] for volume in volumes if volume["type"] == "bind"]
    assert len(mounted) >= 6
    assert [path for path in mounted if not Path(path).exists()] == []


def test_our_containers_have_what_the_image_promises(composed: dict[str, Any]) -> None:
    ours = [s for s in composed["services"].values() if s["image"].startswith("tweet-triage")]
    assert len(ours) == 4
    for service in ours:
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_grafana_finds_its_dashboard_and_prometheus(composed: dict[str, Any]) -> None:
    grafana = {v["target"]: Path(v["source"]) for v in composed["services"]["grafana"]["volumes"]}
    provisioning = grafana["/etc/grafana/provisioning"]
    providers = (provisioning / "dashboards" / "dashboards.yml").read_text()
    (dashboard,) = (path for path in grafana if path.endswith(".json"))
    assert f"path: {Path(dashboard).parent}" in providers
    source = (provisioning / "datasources" / "prometheus.yml").read_text()
    assert "url: http://prometheus:9090" in source
    assert "prometheus" in composed["services"]

"""The Dockerfile keeps hadolint's rules, and copies and installs only what it should."""

import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.deploy.dockerfile import DOCKERFILE, read
from tests.deploy.programs import program

IMAGES = ["cpu", "desk", "gpu", "trainer"]


def hadolint(path: Path) -> subprocess.CompletedProcess[str]:
    command = [program("hadolint"), "--no-color", "--failure-threshold", "style", str(path)]
    return subprocess.run(command, capture_output=True, text=True)


def test_hadolint_is_content(tmp_path: Path) -> None:
    done = hadolint(DOCKERFILE)
    assert (done.returncode, done.stdout) == (0, "")
    slip = tmp_path / "Dockerfile"
    slip.write_text(DOCKERFILE.read_text() + "RUN cd /tmp && sudo true\n")
    assert "DL3004" in hadolint(slip).stdout


@pytest.mark.parametrize("image", IMAGES)
def test_nothing_is_installed_into_an_image_but_what_was_pinned(image: str) -> None:
    stages: dict[str, list[str]] = {}
    for step in read():
        if step["instruction"] == "FROM":
            name = step["value"].split()[-1]
            stages[name] = []
        elif step["instruction"] in ("RUN", "COPY"):
            stages.setdefault(name, []).append(step["value"])
    assert stages[image] == [
        f"--from={image}-packages /opt/triage /opt/triage",
        "--from=application /opt/triage /opt/triage",
    ]
    requirements = "requirements.txt" if image == "cpu" else f"requirements-{image}.txt"
    (installed,) = (step for step in stages[f"{image}-packages"] if "pip install" in step)
    assert installed.endswith(f"--no-build --require-hashes -r deploy/{requirements}")


def test_the_last_image_is_the_one_that_is_built_if_none_is_named() -> None:
    froms = [step["value"] for step in read() if step["instruction"] == "FROM"]
    assert froms[-1].endswith(" AS cpu")


def test_what_is_copied_is_what_docker_is_given() -> None:
    ignored = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text().splitlines()
    given = {path for line in ignored if line.startswith("!") for path in ROOT.glob(line[1:])}
    copied = {
        ROOT / source
        for step in read()
        if step["instruction"] == "COPY" and not step["value"].startswith("--from")
        for source in step["value"].split()[:-1]
    }
    assert copied == given

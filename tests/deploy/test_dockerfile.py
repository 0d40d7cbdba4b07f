"""The Dockerfile keeps hadolint's rules, and its images are what they are said to be."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.deploy.images import Stages, read
from tests.deploy.programs import program

DOCKERFILE = ROOT / "deploy" / "Dockerfile"
IMAGES = ["cpu", "gpu", "trainer"]


@pytest.fixture
def stages(tmp_path: Path) -> Stages:
    return Stages(DOCKERFILE, ROOT, tmp_path, {})


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
def test_every_image_runs_a_program_of_ours_as_nobody_in_particular(
    stages: Stages, image: str
) -> None:
    (program_name,) = json.loads(stages.last(image, "ENTRYPOINT"))  # exec form: it gets SIGTERM
    assert program_name == ("triage-trainer" if image == "trainer" else "triage-worker")
    uid, gid = map(int, stages.last(image, "USER").split(":"))
    assert min(uid, gid) >= 10_000


@pytest.mark.parametrize("image", IMAGES)
def test_nothing_is_installed_into_an_image_but_what_was_pinned(stages: Stages, image: str) -> None:
    steps = stages.instructions(image)
    (made,) = (step["value"] for step in steps if step["instruction"] == "RUN")
    assert made.startswith("groupadd")
    copied = [step["value"].split() for step in steps if step["instruction"] == "COPY"]
    assert copied == [
        [f"--from={image}-packages", "/opt/triage", "/opt/triage"],
        ["--from=application", "/opt/triage", "/opt/triage"],
    ]
    installed = [step["value"] for step in stages.instructions(f"{image}-packages")]
    name = "requirements.txt" if image == "cpu" else f"requirements-{image}.txt"
    assert installed[-1].endswith(f"--no-build --require-hashes -r deploy/{name}")


def test_the_last_image_is_the_one_that_is_built_if_none_is_named() -> None:
    froms = [step["value"] for step in read(DOCKERFILE) if step["instruction"] == "FROM"]
    assert froms[-1].endswith(" AS cpu")


def test_what_is_copied_is_what_docker_is_given() -> None:
    ignored = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text().splitlines()
    given = {path for line in ignored if line.startswith("!") for path in ROOT.glob(line[1:])}
    copied = {
        ROOT / source
        for step in read(DOCKERFILE)
        if step["instruction"] == "COPY" and not step["value"].startswith("--from")
        for source in step["value"].split()[:-1]
    }
    assert copied == given

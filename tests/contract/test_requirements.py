"""What images install is what the project's own bounds resolve to."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.missing import skip_or_fail

EXPORT = "uv export -q {options} --no-emit-project --no-annotate --format requirements-txt"
WORKER = "--extra wandb --no-dev"
GPU = "--extra gpu --extra wandb --no-dev"
TRAINER = "--extra trainer --no-dev"
DESK = "--extra desk --extra wandb --no-dev"
BUILD = "--only-group build"


@pytest.fixture
def uv() -> str:
    found = os.environ.get("UV") or shutil.which("uv")
    if found is None:
        skip_or_fail("uv is not installed")
    return found


@pytest.mark.parametrize(
    ("name", "options", "absent"),
    [
        ("requirements.txt", WORKER, {"pandas", "scikit-learn", "tensorflow", "hatchling"}),
        ("requirements-gpu.txt", GPU, {"pandas", "scikit-learn", "hatchling"}),
        ("requirements-desk.txt", DESK, {"pandas", "scikit-learn", "nvidia", "hatchling"}),
        ("requirements-trainer.txt", TRAINER, {"nvidia", "hatchling"}),
        ("requirements-build.txt", BUILD, {"tensorflow", "nvidia"}),
    ],
)
def test_the_pinned_requirements_are_current(
    name: str, options: str, absent: set[str], uv: str
) -> None:
    command = EXPORT.format(options=options)
    done = subprocess.run(
        [uv, *command.split()[1:]], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert (ROOT / "deploy" / name).read_text() == done.stdout, command
    assert {
        line.split("==")[0].split("-")[0] for line in done.stdout.splitlines()
    } & absent == set()


@pytest.mark.slow
def test_the_image_s_python_has_a_wheel_of_everything(tmp_path: Path, uv: str) -> None:
    """Which would else be found out when the image is built; nothing is downloaded for it."""
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    (python,) = re.findall(r"^ARG PYTHON_IMAGE=python:(3\.\d+)-slim", dockerfile, re.MULTILINE)
    for platform, name in (
        ("x86_64-manylinux_2_28", "requirements-gpu.txt"),
        ("x86_64-manylinux_2_28", "requirements-trainer.txt"),
        ("aarch64-manylinux_2_28", "requirements.txt"),
    ):
        options = ["--python-version", python, "--python-platform", platform, "--no-build"]
        options += ["--target", str(tmp_path), "--require-hashes", "-r", name]
        done = subprocess.run(
            [uv, "pip", "install", "--dry-run", *options],
            cwd=ROOT / "deploy",
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert "+ spacy==" in done.stderr

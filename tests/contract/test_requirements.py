"""What images install is what the project's own bounds resolve to."""

import os
import shutil
import subprocess

import pytest

from tests.conftest import ROOT

EXPORT = "uv export -q --no-dev --no-emit-project --no-annotate --format requirements-txt"


def test_the_pinned_requirements_are_current() -> None:
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        if os.environ.get("CI"):
            raise AssertionError("uv is not installed")
        pytest.skip("uv is not installed")
    done = subprocess.run(
        [uv, *EXPORT.split()[1:]], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert (ROOT / "deploy" / "requirements.txt").read_text() == done.stdout, EXPORT
    assert "pandas" not in done.stdout
    assert "scikit-learn" not in done.stdout

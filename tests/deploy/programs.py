"""Programs that are installed beside the Python that runs the tests."""

import shutil
import sys
from pathlib import Path


def program(name: str) -> str:
    """Return the path of a program that a development package contains."""
    found = shutil.which(name, path=str(Path(sys.executable).parent))
    assert found is not None, f"{name} is not installed"
    return found

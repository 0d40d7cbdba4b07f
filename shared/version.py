"""Version: which release and which commit of the code runs."""

import os
import subprocess
from importlib import metadata
from pathlib import Path

COMMIT_VARIABLE = "SOURCE_COMMIT"
"""An environment variable that the images set, because they hold no checkout."""


def version() -> str:
    """Return the installed version, such as `0.1.0`."""
    return metadata.version("tweet-triage")


def commit() -> str | None:
    """Return the commit of the code as 40 hexadecimal digits, or None if it is unknown."""
    if given := os.environ.get(COMMIT_VARIABLE):
        return given
    folder = Path(__file__).parent
    if not (folder.parent / ".git").exists():  # installed, or another project's checkout
        return None
    command = ["git", "rev-parse", "HEAD"]
    try:
        found = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=10)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None

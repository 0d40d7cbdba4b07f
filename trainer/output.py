"""Where a command's outcome goes: found out before the work, and written after it."""

import json
import os
import sys
import tempfile
from pathlib import Path

from shared.errors import DataError


def expect_to_write(path: Path) -> None:
    """Finds out whether a file can be written.

    Raises:
        DataError: if it cannot, with the reason.
    """
    if path.is_dir():
        raise DataError(f"{path} cannot be written: it is a folder")
    if not path.parent.is_dir():
        raise DataError(f"{path} cannot be written: there is no folder {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise DataError(f"{path} cannot be written: permission denied")


def make_folder(path: Path) -> None:
    """Makes a folder that can be written to, if it is not there.

    Raises:
        DataError: if that cannot be done.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}") from error


def write_json(path: str, data: object) -> None:
    """Writes data to a file, or to standard output if the path is `-`.

    Raises:
        DataError: if the file cannot be written.
    """
    text = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
    if path == "-":
        sys.stdout.write(text)
        return
    try:
        Path(path).write_text(text, "utf-8")
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}") from error

"""Where a command writes its result: checked before the work, written after it."""

import json
import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from shared.bundle.files import may_be_replaced
from shared.console import check_writable, set_stdout_to_utf8
from shared.errors import DataError, UsageError


def readable(path: Path | str) -> str:
    """Return a path as text that can be printed, even if its bytes are not UTF-8."""
    return os.fsencode(path).decode("utf-8", "replace")


def expect_outcome(path: Path | str | None, data: Sequence[Path]) -> None:
    """Check before the work that its result can be written.

    Args:
        path: None for no file; `-` for standard output.
        data: the files of labelled data, which must not be overwritten.

    Raises:
        DataError: if it cannot be written.
        UsageError: if it is the labelled data.
    """
    if path is None or str(path) == "-":
        return
    check_writable(Path(path))
    if Path(path).exists() and any(map(Path(path).samefile, data)):
        raise UsageError(f"{path} is the labelled data, which would be overwritten")


def expect_bundles(folder: Path, models: Iterable[str]) -> None:
    """Create the folder of bundles, and check that the models' bundles can be written to it.

    Raises:
        DataError: if the folder cannot be written.
        UsageError: if a model's folder contains anything but a bundle.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error.strerror}") from error
    for name in models:
        bundle = folder / name
        try:
            refused = bundle.exists() and not may_be_replaced(bundle)
        except OSError as error:
            raise DataError(f"{bundle} cannot be written: {error.strerror}") from error
        if refused:
            raise UsageError(f"{bundle} exists and is not a bundle; choose another folder")


def write_json(path: str, data: object) -> None:
    """Write data to a file, or to standard output if the path is `-`.

    Raises:
        DataError: if the file cannot be written.
    """
    text = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
    if path == "-":
        set_stdout_to_utf8()
        sys.stdout.write(text)
        return
    try:
        Path(path).write_text(text, "utf-8")
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}") from error

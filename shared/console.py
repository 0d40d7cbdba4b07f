"""Output of programs: rich's console, JSON on standard output, and files."""

import io
import os
import sys
from pathlib import Path

import rich.console

from shared.errors import DataError


class Console(rich.console.Console):
    """rich's console, but a broken pipe raises, for `shared.errors.run_program` to handle.

    rich's own ends the program with exit code 1.
    """

    def on_broken_pipe(self) -> None:
        """Raise the `BrokenPipeError` that is being handled."""
        raise  # rich calls this in its handler of the error


def set_stdout_to_utf8() -> None:
    """Make standard output UTF-8 in any locale, because JSON is UTF-8 (RFC 8259)."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")


def check_writable(path: Path) -> None:
    """Check that a file can be written.

    Raises:
        DataError: if it cannot be written, with the reason.
    """
    if path.is_dir():
        raise DataError(f"{path} cannot be written: it is a folder")
    if not path.parent.is_dir():
        raise DataError(f"{path} cannot be written: there is no folder {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise DataError(f"{path} cannot be written: permission denied")

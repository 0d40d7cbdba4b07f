"""Where programs put their outcome: rich's console, standard output for data, and files."""

import io
import os
import sys
from pathlib import Path

import rich.console

from shared.errors import DataError


class Console(rich.console.Console):
    """Leaves it to `shared.errors.run_program` what becomes of a reader that has gone.

    rich's own ends the program with exit code 1.
    """

    def on_broken_pipe(self) -> None:
        """Raises the `BrokenPipeError` that has led here."""
        raise  # rich calls it while it handles the error


def print_json_as_utf8() -> None:
    """Lets standard output take JSON, which is UTF-8 by RFC 8259, whatever the locale."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")


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

"""What programs print to: rich's console, and standard output for data."""

import io
import sys

import rich.console


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

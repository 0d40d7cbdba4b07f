"""Errors: the class of an error says what to do, and gives the exit code of the program.

    TriageError
    ├── UsageError       2  correct the arguments or settings and run again
    ├── DataError        3  correct the labelled file
    ├── BundleError      4  train again, or promote another version: the bundle does not verify
    ├── RegistryError    5  correct the registry's address or key, or register a version first
    ├── DependencyError  6  restore what is missing (Kafka, a permission, a registry) and run again
    │   └── UnavailableError   the same may succeed later: a worker waits and retries
    └── RecordError         keep the record as a dead letter and continue with the next one

Exit code 0 is success, 1 a bug (with a traceback: please report it), and 130 an interruption by
Ctrl-C.
"""

import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable
from typing import ClassVar, TextIO


class TriageError(Exception):
    """An error with a message for users. Programs print it without a traceback."""

    exit_code: ClassVar[int] = 1


class UsageError(TriageError):
    """An argument or a setting is unknown, missing or malformed."""

    exit_code = 2


class DataError(TriageError):
    """A labelled file is missing, lacks columns, or cannot be used for training."""

    exit_code = 3


class BundleError(TriageError):
    """A bundle is incomplete or changed, or does not reproduce its golden probabilities."""

    exit_code = 4


class RegistryError(TriageError):
    """The registry refuses or is damaged, or has no such alias or version."""

    exit_code = 5


class DependencyError(TriageError):
    """Something outside the program, such as a broker or a topic, is missing."""

    exit_code = 6


class UnavailableError(DependencyError):
    """A broker or a registry is not available now. The same may succeed later."""


class RecordError(TriageError):
    """One record cannot become a tweet. The rest of its batch is not affected.

    Attributes:
        reason: a short name such as `invalid_json`, which does not change: a label of metrics.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def run_program(main: Callable[[], int], stderr: TextIO | None = None) -> int:
    """Run a program's body and turn its errors into one line on stderr and an exit code.

    A character that the locale's encoding lacks is printed as `?`. If standard output is closed,
    nothing is printed, as in Python. A full disk is an error, unless the program has nothing to
    write to it.

    Returns:
        The exit code, as listed above. An error of any other class than `TriageError` propagates.
    """
    out = stderr or sys.stderr
    for stream in (sys.stdout, out):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        code = main()
        if sys.stdout is not None:
            sys.stdout.flush()  # flush here: Python's own flush at the end would exit with 120
        return code
    except TriageError as error:
        _complain(f"error: {error}", out)
        return error.exit_code
    except KeyboardInterrupt:
        _complain("interrupted", out)
        return 130
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has seen enough
        sys.stdout = None  # nothing more can be flushed to it
        return 0
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO) or error.filename:
            raise
        sys.stdout = None
        reason = os.strerror(error.errno)
        _complain(f"error: standard output cannot be written: {reason}; free some space", out)
        return DependencyError.exit_code


def _complain(line: str, out: TextIO | None) -> None:
    """Print a line to standard error, unless that is closed or full."""
    if out is not None:
        with contextlib.suppress(OSError):
            print(line, file=out, flush=True)

import io
import os
import re
import subprocess
import sys
from typing import Any

import pytest

from shared import errors
from shared.errors import (
    BundleError,
    DataError,
    DependencyError,
    RecordError,
    RegistryError,
    TriageError,
    UnavailableError,
    UsageError,
    run_program,
)

CODES = {UsageError: 2, DataError: 3, BundleError: 4, RegistryError: 5, DependencyError: 6}


def test_exit_codes_are_those_of_the_docstring() -> None:
    lines = re.findall(r"── (\w+) +(\d+)?", errors.__doc__ or "")
    documented = {getattr(errors, name): int(code) for name, code in lines if code}
    assert documented == CODES
    assert {error: error.exit_code for error in CODES} == CODES
    subclasses = {*TriageError.__subclasses__(), *DependencyError.__subclasses__()}
    ours = {error.__name__ for error in subclasses if error.__module__ == errors.__name__}
    assert {name for name, _ in lines} == ours
    assert UnavailableError.exit_code == DependencyError.exit_code


def run(outcome: int | BaseException) -> tuple[int, str]:
    def body() -> int:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    out = io.StringIO()
    return run_program(body, out), out.getvalue()


@pytest.mark.parametrize("code", [0, 7])
def test_the_bodys_own_code_is_handed_on(code: int) -> None:
    assert run(code) == (code, "")


@pytest.mark.parametrize("error", CODES)
def test_an_error_becomes_a_line_and_its_code(error: type[TriageError]) -> None:
    assert run(error("what to do")) == (CODES[error], "error: what to do\n")


def test_a_record_error_outside_a_batch_is_a_fault() -> None:
    error = RecordError("no_text", "there is no text")
    assert error.reason == "no_text"
    assert run(error) == (1, "error: there is no text\n")


def test_interruption() -> None:
    assert run(KeyboardInterrupt()) == (130, "interrupted\n")


@pytest.mark.parametrize("error", [ValueError("a fault"), OSError("a fault"), SystemExit(3)])
def test_any_other_error_propagates(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        run(error)
    assert caught.value is error


def test_stderr_is_where_errors_go(capsys: pytest.CaptureFixture[str]) -> None:
    def body() -> int:
        raise UsageError("look here")

    assert run_program(body) == 2
    assert capsys.readouterr() == ("", "error: look here\n")


@pytest.mark.parametrize("lines", [1, 1000])
@pytest.mark.parametrize("printed_by", ["print", "Console().print"])
def test_a_reader_that_has_seen_enough_is_no_error(lines: int, printed_by: str) -> None:
    """As in `triage-trainer predict … | head -1`, with less and with more than a buffer holds."""
    script = f"""
import sys
from shared.console import Console
from shared.errors import run_program

def body():
    sys.stdin.readline()
    for _ in range({lines}):
        {printed_by}("line " * 20)
    return 0

sys.exit(run_program(body))
"""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen([sys.executable, "-c", script], env=environment, **pipes) as program:
        assert program.stdout is not None
        program.stdout.close()
        _, written = program.communicate(b"go\n", timeout=60)
    assert (program.returncode, written) == (0, b"")


@pytest.mark.parametrize(
    ("before", "printed"),
    [("", b"caf\xe9 ?\n"), ("set_stdout_to_utf8()", "café 🔥\n".encode())],
)
def test_what_the_locale_lacks_ends_no_program(before: str, printed: bytes) -> None:
    script = f"""
import sys
from shared.console import set_stdout_to_utf8
from shared.errors import run_program

def body():
    {before}
    print("caf\\xe9 \\U0001f525")
    return 0

sys.exit(run_program(body))
"""
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    program = [sys.executable, "-c", script]
    done = subprocess.run(program, env=environment, capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, printed, b"")


@pytest.mark.parametrize(
    ("prints", "redirection", "code", "complaint"),
    [
        (False, ">&-", 0, ""),
        (False, ">/dev/full", 0, ""),
        (False, "2>&-", 0, ""),
        (False, "2>/dev/full", 0, ""),
        (True, ">&-", 0, ""),
        (
            True,
            ">/dev/full",
            6,
            "error: standard output cannot be written: No space left on device; free some space\n",
        ),
        (True, ">/dev/full 2>/dev/full", 6, ""),
    ],
)
def test_a_closed_or_full_output_ends_no_program_with_a_traceback(
    prints: bool, redirection: str, code: int, complaint: str
) -> None:
    script = f"""
import logging, sys
from shared.errors import run_program

def body():
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    logging.info("a line")
    if {prints}:
        print("data")
    return 0

sys.exit(run_program(body))
"""
    command = ["sh", "-c", f'"$0" -c "$1" {redirection}', sys.executable, script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (code, complaint)

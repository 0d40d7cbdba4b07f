"""The command lines of both programs: help, versions, and arguments that are refused."""

import io
import os
import re
import shlex
import subprocess
import sys
from importlib.metadata import version
from typing import Annotated

import pytest
from cyclopts import App
from rich.console import Console

from shared.command_line import Given, new_app, run_command
from shared.errors import UsageError
from trainer.cli import app as trainer
from trainer.cli import main as trainer_main
from worker.cli import app as worker
from worker.cli import main as worker_main

COMMANDS = [
    pytest.param(app, name, id=f"{app.name[0]} {name}")
    for app in (trainer, worker)
    for name in app
    if not name.startswith("-")
]


def help_of(app: App, name: str) -> str:
    shown = io.StringIO()
    app.help_print([name], console=Console(file=shown, width=200))
    return shown.getvalue()


@pytest.mark.parametrize(("app", "name"), COMMANDS)
def test_every_command_and_option_is_documented_by_its_help(app: App, name: str) -> None:
    command = app[name]
    assert command.help
    assert command.help.split("\n")[0].endswith(".")
    shown = help_of(app, name)
    for argument in command.assemble_argument_collection(parse_docstring=True):
        if not argument.children and argument.parse:
            assert argument.name.strip("-").upper() in shown.upper()
            assert argument.parameter.help, f"{argument.name} has no help"


@pytest.mark.parametrize(("app", "name"), COMMANDS)
def test_every_command_shows_an_example_that_it_accepts(app: App, name: str) -> None:
    program = app.name[0]
    examples = re.findall(rf"^\s+\$ .*\b({program} {name}\b.*)$", app[name].help, re.MULTILINE)
    assert examples
    for example in examples:
        command = re.split(r" [<>|] |\)", example)[0]
        _, *arguments = shlex.split(command.replace('"$(', ""))
        app.parse_args(arguments, print_error=False, exit_on_error=False)


@pytest.mark.parametrize("app", [trainer, worker])
def test_version(app: App, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(app, ["--version"], lambda: None) == 0
    assert capsys.readouterr().out == f"{version('tweet-triage')}\n"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("", ["expected a command"]),
        ("trian", ["trian", 'Did you mean "train"']),
        ("train", ["--data", "triage-trainer train --help"]),
        ("train --data", ["--data"]),
        ("train --data x.csv --seed one", ["--seed", "one"]),
        ("train --data x.csv --seed 1 --seed 2", ["--seed", "multiple times"]),
        ("train --data x.csv --text-column a --text-column b", ["--text-column", "multiple times"]),
        ("train --data x.csv --wandb onlin", ["onlin", "offline", "disabled"]),
        ("train --data x.csv y.csv", ["y.csv"]),
        ("promote", ["VERSION"]),
        ("promote 1 --positive yes", ["--data"]),
        ("sweep --data x.csv --count 0", ["--count", ">= 1"]),
        ("predict --colour", ["--colour"]),
        ("predict x --threshold 1.5", ["--threshold", "1.5", "balanced", "between 0 and 1"]),
        ("predict x --threshold often", ["--threshold", "often"]),
    ],
)
def test_wrong_arguments_end_with_2(
    capsys: pytest.CaptureFixture[str], arguments: str, named: list[str]
) -> None:
    assert trainer_main(arguments.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ")
    for name in named:
        assert name in line


@pytest.mark.parametrize(
    "arguments",
    ["create-topics --partitions 0", "alerts --max-messages no", "alerts --json --json", "watch"],
)
def test_wrong_arguments_of_the_worker_end_with_2(arguments: str) -> None:
    assert worker_main(arguments.split()) == 2


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["distill", "--data", "x", "--teacher", "a", "--teacher", "b"], ["a", "b"]),
        (["fetch-data", "--from", "http://a", "--from", "http://b"], ["http://a", "http://b"]),
        (["report", "--data", "x", "--version", "1", "--version", "new"], ["1", "new"]),
    ],
)
def test_options_that_take_a_list_may_be_repeated(
    arguments: list[str], expected: list[str]
) -> None:
    _, bound, _ = trainer.parse_args(arguments, print_error=False, exit_on_error=False)
    assert expected in bound.arguments.values()


def test_a_command_is_given_what_is_no_option() -> None:
    shown = []
    app = new_app("program", "A program.")

    @app.command
    def show(text: str, /, *, context: Annotated[int, Given]) -> None:
        shown.append((text, context))

    assert run_command(app, ["show", "fire"], lambda: 7) == 0
    assert shown == [("fire", 7)]
    with pytest.raises(UsageError, match="program show --help"):
        run_command(app, ["show"], lambda: 7)


def test_backends_that_a_notebook_chose_break_nothing() -> None:
    code = (
        "from trainer.cli import main; main(['--version']); import matplotlib, os; "
        "print(matplotlib.get_backend(), os.environ['KERAS_BACKEND'])"
    )
    chosen = {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "KERAS_BACKEND": "mxnet"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | chosen,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[1:] == ["Agg tensorflow"]


def test_warnings_that_are_made_errors_break_nothing() -> None:
    code = "from worker.cli import main; main(['settings']); import worker.service"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("program", ["trainer.cli", "worker.cli"])
def test_help_waits_for_no_heavy_package(program: str) -> None:
    heavy = {"keras", "tensorflow", "pandas", "sklearn", "scipy", "spacy", "wandb", "kafka"}
    code = f"import sys, {program}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not heavy & set(done.stdout.split())

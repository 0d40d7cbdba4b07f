"""Agent of a sweep in Weights & Biases."""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

from shared.errors import UnavailableError
from shared.registry.wandb_client import errors_explained, project
from trainer.tracking.run import import_wandb


def run_agent(
    config: dict[str, Any],
    count: int,
    trial: Callable[[dict[str, Any]], None],
    patience: int = 120,
) -> None:
    """Start a sweep and run its trials.

    Args:
        config: the sweep's configuration, in W&B's form.
        count: trials at most; a user may stop the sweep earlier on W&B's pages.
        trial: called with the parameters' values, in a thread of its own.
        patience: seconds to wait for the next trial; W&B's agent, which asks every 5 seconds, would
            wait for ever.

    Raises:
        RegistryError: if W&B refuses the sweep.
        UnavailableError: if W&B cannot be reached, or sends no more trials.
    """
    wandb = import_wandb()
    with errors_explained("sweep"), redirect_stdout(sys.stderr):
        sweep = wandb.sweep(config, project=project(), entity=os.environ.get("WANDB_ENTITY"))
    failures: list[Exception] = []
    interrupted = False

    def one() -> None:
        signal.alarm(0)
        try:
            parameters = yaml.safe_load(Path(os.environ["WANDB_SWEEP_PARAM_PATH"]).read_bytes())
            trial({name: parameters[name]["value"] for name in config["parameters"]})
        except Exception as error:
            failures.append(error)
            raise
        finally:
            signal.alarm(patience)

    def give_up(_: int, __: FrameType | None) -> None:
        raise UnavailableError(f"sweep: W&B has sent no trial for {patience} seconds")

    def interrupt(_: int, __: FrameType | None) -> None:  # the agent catches it
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    former = signal.signal(signal.SIGALRM, give_up), signal.signal(signal.SIGINT, interrupt)
    signal.alarm(patience)
    try:
        with errors_explained("sweep"), redirect_stdout(sys.stderr):
            wandb.agent(
                sweep, function=one, project=project(), count=count, max_consecutive_failed_runs=1
            )
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, former[0])
        signal.signal(signal.SIGINT, former[1])
    if interrupted:
        raise KeyboardInterrupt
    if failures:
        raise failures[0]

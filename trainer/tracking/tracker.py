"""Tracker: tells W&B of a training's models while they are trained, and never stands in their way.

Where W&B fails, its run is written as a whole to a folder, as an offline run, from which
`wandb sync` uploads it later; so are the runs after it, without waiting for W&B again.
"""

import os
import shlex
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from shared.errors import UnavailableError, UsageError
from shared.model.scorer import Scorer
from shared.registry.base import Registry, Version
from shared.registry.wandb_client import forget_process
from trainer.data.dataset import Dataset
from trainer.data.split import Parts
from trainer.evaluate.bootstrap import Scores
from trainer.evaluate.metrics import Metrics, evaluate
from trainer.evaluate.thresholds import UNCALIBRATED
from trainer.listener import Listener
from trainer.tracking.run import Epoch, Mode, Outcome, Record, Run, import_wandb, settings

MODES = ("online", "offline", "disabled")
SAMPLE_SIZE = 100
"""Validation tweets whose predictions are shown while the model trains."""

_KILLED = 255  # the exit code by which W&B knows a run that Ctrl-C has ended


def tracking_mode(asked: str | None) -> Mode | None:
    """Whether runs are tracked: as asked for, or else as `WANDB_MODE` says, or else not.

    Tracking uploads tweets, so that a key alone does not switch it on.

    Raises:
        UsageError: if `WANDB_MODE` is none of the modes.
    """
    match asked or os.environ.get("WANDB_MODE") or "disabled":
        case "online":
            return "online"
        case "offline":
            return "offline"
        case "disabled":
            return None
        case other:
            raise UsageError(f"WANDB_MODE={other!r}: expected one of {', '.join(MODES)}")


def new_tracker(
    asked: str | None,
    name: str,
    dataset: Dataset,
    say: Callable[[str], object],
    registry: Registry,
    *,
    job_type: str = "train",
) -> "Tracker | None":
    """Return a tracker of runs, or None if they are not tracked.

    Args:
        asked: the mode; None for that of `WANDB_MODE`, or none.
        name: what the runs' group is called, before the time.
        registry: if it is in W&B, its entity has the runs.

    Raises:
        UsageError: as `tracking_mode` does.
    """
    mode = tracking_mode(asked)
    if mode is None:
        return None
    scheme, _, address = registry.url.partition(":")
    entity = address.split("/")[0] if scheme == "wandb" else None
    group = f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    return Tracker(mode, group, dataset, say, entity, job_type)


class Tracker(Listener):
    """Tracks the models of one training, a run each, one after the other.

    Args:
        mode: offline runs lie in a folder until they are synced.
        group: the runs' common name; `WANDB_RUN_GROUP` goes before.
        dataset: that the models are trained on.
        say: is given lines for the user.
        entity: that has the runs; `WANDB_ENTITY` goes before, the key's own behind.
        job_type: of the runs.

    Attributes:
        problems: what W&B was not told.
        kept: folders of the runs that are to be synced.
    """

    def __init__(
        self,
        mode: Mode,
        group: str,
        dataset: Dataset,
        say: Callable[[str], object],
        entity: str | None = None,
        job_type: str = "train",
    ) -> None:
        self.problems: list[str] = []
        self.kept: list[Path] = []
        self._mode = mode
        self._group = os.environ.get("WANDB_RUN_GROUP") or group
        self._dataset = dataset
        self._say = say
        self._entity = entity
        self._job_type = job_type
        self._record: Record | None = None
        self._run: Run | None = None
        self._finished: dict[str, Any] = {}  # W&B's own runs, online, by name

    @property
    def is_online(self) -> bool:
        """Whether W&B is told at once, as long as it does not fail."""
        return self._mode == "online"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        """Ends a run that is still under way as failed, or as killed by Ctrl-C."""
        self._abandon(_KILLED if isinstance(error, KeyboardInterrupt) else 1)

    def on_model_begin(self, name: str, settings: dict[str, Any], parts: Parts) -> None:
        """Start a run."""
        drawn = np.random.default_rng(0).permutation(parts.validation)[:SAMPLE_SIZE]
        self._record = Record(
            name, self._group, self._job_type, settings, self._dataset, parts, np.sort(drawn)
        )
        self._attempt(self._begin)

    def on_epoch_end(self, scorer: Scorer, figures: Metrics) -> None:
        """Log an epoch's figures, and the predictions for a sample of the validation part.

        Accuracy, F1 and ROC AUC that `figures` lack are measured on the training and validation
        parts at 0.5, because the model's own threshold is chosen at the end.
        """
        if self._record is None:
            return
        found = dict(figures)
        parts = self._record.parts
        for prefix, rows in (("", parts.train), ("val_", parts.validation)):
            probabilities = scorer.score(self._dataset.texts_of(rows))
            measured = evaluate(self._dataset.labels[rows], probabilities, UNCALIBRATED)
            for metric in ("accuracy", "f1", "roc_auc"):
                found.setdefault(prefix + metric, measured[metric])
        epoch = Epoch(found, scorer.score(self._dataset.texts_of(self._record.sample)))
        self._record.epochs.append(epoch)
        self._attempt(lambda record: self._under_way.tell_epoch(len(record.epochs), epoch))

    def on_model_end(
        self,
        metrics: dict[str, Metrics],
        parameters: int,
        test: Scores | None = None,
        bundle: Path | None = None,
    ) -> None:
        """Log the figures, and the bundle as an artifact of type `model`, and finish the run."""
        if self._record is None:
            return
        self._record.outcome = Outcome(metrics, parameters, test, bundle)
        self._attempt(self._end)
        self._record = None

    def register(self, registry: Registry, name: str, bundle: Path) -> Version:
        """Registers a model's bundle; a registry in W&B logs it by the run that trained it."""
        run = self._finished.get(name)
        if run is None or not registry.url.startswith(f"wandb:{run.entity}/"):
            return registry.register(bundle)
        again = None
        with suppress(Exception):  # without the run the registry makes one of its own
            again = import_wandb().init(
                entity=run.entity,
                project=run.project,
                id=run.id,
                resume="must",
                settings=settings(),
            )
        try:
            return registry.register(bundle)
        finally:
            if again is not None:
                try:
                    again.finish(0)  # its model is trained, whatever becomes of the registration
                except Exception:  # noqa: BLE001
                    forget_process()

    def close(self) -> None:
        """Says how the runs that are kept come to W&B.

        Raises:
            UnavailableError: if W&B was to have them already, with what went wrong.
        """
        told = list(self.problems)
        if self.kept:
            here = Path.cwd()
            folders = [str(p.relative_to(here) if p.is_relative_to(here) else p) for p in self.kept]
            told.append(f"this uploads what is kept: wandb sync {shlex.join(folders)}")
        if self.problems:
            raise UnavailableError("; ".join(told))
        if told:
            self._say(f"the runs are offline; {told[0]}")

    def _attempt(self, step: Callable[[Record], None]) -> None:
        """Takes a step; where W&B fails, the run is told again, offline."""
        if self._record is None:
            return
        try:
            step(self._record)
        except Exception as error:  # noqa: BLE001 # whatever it is, the training goes on
            self._abandon(1)
            reason = " ".join(str(error).split())[:500] or type(error).__name__
            if self._mode == "online":
                self.problems.append(f"{self._record.name} is not in W&B: {reason}")
                self._mode = "offline"
                self._attempt(self._tell_again)
            else:
                self.problems.append(f"{self._record.name} is not tracked: {reason}")
                self._record = None

    def _begin(self, record: Record) -> None:
        self._run = Run(record, self._mode, self._entity)
        if self._mode == "online":
            self._say(f"{record.name} is tracked at {self._run.wandb.url}")

    def _end(self, record: Record) -> None:
        run = self._under_way
        if record.outcome is not None:
            run.tell_outcome(record.outcome)
        run.finish()
        self._run = None
        if self._mode == "online":
            self._finished[record.name] = run.wandb
        else:
            self.kept.append(run.folder)

    def _tell_again(self, record: Record) -> None:
        try:
            self._begin(record)
        except Exception:  # noqa: BLE001 # the client's process may have died
            forget_process()
            self._begin(record)
        for number, epoch in enumerate(record.epochs, 1):
            self._under_way.tell_epoch(number, epoch)
        if record.outcome is not None:
            self._end(record)

    @property
    def _under_way(self) -> Run:
        if self._run is None:
            raise RuntimeError("no run is under way")
        return self._run

    def _abandon(self, exit_code: int) -> None:
        """Ends the run that is under way, if there is one, whatever has become of it."""
        run, self._run = self._run, None
        if run is not None:
            with suppress(Exception):
                run.wandb.finish(exit_code)

"""Tracks a training in Weights & Biases. A failure of W&B never stops the training.

If W&B fails, the run is logged again to an offline run, which `wandb sync` uploads later. The runs
after it are offline too, so that they do not wait for W&B again.
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
from trainer.data.dataset import Dataset
from trainer.data.split import Parts
from trainer.evaluate.bootstrap import Scores
from trainer.evaluate.metrics import Metrics, evaluate
from trainer.evaluate.thresholds import UNCALIBRATED
from trainer.listener import Listener
from trainer.tracking.run import (
    Epoch,
    Mode,
    Result,
    Run,
    RunRecord,
    expect_key,
    import_wandb,
    settings,
)

MODES = ("online", "offline", "disabled")
SAMPLE_SIZE = 100
"""Validation tweets whose predictions are shown while the model trains."""

_KILLED = 255  # W&B's exit code for a run that Ctrl-C interrupted


def tracking_mode(asked: str | None) -> Mode | None:
    """Return the mode that was asked for, or that of `WANDB_MODE`, or None for no tracking.

    Tracking uploads tweets, so a key alone does not switch it on.

    Raises:
        UsageError: if `WANDB_MODE` is not a mode.
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
        UsageError: if `WANDB_MODE` is not a mode, or W&B is online and there is no key.
    """
    mode = tracking_mode(asked)
    if mode is None:
        return None
    if mode == "online":
        expect_key()
    scheme, _, address = registry.url.partition(":")
    entity = address.split("/")[0] if scheme == "wandb" else None
    group = f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    return Tracker(mode, group, dataset, say, entity, job_type)


class Tracker(Listener):
    """Tracks the models of one training, one run for each.

    Args:
        mode: offline runs stay in a folder until they are synced.
        group: the group of the runs, unless `WANDB_RUN_GROUP` is set.
        dataset: the data that the models are trained on.
        say: called with lines for the user.
        entity: the owner of the runs, unless `WANDB_ENTITY` is set; None for that of the key.
        job_type: the job type of the runs.

    Attributes:
        problems: messages about what W&B lacks.
        kept: folders of the runs to sync.
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
        self._record: RunRecord | None = None
        self._run: Run | None = None
        self._finished: dict[str, Any] = {}  # W&B's own runs, online, by name

    @property
    def is_online(self) -> bool:
        """Whether runs are logged to W&B while they happen."""
        return self._mode == "online"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        """Finish a run that has not finished as failed, or as killed by Ctrl-C."""
        self._abandon(_KILLED if isinstance(error, KeyboardInterrupt) else 1)

    def on_model_begin(self, name: str, settings: dict[str, Any], parts: Parts) -> None:
        """Start a run."""
        drawn = np.random.default_rng(0).permutation(parts.validation)[:SAMPLE_SIZE]
        self._record = RunRecord(
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
        self._attempt(lambda record: self._current.log_epoch(len(record.epochs), epoch))

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
        self._record.result = Result(metrics, parameters, test, bundle)
        self._attempt(self._end)
        self._record = None

    def register(self, registry: Registry, name: str, bundle: Path) -> Version:
        """Register a model's bundle; a registry in W&B then shows the run that trained it."""
        run = self._finished.get(name)
        if run is None or not registry.url.startswith(f"wandb:{run.entity}/"):
            return registry.register(bundle)
        again = None
        with suppress(Exception):  # without the run, the registry makes one of its own
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
                with suppress(Exception):  # its model is trained, even if the upload fails
                    again.finish(0)

    def close(self) -> None:
        """Print how to upload the runs that are kept on this machine.

        Raises:
            UnavailableError: if they should be in W&B already, with what went wrong.
        """
        lines = list(self.problems)
        if self.kept:
            here = Path.cwd()
            folders = [str(p.relative_to(here) if p.is_relative_to(here) else p) for p in self.kept]
            lines.append(f"this uploads what is kept: wandb sync {shlex.join(folders)}")
        if self.problems:
            raise UnavailableError("; ".join(lines))
        if lines:
            self._say(f"the runs are offline; {lines[0]}")

    def _attempt(self, step: Callable[[RunRecord], None]) -> None:
        """Take a step; if W&B fails, log the run again offline."""
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
                self._attempt(self._log_again)
            else:
                self.problems.append(f"{self._record.name} is not tracked: {reason}")
                self._record = None

    def _begin(self, record: RunRecord) -> None:
        self._run = Run(record, self._mode, self._entity)
        if self._mode == "online":
            self._say(f"{record.name} is tracked at {self._run.wandb.url}")

    def _end(self, record: RunRecord) -> None:
        run = self._current
        if record.result is not None:
            run.log_result(record.result)
        run.finish()
        self._run = None
        if self._mode == "online":
            self._finished[record.name] = run.wandb
        else:
            self.kept.append(run.folder)

    def _log_again(self, record: RunRecord) -> None:
        self._begin(record)
        for number, epoch in enumerate(record.epochs, 1):
            self._current.log_epoch(number, epoch)
        if record.result is not None:
            self._end(record)

    @property
    def _current(self) -> Run:
        if self._run is None:
            raise RuntimeError("no run has started")
        return self._run

    def _abandon(self, exit_code: int) -> None:
        """Finish the current run, if there is one, whatever its state."""
        run, self._run = self._run, None
        if run is not None:
            with suppress(Exception):
                run.wandb.finish(exit_code)

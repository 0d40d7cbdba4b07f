"""One run in Weights & Biases: what it is told, and how it is told it. Whatever fails, raises."""

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from shared.arrays import Floats
from shared.bundle.files import read_manifest
from shared.errors import UsageError
from shared.registry.wandb_client import bound_waits, project
from shared.registry.wandb_registry import labelled_data
from trainer.data.dataset import Dataset, Indices
from trainer.data.split import Parts
from trainer.evaluate.bootstrap import Scores, reliability
from trainer.evaluate.metrics import Metrics
from trainer.evaluate.thresholds import UNCALIBRATED

Mode = Literal["online", "offline"]

CLASSES = ("not relevant", "relevant")
CURVES = ("loss", "accuracy", "f1", "roc_auc")
"""Figures of every epoch; those of the validation part have the prefix `val_`, as in Keras."""
MISTAKES = 50
"""Of the test part, those that the model was most sure of."""

_BOUNDS = {
    "WANDB_INIT_TIMEOUT": "30",
    "WANDB_FINISH_TIMEOUT": "60",
    "WANDB_FINISH_TIMEOUT_RAISES": "true",
}
_SOURCE = Path(__file__).parent.parent.parent
_PACKAGES = ("shared", "trainer")


class Epoch(msgspec.Struct, frozen=True):
    """Figures of an epoch, and the probabilities of the sample's tweets after it."""

    figures: Metrics
    sample: Floats


class Outcome(msgspec.Struct, frozen=True):
    """Figures of each part, the model's parameters, and what there is of test part and bundle."""

    metrics: dict[str, Metrics]
    parameters: int
    test: Scores | None
    bundle: Path | None


class Record(msgspec.Struct):
    """All that a run is told, so that it can be told again.

    Attributes:
        config: all that the model depends on; `data` is as in a bundle's manifest.
        sample: rows of the validation part whose predictions are shown after every epoch.
    """

    name: str
    group: str
    job_type: str
    config: dict[str, Any]
    dataset: Dataset
    parts: Parts
    sample: Indices
    epochs: list[Epoch] = []
    outcome: Outcome | None = None


class Run:
    """A run that is under way.

    Args:
        entity: that has the run; None for the one that the environment or the key names.
    """

    def __init__(self, record: Record, mode: Mode, entity: str | None) -> None:
        wandb = import_wandb()
        from wandb.sdk.lib.import_hooks import unregister_all_post_import_hooks

        if mode == "online" and not wandb.login(prompt=False, verify=True):
            raise UsageError("there is no key: set WANDB_API_KEY, or run `wandb login`")
        in_sweep = "WANDB_SWEEP_ID" in os.environ  # whose agent says which run it is
        self._record = record
        self._online = mode == "online"
        self.wandb = wandb.init(
            entity=os.environ.get("WANDB_ENTITY") or entity,
            project=project(),
            group=record.group,
            id=None if in_sweep else os.urandom(4).hex(),
            name=record.name,
            job_type=record.job_type,
            config=record.config,
            mode=mode,
            reinit="create_new",
            settings=settings(),
        )
        # For its telemetry the client hears of imports, and where it is dead they would fail.
        unregister_all_post_import_hooks()
        try:
            self._artifacts = [self._log_code(), self._use_data()]
        except BaseException:
            self.wandb.finish(1)
            raise

    @property
    def folder(self) -> Path:
        """Where the run is kept on this machine."""
        return Path(self.wandb.dir).parent

    def tell_epoch(self, number: int, epoch: Epoch) -> None:
        """Logs an epoch, whose number is the step.

        The model's own threshold is chosen at the end of the training.
        """
        table = self._table(self._record.sample, Scores(epoch.sample, UNCALIBRATED))
        self.wandb.log({**epoch.figures, "predictions": table}, step=number, commit=True)

    def tell_outcome(self, outcome: Outcome) -> None:
        """Logs what came out, in a step of its own, and the bundle as an artifact."""
        wandb = import_wandb()
        told: dict[str, Any] = {
            f"{part}/{metric}": value
            for part, figures in outcome.metrics.items()
            for metric, value in figures.items()
        }
        told |= {"parameters": outcome.parameters, **self._learning_curves()}
        if outcome.test is not None:
            told |= {"threshold": outcome.test.threshold, **self._test_plots(outcome.test)}
        self.wandb.log(told)
        if outcome.bundle is not None:
            manifest = msgspec.to_builtins(read_manifest(outcome.bundle))
            model = wandb.Artifact(self._record.name, type="model", metadata=manifest)
            model.add_dir(str(outcome.bundle))
            self._artifacts.append(self.wandb.log_artifact(model))

    def finish(self) -> None:
        """Ends the run well, once W&B has all of it.

        Raises:
            RuntimeError: if it has not: its client says nothing of figures and files that are lost.
        """
        deadline = time.monotonic() + self.wandb.settings.finish_timeout
        for artifact in self._artifacts if self._online else ():
            artifact.wait(timeout=max(1, int(deadline - time.monotonic())))
        self.wandb.finish(0)
        if self._online:
            self._check()

    def _check(self) -> None:
        wandb, run = import_wandb(), self.wandb
        files = Path(run.dir)
        sent = {str(path.relative_to(files)) for path in files.glob("media/**/*.json")}
        steps = len(self._record.epochs) + 1
        deadline = time.monotonic() + run.settings.finish_timeout
        while True:
            found = wandb.Api().run(f"{run.entity}/{run.project}/{run.id}")
            there = sent & {file.name for file in found.files(per_page=1000)}
            last = found.lastHistoryStep
            if found.state == "finished" and last >= steps and there == sent:
                return
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"{run.url} is {found.state}, with {max(last, 0)} of {steps} steps and "
                    f"{len(there)} of {len(sent)} tables"
                )
            time.sleep(1)

    def _log_code(self) -> Any:
        with tempfile.TemporaryDirectory() as folder:  # which holds nothing but our sources
            for package in _PACKAGES:
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(_SOURCE / package, Path(folder) / package, ignore=ignored)
            return self.wandb.log_code(folder, name="source", include_fn=lambda _: True)

    def _use_data(self) -> Any:
        # As `use_artifact` does it, which has no offline mode and waits without an end.
        data = labelled_data(self._record.config["data"])
        return self.wandb._log_artifact(data, is_user_created=True, use_after_commit=True)

    def _learning_curves(self) -> dict[str, Any]:
        wandb, epochs = import_wandb(), self._record.epochs
        return {
            f"learning curves/{metric}": wandb.plot.line_series(
                xs=list(range(1, len(epochs) + 1)),
                ys=[[epoch.figures[key] for epoch in epochs] for key in (metric, f"val_{metric}")],
                keys=["train", "validation"],
                title=f"Learning curve: {metric}",
                xname="epoch",
            )
            for metric in CURVES
        }

    def _test_plots(self, scores: Scores) -> dict[str, Any]:
        wandb, rows = import_wandb(), self._record.parts.test
        labels = self._record.dataset.labels[rows].astype(int)
        probabilities = scores.probabilities
        relevant = (probabilities >= scores.threshold).astype(int)
        both = np.column_stack([1 - probabilities, probabilities]).tolist()
        columns = ["mean probability", "share that is relevant"]
        found = reliability(self._record.dataset.labels[rows], probabilities)
        points = [[one.mean_probability, one.relevant.value] for one in found]
        bins = wandb.Table(columns=columns, data=points)
        mistakes = np.flatnonzero(relevant != labels)
        worst = mistakes[np.argsort(-np.abs(probabilities - labels)[mistakes], kind="stable")]
        worst = worst[:MISTAKES]
        curve = {"labels": list(CLASSES), "classes_to_plot": [1]}
        return {
            "test/confusion_matrix": wandb.plot.confusion_matrix(
                y_true=labels.tolist(),
                preds=relevant.tolist(),
                class_names=list(CLASSES),
                title="Confusion matrix at the model's threshold",
            ),
            "test/precision_recall": wandb.plot.pr_curve(
                labels.tolist(), both, title="Precision and recall", **curve
            ),
            "test/roc": wandb.plot.roc_curve(labels.tolist(), both, title="ROC", **curve),
            "test/calibration": wandb.plot.line(bins, *columns, title="Calibration"),
            "test/mistakes": self._table(
                rows[worst], Scores(probabilities[worst], scores.threshold)
            ),
        }

    def _table(self, rows: Indices, scores: Scores) -> Any:
        dataset = self._record.dataset
        return import_wandb().Table(
            columns=["text", "label", "probability", "threshold", "right", "annotators agree"],
            data=[
                [
                    dataset.texts[row],
                    CLASSES[dataset.labels[row]],
                    probability,
                    scores.threshold,
                    (probability >= scores.threshold) == bool(dataset.labels[row]),
                    float(dataset.agreement[row]),
                ]
                for row, probability in zip(rows, scores.probabilities.tolist(), strict=True)
            ],
        )


def import_wandb() -> Any:
    """Imports the client with its waits bounded, where the user has set nothing."""
    bound_waits()
    for name, value in _BOUNDS.items():
        os.environ.setdefault(name, value)
    import wandb

    return wandb


def settings() -> Any:
    """Of every run: quiet, and with the commit of our own checkout, not of the user's folder."""
    git = {"git_root": str(_SOURCE)} if (_SOURCE / ".git").exists() else {"disable_git": True}
    return import_wandb().Settings(silent=True, console="off", **git)

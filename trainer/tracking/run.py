"""One run in Weights & Biases. Every failure raises."""

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from requests.utils import get_netrc_auth

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
"""Figures of every epoch. Those of the validation part have the prefix `val_`, as in Keras."""
MISTAKES = 50
"""The number of mistakes on the test part that are logged, the most confident first."""

_BOUNDS = {
    "WANDB_INIT_TIMEOUT": "30",
    "WANDB_FINISH_TIMEOUT": "60",
    "WANDB_FINISH_TIMEOUT_RAISES": "true",
}
_SOURCE = Path(__file__).parent.parent.parent
_PACKAGES = ("shared", "trainer")


class Epoch(msgspec.Struct, frozen=True):
    """The figures of an epoch, and the probabilities of the sample after it."""

    figures: Metrics
    sample: Floats


class Result(msgspec.Struct, frozen=True):
    """What a training came to: figures by part, parameters, scores of the test part, bundle."""

    metrics: dict[str, Metrics]
    parameters: int
    test: Scores | None
    bundle: Path | None


class RunRecord(msgspec.Struct):
    """Everything that is logged to a run, so that it can be logged again offline.

    Attributes:
        config: all that the model depends on; `data` is as in a bundle's manifest.
        sample: rows of the validation part whose predictions are logged after every epoch.
    """

    name: str
    group: str
    job_type: str
    config: dict[str, Any]
    dataset: Dataset
    parts: Parts
    sample: Indices
    epochs: list[Epoch] = []
    result: Result | None = None


class Run:
    """A run that has started.

    Args:
        entity: the run's owner; None for that of the environment or the key.
    """

    def __init__(self, record: RunRecord, mode: Mode, entity: str | None) -> None:
        wandb = import_wandb()
        if mode == "online":
            wandb.login(prompt=False, verify=True)
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
        try:
            self._artifacts = [self._log_code(), self._use_data()]
        except BaseException:
            self.wandb.finish(1)
            raise

    @property
    def folder(self) -> Path:
        """The run's folder on this machine."""
        return Path(self.wandb.dir).parent

    def log_epoch(self, number: int, epoch: Epoch) -> None:
        """Log an epoch; its number is the step.

        Predictions are at 0.5, because the model's threshold is chosen after the training.
        """
        table = self._table(self._record.sample, Scores(epoch.sample, UNCALIBRATED))
        self.wandb.log({**epoch.figures, "predictions": table}, step=number, commit=True)

    def log_result(self, result: Result) -> None:
        """Log the figures, in a step of their own, and the bundle as an artifact."""
        wandb = import_wandb()
        logged: dict[str, Any] = {
            f"{part}/{metric}": value
            for part, figures in result.metrics.items()
            for metric, value in figures.items()
        }
        logged |= {"parameters": result.parameters, **self._learning_curves()}
        if result.test is not None:
            logged |= {"threshold": result.test.threshold, **self._test_plots(result.test)}
        self.wandb.log(logged)
        if result.bundle is not None:
            manifest = msgspec.to_builtins(read_manifest(result.bundle))
            model = wandb.Artifact(self._record.name, type="model", metadata=manifest)
            model.add_dir(str(result.bundle))
            self._artifacts.append(self.wandb.log_artifact(model))

    def finish(self) -> None:
        """Finish the run, and check that W&B has all of it.

        Raises:
            RuntimeError: if figures or files are missing, which the client does not report.
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
        with tempfile.TemporaryDirectory() as folder:  # our sources alone
            for package in _PACKAGES:
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(_SOURCE / package, Path(folder) / package, ignore=ignored)
            return self.wandb.log_code(folder, name="source", include_fn=lambda _: True)

    def _use_data(self) -> Any:
        # `use_artifact` does this too, but has no offline mode and waits for ever.
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
    """Import the client, with limits on how long it waits where the user has set none."""
    bound_waits()
    for name, value in _BOUNDS.items():
        os.environ.setdefault(name, value)
    import wandb

    return wandb


def expect_key() -> None:
    """Find out whether there is a key for W&B, without asking W&B.

    Raises:
        UsageError: if there is none.
    """
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return
    if get_netrc_auth(import_wandb().setup().settings.base_url) is None:
        raise UsageError("--wandb online: there is no key; set WANDB_API_KEY or run `wandb login`")


def settings() -> Any:
    """Return the settings of every run: no output, and the commit of our own checkout."""
    git = {"git_root": str(_SOURCE)} if (_SOURCE / ".git").exists() else {"disable_git": True}
    return import_wandb().Settings(silent=True, console="off", **git)

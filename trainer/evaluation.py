"""Figures of a model on labelled tweets."""

import warnings

import numpy as np
import numpy.typing as npt
from rich import box
from rich.table import Table
from sklearn import metrics
from sklearn.exceptions import UndefinedMetricWarning

from shared.models import Floats

Metrics = dict[str, float]

METRICS = ("accuracy", "precision", "recall", "f1", "roc_auc")


def evaluate(labels: npt.NDArray[np.int8], probabilities: Floats, threshold: float) -> Metrics:
    """Accuracy, precision, recall and F1 of the relevant class at a threshold, and ROC AUC.

    Args:
        labels: int8, shape (rows,), 1 for relevant, both classes present.
        probabilities: float32, shape (rows,).
    """
    relevant = probabilities >= threshold
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedMetricWarning)  # nothing relevant: precision 0
        precision, recall, f1, _ = metrics.precision_recall_fscore_support(
            labels, relevant, average="binary"
        )
    return {
        "accuracy": float(metrics.accuracy_score(labels, relevant)),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "roc_auc": float(metrics.roc_auc_score(labels, probabilities)),
    }


def comparison(rows: list[tuple[str, str, Metrics]], title: str) -> Table:
    """A table of (model, part of the data, figures), in the given order."""
    table = Table("model", "on", title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.show_edge = table.pad_edge = False  # so that it fits into 80 columns,
    table.collapse_padding = True  # to which Rich would cut the models' names
    for metric in METRICS:
        table.add_column(metric.replace("_", " "), justify="right")
    former = ""
    for model, part, figures in rows:
        if former and model != former:
            table.add_section()
        shown = [f"{figures[metric]:.3f}" for metric in METRICS]
        table.add_row(model, part, *shown)
        former = model
    return table

"""Metrics of a model on labelled tweets, of all rows or of many resamples of them at once."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from rich import box
from rich.table import Table

from shared.arrays import Floats

Metrics = dict[str, float]
Labels = npt.NDArray[np.int8]
Values = npt.NDArray[np.float64]
Counts = npt.NDArray[np.uint8]
Scored = tuple[Labels, Floats]
"""Labels and probabilities of the same rows."""

COLUMNS = ("accuracy", "precision", "recall", "f1", "roc_auc")
"""The metrics in a table of 80 columns."""

NAMES = {
    "accuracy": "accuracy",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
    "brier": "Brier score",
    "calibration_error": "calibration error",
}
"""Every metric, and what people call it."""

METRICS = tuple(NAMES)

BINS = 10
"""The number of bins of the calibration error, of equal width from 0 to 1."""


def evaluate(labels: Labels, probabilities: Floats, threshold: float) -> Metrics:
    """Measure predictions by each of `METRICS`.

    - Accuracy, precision, recall and F1 of the relevant class at the threshold.
    - `roc_auc`: the area under the ROC curve.
    - `average_precision`: Σ (Rₙ - Rₙ₋₁) Pₙ, in place of the area under the precision-recall curve.
    - `brier`: the mean squared difference of probability and label (Brier, 1950).
    - `calibration_error`: over `BINS` bins of probability, the mean of |share of relevant tweets -
      mean probability|, weighted by the bin's tweets (Naeini et al., "Obtaining well calibrated
      probabilities using Bayesian binning", 2015).

    Args:
        labels: int8, shape (rows,), 1 for relevant.
        probabilities: float32, shape (rows,).
        threshold: probability from which on a tweet is relevant.

    Returns:
        Metric → value; NaN where the rows lack a class that the metric needs.
    """
    return _of_all_rows(evaluate_resamples(labels, probabilities, threshold, _once(labels)))


def evaluate_resamples(
    labels: Labels, probabilities: Floats, threshold: float, counts: Counts
) -> dict[str, Values]:
    """Measure many resamples of the rows at once by each of `METRICS`, as `evaluate` defines them.

    Args:
        counts: how often a resample holds each row, uint8, shape (resamples, rows).

    Returns:
        Metric → values, float64, shape (resamples,); NaN for resamples without a class that the
        metric needs.
    """
    error = (probabilities.astype(np.float64) - labels) ** 2
    error, *surplus, rows = _sums(
        counts, [error, *_surplus(labels, probabilities).T, np.ones(len(labels))]
    )
    with np.errstate(invalid="ignore"):
        figures = {
            **decide_resamples(labels, probabilities >= threshold, counts),
            **_rank_resamples(labels, probabilities, counts),
            "brier": error / rows,
            "calibration_error": np.abs(surplus).sum(axis=0) / rows,
        }
    return {metric: figures[metric] for metric in METRICS}


def decide_resamples(
    labels: Labels, relevant: npt.NDArray[np.bool_], counts: Counts
) -> dict[str, Values]:
    """Measure what `decisions` does, of many resamples at once."""
    positive = labels == 1
    hits, alerts, positives, right, rows = _sums(
        counts,
        [relevant & positive, relevant, positive, relevant == positive, np.ones(len(labels))],
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "accuracy": right / rows,
            "precision": np.where(alerts > 0, hits / alerts, 0.0),
            "recall": hits / positives,
            "f1": 2 * hits / (alerts + positives),
            "alerts": alerts / rows,
        }


def decisions(labels: Labels, probabilities: Floats, threshold: float) -> Metrics:
    """Measure decisions: accuracy, precision, recall, F1, and the share of `alerts`."""
    return _of_all_rows(decide_resamples(labels, probabilities >= threshold, _once(labels)))


def _once(labels: Labels) -> Counts:
    """Return a resample that holds each row once."""
    return np.ones((1, len(labels)), np.uint8)


def _of_all_rows(figures: dict[str, Values]) -> Metrics:
    return {metric: float(value[0]) for metric, value in figures.items()}


def _rank_resamples(labels: Labels, probabilities: Floats, counts: Counts) -> dict[str, Values]:
    """Return ROC AUC and average precision; rows of equal probability count together."""
    order = np.argsort(-probabilities, kind="stable")
    starts = np.flatnonzero(np.diff(probabilities[order], prepend=np.inf))
    positive = labels[order] == 1
    found: list[tuple[Values, Values]] = []
    for chunk in _chunks(counts):
        drawn = chunk[:, order].astype(np.float64)
        true = np.add.reduceat(drawn * positive, starts, axis=1)
        false = np.add.reduceat(drawn * ~positive, starts, axis=1)
        hits, alarms = true.cumsum(axis=1), false.cumsum(axis=1)
        positives, negatives = hits[:, -1], alarms[:, -1]
        above = ((hits - true / 2) * false).sum(axis=1)
        precision = hits / np.maximum(hits + alarms, 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            average_precision = (true * precision).sum(axis=1) / positives
            found.append(
                (
                    above / (positives * negatives),
                    np.where(negatives > 0, average_precision, np.nan),
                )
            )
    areas, precisions = zip(*found, strict=True)
    return {"roc_auc": np.concatenate(areas), "average_precision": np.concatenate(precisions)}


def _sums(counts: Counts, columns: Sequence[npt.NDArray[Any]]) -> Values:
    """Return each column's sum over each resample's rows, shape (columns, resamples)."""
    table = np.column_stack(columns).astype(np.float64)
    return np.concatenate([chunk.astype(np.float64) @ table for chunk in _chunks(counts)]).T


def _chunks(counts: Counts) -> list[Counts]:
    """Return the resamples in portions of a million draws, which fit a cache as 64-bit numbers."""
    return np.array_split(counts, -(-counts.size // 2**20))


def bins(probabilities: Floats) -> npt.NDArray[np.intp]:
    """Return the bin of each probability, from 0; a bin includes its lower end."""
    return np.minimum((probabilities * BINS).astype(np.intp), BINS - 1)


def _surplus(labels: Labels, probabilities: Floats) -> Values:
    """Return label minus probability in the column of the row's bin, shape (rows, BINS)."""
    surplus = np.zeros((len(labels), BINS))
    surplus[np.arange(len(labels)), bins(probabilities)] = labels - probabilities.astype(np.float64)
    return surplus


def comparison(rows: list[tuple[str, str, Metrics]], title: str) -> Table:
    """Return a table of (model, part of the data, figures), in the given order."""
    table = figures_table(title, "model", "on")
    for metric in COLUMNS:
        table.add_column(metric.replace("_", " "), justify="right")
    previous = ""
    for model, part, figures in rows:
        if previous and model != previous:
            table.add_section()
        shown = [f"{figures[metric]:.3f}" if metric in figures else "" for metric in COLUMNS]
        table.add_row(model, part, *shown)
        previous = model
    return table


def figures_table(title: str, *columns: str) -> Table:
    """Return an empty table that fits into 80 columns."""
    table = Table(*columns, title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.show_edge = table.pad_edge = False
    table.collapse_padding = True  # or Rich would cut the models' names
    return table

"""Intervals of figures by the bootstrap, and paired tests between two models.

Bootstrap (Efron and Tibshirani, "An introduction to the bootstrap", 1993, chapter 13): draw rows
with replacement, `RESAMPLES` times, and compute the figure of each resample. All models and slices
use the same resamples, so that differences between models are of paired rows.
"""

import math

import msgspec
import numpy as np
import numpy.typing as npt
from scipy import stats

from shared.arrays import Floats
from shared.bundle.quality import Bin, Figure
from trainer.evaluate.metrics import (
    BINS,
    Counts,
    Labels,
    Metrics,
    Values,
    bins,
    decide_resamples,
    decisions,
    evaluate,
    evaluate_resamples,
)

RESAMPLES = 2000
SEED = 1024
CONFIDENCE = 0.95


class Scores(msgspec.Struct, frozen=True):
    """A model's probabilities, float32, shape (rows,), and its threshold."""

    probabilities: Floats
    threshold: float


class McNemar(msgspec.Struct, frozen=True):
    """The numbers of rows that only one of two models gets right, and the p-value of the test."""

    only_first: int
    only_second: int
    p: float


def draw(rows: int, seed: int = SEED) -> Counts:
    """Draw the resamples: how often each contains each row, uint8, shape (RESAMPLES, rows)."""
    random = np.random.default_rng(seed)
    return np.stack(
        [  # on average once, so a byte is enough
            np.bincount(random.integers(rows, size=rows), minlength=rows).astype(np.uint8)
            for _ in range(RESAMPLES)
        ]
    )


def measure(labels: Labels, scores: Scores, counts: Counts) -> dict[str, Figure]:
    """Measure every metric of `trainer.evaluate.metrics` that the rows allow, with its interval.

    Without alerts there is no precision.

    Args:
        labels: int8, shape (rows,), 1 for relevant.
        counts: resamples of these rows, as `draw` returns them.
    """
    values = evaluate(labels, scores.probabilities, scores.threshold)
    resampled = evaluate_resamples(labels, scores.probabilities, scores.threshold, counts)
    figures = _with_shares(_figures(values, resampled), labels, scores)
    # A resample holds rows twice, which adds noise to the bins, and so to this metric alone. The
    # basic interval (Davison and Hinkley, 1997, section 5.2) subtracts that. It ends at the error
    # itself if few rows make the noise large.
    error = figures["calibration_error"]
    low, high = (max(0.0, 2 * error.value - end) for end in (error.high, error.low))
    figures["calibration_error"] = Figure(error.value, low, max(high, error.value))
    return figures


def measure_decisions(labels: Labels, scores: Scores, counts: Counts) -> dict[str, Figure]:
    """Measure accuracy, precision, recall, F1 and the share of alerts, with intervals."""
    values = decisions(labels, scores.probabilities, scores.threshold)
    relevant = scores.probabilities >= scores.threshold
    figures = _figures(values, decide_resamples(labels, relevant, counts))
    return _with_shares(figures, labels, scores)


def measure_difference(
    labels: Labels, first: Scores, second: Scores, counts: Counts
) -> dict[str, Figure]:
    """Measure every metric of the first model minus that of the second, on the same rows."""
    (one, ones), (other, others) = (
        (
            evaluate(labels, scores.probabilities, scores.threshold),
            evaluate_resamples(labels, scores.probabilities, scores.threshold, counts),
        )
        for scores in (first, second)
    )
    figures = _figures(
        {name: one[name] - other[name] for name in one},
        {name: ones[name] - others[name] for name in ones},
    )
    if not all(_alerts(scores).any() for scores in (first, second)):
        figures.pop("precision", None)
    return figures


def mcnemar(labels: Labels, first: Scores, second: Scores) -> McNemar:
    """Test whether two models are right equally often.

    If they are, each row that only one of them gets right is equally likely to be either's: a
    two-sided binomial test (McNemar, 1947; exact form as in Fagerland, Lydersen and Laake, "The
    McNemar test for binary matched-pairs data", 2013).
    """
    right = [(s.probabilities >= s.threshold) == (labels == 1) for s in (first, second)]
    one, other = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    p = float(stats.binomtest(one, one + other).pvalue) if one + other else 1.0
    return McNemar(one, other, p)


def share(successes: int, rows: int) -> Figure:
    """Return a share with Wilson's interval (1927); there must be a row."""
    ends = stats.binomtest(successes, rows).proportion_ci(CONFIDENCE, method="wilson")
    return Figure(successes / rows, float(ends.low), float(ends.high))


def reliability(labels: Labels, probabilities: Floats) -> list[Bin]:
    """Return the bins of the calibration error that are not empty, in order of probability."""
    numbers = bins(probabilities)
    found = []
    for number in range(BINS):
        inside = numbers == number
        if inside.any():
            mean = float(probabilities[inside].mean(dtype=np.float64))
            tweets = int(inside.sum())
            found.append(Bin(tweets, mean, share(int(labels[inside].sum()), tweets)))
    return found


def share_difference(first: Figure, second: Figure) -> Figure:
    """Return the difference of two shares, or areas under the curve, without their rows.

    Newcombe, "Interval estimation for the difference between independent proportions", 1998,
    method 10, of shares with Wilson's intervals; Zou and Donner, "Construction of confidence limits
    about effect measures: a general approach", 2008, for other figures and their intervals. The
    interval is too wide if both are of the same rows.
    """
    value = first.value - second.value
    low = value - math.hypot(first.value - first.low, second.high - second.value)
    high = value + math.hypot(first.high - first.value, second.value - second.low)
    return Figure(value, low, high)


def _alerts(scores: Scores) -> npt.NDArray[np.bool_]:
    return scores.probabilities >= scores.threshold


def _with_shares(figures: dict[str, Figure], labels: Labels, scores: Scores) -> dict[str, Figure]:
    """Give shares of 0 and 1 Wilson's interval, and leave out the precision if nothing is an alert.

    The resamples of rows that are all right are all right too: their interval would be one point.
    """
    alerts, positive = _alerts(scores), labels == 1
    rows, hits = len(labels), int((alerts & positive).sum())
    counted = {
        "accuracy": (int((alerts == positive).sum()), rows),
        "precision": (hits, int(alerts.sum())),
        "recall": (hits, int(positive.sum())),
        "alerts": (int(alerts.sum()), rows),
    }
    for metric, (successes, of) in counted.items():
        if not of:
            figures.pop(metric, None)
        elif metric in figures and successes in (0, of):
            figures[metric] = share(successes, of)
    return figures


def _figures(values: Metrics, resampled: dict[str, Values]) -> dict[str, Figure]:
    """Return percentile intervals, without metrics that are undefined on the rows or resamples."""
    tail = (1 - CONFIDENCE) / 2
    figures = {}
    for name, value in values.items():
        if not (math.isnan(value) or np.isnan(resampled[name]).all()):
            low, high = np.nanquantile(resampled[name], [tail, 1 - tail])
            figures[name] = Figure(value, float(low), float(high))
    return figures

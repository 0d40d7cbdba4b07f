"""How sure a figure is: bootstrap intervals, and paired tests between two models.

Bootstrap (Efron and Tibshirani, "An introduction to the bootstrap", 1993, chapter 13): rows are
drawn with replacement, `RESAMPLES` times, and the figure of each resample is taken. Every model and
slice is measured on the same resamples, so that differences between models are of paired rows.
"""

import math

import msgspec
import numpy as np
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
    """What a model said: probabilities, float32, shape (rows,), and from where on it decides."""

    probabilities: Floats
    threshold: float


class McNemar(msgspec.Struct, frozen=True):
    """Rows that one of two models alone decided rightly, and how likely that is by chance."""

    only_first: int
    only_second: int
    p: float


def draw(rows: int, seed: int = SEED) -> Counts:
    """Draws the resamples: uint8, shape (RESAMPLES, rows), how often each holds each row."""
    random = np.random.default_rng(seed)
    return np.stack(
        [  # once on average; that one is drawn 256 times is beyond any chance
            np.bincount(random.integers(rows, size=rows), minlength=rows).astype(np.uint8)
            for _ in range(RESAMPLES)
        ]
    )


def measure(labels: Labels, scores: Scores, counts: Counts) -> dict[str, Figure]:
    """Every metric of `trainer.evaluate.metrics` with its interval, if the rows give one.

    Args:
        labels: int8, shape (rows,), 1 for relevant.
        counts: as `draw` gives them, for these rows.
    """
    values = evaluate(labels, scores.probabilities, scores.threshold)
    resampled = evaluate_resamples(labels, scores.probabilities, scores.threshold, counts)
    figures = _figures(values, resampled)
    # A resample holds rows twice, which adds noise to the bins and so to this error alone. The
    # basic interval (Davison and Hinkley, 1997, section 5.2) turns the surplus round, and ends with
    # the error itself where few rows make the surplus large.
    error = figures["calibration_error"]
    low, high = (max(0.0, 2 * error.value - end) for end in (error.high, error.low))
    figures["calibration_error"] = Figure(error.value, low, max(high, error.value))
    return figures


def measure_decisions(labels: Labels, scores: Scores, counts: Counts) -> dict[str, Figure]:
    """Accuracy, precision, recall, F1 and the share of alerts, with intervals."""
    values = decisions(labels, scores.probabilities, scores.threshold)
    relevant = scores.probabilities >= scores.threshold
    return _figures(values, decide_resamples(labels, relevant, counts))


def measure_difference(
    labels: Labels, first: Scores, second: Scores, counts: Counts
) -> dict[str, Figure]:
    """Every metric of the first model minus that of the second, on the same rows."""
    (one, ones), (other, others) = (
        (
            evaluate(labels, scores.probabilities, scores.threshold),
            evaluate_resamples(labels, scores.probabilities, scores.threshold, counts),
        )
        for scores in (first, second)
    )
    return _figures(
        {name: one[name] - other[name] for name in one},
        {name: ones[name] - others[name] for name in ones},
    )


def mcnemar(labels: Labels, first: Scores, second: Scores) -> McNemar:
    """The exact test of whether two models are right equally often.

    Of the rows that one model alone decides rightly, each has even chances for either if the models
    are equally good: two-sided binomial probability (McNemar, 1947; exact form as in Fagerland,
    Lydersen and Laake, "The McNemar test for binary matched-pairs data", 2013).
    """
    right = [(s.probabilities >= s.threshold) == (labels == 1) for s in (first, second)]
    one, other = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    p = float(stats.binomtest(one, one + other).pvalue) if one + other else 1.0
    return McNemar(one, other, p)


def share(successes: int, rows: int) -> Figure:
    """A share of one row or more, with Wilson's interval (1927)."""
    ends = stats.binomtest(successes, rows).proportion_ci(CONFIDENCE, method="wilson")
    return Figure(successes / rows, float(ends.low), float(ends.high))


def reliability(labels: Labels, probabilities: Floats) -> list[Bin]:
    """The bins of the calibration error that hold any tweet, in order of probability."""
    places = bins(probabilities)
    found = []
    for place in range(BINS):
        inside = places == place
        if inside.any():
            mean = float(probabilities[inside].mean(dtype=np.float64))
            tweets = int(inside.sum())
            found.append(Bin(tweets, mean, share(int(labels[inside].sum()), tweets)))
    return found


def share_difference(first: Figure, second: Figure) -> Figure:
    """The difference of two shares, or areas under the curve, of which no row by itself is known.

    Newcombe, "Interval estimation for the difference between independent proportions", 1998,
    method 10, of shares with Wilson's intervals; Zou and Donner, "Construction of confidence limits
    about effect measures: a general approach", 2008, of other figures and their intervals. Where
    the rows were the same, it is wider than it need be.
    """
    value = first.value - second.value
    low = value - math.hypot(first.value - first.low, second.high - second.value)
    high = value + math.hypot(first.high - first.value, second.value - second.low)
    return Figure(value, low, high)


def _figures(values: Metrics, resampled: dict[str, Values]) -> dict[str, Figure]:
    """Percentile intervals; a metric that the rows or all their resamples lack is left out."""
    tail = (1 - CONFIDENCE) / 2
    figures = {}
    for name, value in values.items():
        if not (math.isnan(value) or np.isnan(resampled[name]).all()):
            low, high = np.nanquantile(resampled[name], [tail, 1 - tail])
            figures[name] = Figure(value, float(low), float(high))
    return figures

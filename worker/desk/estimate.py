"""Estimate: precision and recall of the live stream, from review tweets and what people said.

Review tweets are a probability sample of all tweets (`worker.review`): each stands for one over its
inclusion probability. People label some of them. Alerts are labelled more often, because they are
on other pages, too; so the share of relevant tweets is estimated among alerts and among the others,
and each counts as its part of the whole sample does (post-stratification; Holt and Smith, JRSS A
142, 1979).
"""

import sqlite3
from typing import Literal

import msgspec
import numpy as np

from shared.bundle.quality import Figure
from worker.desk.queries import wilson

WINDOW_DAYS = 7
"""Of the metrics: long enough for some hundred labels, short enough to see a change."""

_DRAWS = 4000
_MOST_GROUPS = 60


class Stratum(msgspec.Struct, frozen=True):
    """Sums over the review tweets that are alerts, or over the others; a weight is 1 / inclusion.

    Attributes:
        weight, squares: sums of the weights, and of their squares, of all tweets.
        labelled: how many are labelled relevant or not-relevant.
        labelled_weight, labelled_squares: the sums of those.
        relevant_weight, relevant_squares: the sums of those that are relevant.
    """

    weight: float = 0
    squares: float = 0
    labelled: int = 0
    labelled_weight: float = 0
    labelled_squares: float = 0
    relevant_weight: float = 0
    relevant_squares: float = 0

    @property
    def relevant(self) -> float:
        """The weighted share of relevant tweets (Hájek's estimator)."""
        return self.relevant_weight / self.labelled_weight

    @property
    def effective(self) -> float:
        """How many tweets of equal weight would tell the share as exactly.

        By the linearized variance of the share (Korn and Graubard, Survey Methodology 24, 1998);
        where all labels agree, by the weights alone (Kish, "Survey Sampling", 1965).
        """
        share = self.relevant
        variance = (
            self.relevant_squares * (1 - 2 * share) + share**2 * self.labelled_squares
        ) / self.labelled_weight**2
        if 0 < share < 1 and variance > 0:
            return min(share * (1 - share) / variance, self.labelled)
        return self.labelled_weight**2 / self.labelled_squares


class Estimate(msgspec.Struct, frozen=True):
    """What the alerts of a model or a day are worth.

    Attributes:
        name: the model and its version, or the day.
        tweets: how many the sample stands for.
        labelled: review tweets that are labelled, and how many of them are alerts.
        precision: share of alerts that are relevant; None without labelled alerts.
        recall: share of relevant tweets that are alerts; None without labels of both kinds.
    """

    name: str
    tweets: float
    labelled: int
    labelled_alerts: int
    precision: Figure | None
    recall: Figure | None


def estimates(
    db: sqlite3.Connection,
    by: Literal["model", "day"],
    model: str | None = None,
    since: int = 0,
) -> list[Estimate]:
    """Estimate by model and version or by day in UTC, the newest first.

    Args:
        model: this one alone, such as `LSTM 3`.
        since: milliseconds; tweets that were scored then or later.
    """
    group = "model" if by == "model" else "date(time / 1000, 'unixepoch')"
    weight = "1 / inclusion"
    labelled = f"{weight} * (label IS NOT NULL)"
    relevant = f"{weight} * (label IS 'relevant')"
    rows = db.execute(
        f"SELECT {group} AS name, probability >= threshold, sum({weight}), "  # noqa: S608
        f"sum({weight} * {weight}), sum(label IS NOT NULL), sum({labelled}), "
        f"sum({labelled} * {labelled}), sum({relevant}), sum({relevant} * {relevant}), max(time) "
        "FROM review WHERE time >= :since AND (:model IS NULL OR model = :model) GROUP BY 1, 2",
        {"since": since, "model": model},
    )
    groups: dict[str, dict[int, Stratum]] = {}
    newest: dict[str, int] = {}
    for name, is_alert, *sums, last in rows:
        groups.setdefault(name, {})[is_alert] = Stratum(*sums)
        newest[name] = max(last, newest.get(name, 0))
    names = sorted(groups, key=lambda name: newest[name], reverse=True)[:_MOST_GROUPS]
    return [
        estimate(name, groups[name].get(1, Stratum()), groups[name].get(0, Stratum()))
        for name in names
    ]


def estimate(name: str, alerts: Stratum, others: Stratum) -> Estimate:
    """Estimate precision and recall from the sums of alerts and of other tweets.

    Precision has Wilson's interval by the effective number of labels (Franco et al., Journal of
    Survey Statistics and Methodology 7, 2019). Recall's is simulated, because there may be missed
    tweets in the stream and none in the sample: shares from Jeffreys' posterior (Brown, Cai and
    DasGupta, Statistical Science 16, 2001), sums of weights from gamma distributions.
    """
    precision = recall = None
    if alerts.labelled:
        value = alerts.relevant
        low, high = wilson(value * alerts.effective, alerts.effective)
        precision = Figure(value, low, high)
    if alerts.labelled and (others.labelled or not others.weight):
        recall = _recall(alerts, others)
    return Estimate(
        name,
        alerts.weight + others.weight,
        alerts.labelled + others.labelled,
        alerts.labelled,
        precision,
        recall,
    )


def _recall(alerts: Stratum, others: Stratum) -> Figure | None:
    found = alerts.weight * alerts.relevant
    missed = others.weight * others.relevant if others.labelled else 0.0
    if not found + missed:
        return None
    draw = np.random.default_rng(0)  # the same labels give the same interval

    def simulate(stratum: Stratum) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        if not stratum.labelled:
            return np.zeros(_DRAWS)
        hits = stratum.relevant * stratum.effective
        share = draw.beta(hits + 0.5, stratum.effective - hits + 0.5, _DRAWS)
        tweets = stratum.weight**2 / stratum.squares
        sampled: np.ndarray[tuple[int], np.dtype[np.float64]] = (
            share * stratum.weight * draw.gamma(tweets, 1 / tweets, _DRAWS)
        )
        return sampled

    hit, miss = simulate(alerts), simulate(others)
    low, high = np.quantile(hit / (hit + miss), (0.025, 0.975))
    value = found / (found + missed)
    return Figure(value, min(float(low), value), max(float(high), value))

"""Estimates of the stream: near the truth, with intervals that hold it as often as they say."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from shared.bundle.quality import Figure
from tests.desk.alerts import NEWS, NOON, added, new_alert, new_label, reviewed
from worker.desk.estimate import Estimate, Stratum, estimate, estimates
from worker.desk.store import Store
from worker.messages.alert import Model
from worker.messages.label import Label

THRESHOLD = 0.5
_TWEETS = 20_000
_SAMPLE = 400


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "desk.sqlite3")
    yield store
    store.close()


def sums(
    weights: npt.NDArray[np.float64],
    labelled: npt.NDArray[np.bool_],
    relevant: npt.NDArray[np.bool_],
) -> Stratum:
    said, hits = weights[labelled], weights[labelled & relevant]
    return Stratum(
        *(weights.sum(), (weights**2).sum(), len(said), said.sum(), (said**2).sum()),
        *(hits.sum(), (hits**2).sum()),
    )


def draw(seed: int, share_missed: float) -> tuple[Estimate, float, float]:
    """Sample a stream as `worker.review` does, label a part, and estimate; then the truth."""
    rng = np.random.default_rng(seed)
    probabilities = rng.beta(0.4, 1.2, _TWEETS)
    is_alert = probabilities >= THRESHOLD
    chance = np.where(is_alert, 0.3 + 0.7 * probabilities, share_missed * probabilities)
    relevant = rng.random(_TWEETS) < chance
    nearness = np.exp(-0.5 * np.log(probabilities / (1 - probabilities)) ** 2)
    inclusion = _SAMPLE * (0.4 / _TWEETS + 0.6 * nearness / nearness.sum())
    sample = rng.random(_TWEETS) < inclusion
    # Alerts are labelled more often than the others.
    labelled = rng.random(_TWEETS) < np.where(is_alert, 0.9, 0.6)
    parts = (
        sums(1 / inclusion[chosen], labelled[chosen], relevant[chosen])
        for chosen in (sample & is_alert, sample & ~is_alert)
    )
    hits = (relevant & is_alert).sum()
    return estimate("LSTM 1", *parts), hits / is_alert.sum(), hits / relevant.sum()


@pytest.mark.parametrize("share_missed", [0.02, 0.4], ids=["few missed", "many missed"])
def test_intervals_hold_the_truth_as_often_as_they_say(share_missed: float) -> None:
    held = {"precision": 0, "recall": 0}
    errors: dict[str, list[float]] = {"precision": [], "recall": []}
    count = 400
    for seed in range(count):
        found, precision, recall = draw(seed, share_missed)
        for name, truth in (("precision", precision), ("recall", recall)):
            share = getattr(found, name)
            assert 0 <= share.low <= share.value <= share.high <= 1
            held[name] += share.low <= truth <= share.high
            errors[name].append(share.value - truth)
    for name in held:
        assert held[name] / count >= 0.92, name  # 95 %, and three standard errors of the count
        assert abs(np.mean(errors[name])) < 0.02, name


def test_without_a_missed_tweet_in_the_sample_recall_is_not_certain() -> None:
    alerts, others = (
        Stratum(1000, 10_000, 50, 500, 5000, 450, 4500),
        Stratum(9000, 900_000, 30, 3000, 300_000, 0, 0),
    )
    recall = estimate("x", alerts, others).recall
    assert recall is not None
    assert recall.value == recall.high == 1
    assert recall.low < 0.8
    all_alerts = estimate("x", alerts, Stratum()).recall
    assert all_alerts == Figure(1, 1, 1)


@pytest.mark.parametrize(
    ("alerts", "others", "precision", "recall"),
    [
        (Stratum(), Stratum(), False, False),
        (Stratum(100, 1000, 0), Stratum(900, 90_000, 9, 90, 900, 1, 10), False, False),
        (Stratum(100, 1000, 5, 50, 500, 40, 400), Stratum(900, 90_000, 0), True, False),
        (Stratum(100, 1000, 5, 50, 500, 0, 0), Stratum(900, 9000, 9, 90, 900, 0, 0), True, False),
    ],
)
def test_what_is_not_known_is_not_estimated(
    alerts: Stratum, others: Stratum, precision: bool, recall: bool
) -> None:
    found = estimate("x", alerts, others)
    assert ((found.precision is not None), (found.recall is not None)) == (precision, recall)


def test_the_store_gives_the_sums_by_model_and_by_day(store: Store) -> None:
    labels: list[tuple[int, int, Label]] = []
    for version in (1, 2):
        for number in range(40):
            alert = new_alert(
                f"{NEWS[0]} {number}",
                probability=0.8 if number < 10 else 0.2,
                model=Model("LSTM", version, ""),
            )
            store.add(added(alert) if number < 10 else (), reviews=reviewed(alert, inclusion=0.1))
            if number % 2 == 0:
                verdict = "relevant" if number < 8 or number == 20 else "not-relevant"
                labels.append((0, len(labels), new_label(alert, verdict)))  # type: ignore[arg-type]
    store.add(labels=labels)
    expected = estimate("x", Stratum(100, 1000, 5, 50, 500, 40, 400),
                        Stratum(300, 3000, 15, 150, 1500, 10, 100))  # fmt: skip
    found = estimates(store.reader(), "model")
    assert {one.name for one in found} == {"LSTM 1", "LSTM 2"}
    for one in found:
        assert (one.precision, one.recall) == (expected.precision, expected.recall)
        assert (one.tweets, one.labelled, one.labelled_alerts) == (400, 20, 5)
    assert expected.precision is not None
    assert expected.precision.value == 0.8
    assert expected.recall is not None
    assert expected.recall.value == pytest.approx(0.8)
    (day,) = estimates(store.reader(), "day")
    assert (day.name, day.labelled) == (f"{NOON:%Y-%m-%d}", 40)
    (one,) = estimates(store.reader(), "model", "LSTM 2")
    assert one.name == "LSTM 2"
    assert estimates(store.reader(), "model", None, int(NOON.timestamp() * 1000) + 1) == []

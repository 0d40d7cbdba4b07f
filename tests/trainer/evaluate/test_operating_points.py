"""Operating points: the thresholds that reach nine of ten, and what they say of themselves."""

import numpy as np
import pytest

from shared.bundle.quality import OPERATING_POINTS
from trainer.evaluate.metrics import Labels, decisions
from trainer.evaluate.thresholds import F1_WEIGHT, FEWEST, operating_points, thresholds


def scored(rows: int, seed: int = 1) -> tuple[Labels, np.ndarray[tuple[int], np.dtype[np.float32]]]:
    """Return labels drawn from probabilities, and these probabilities."""
    random = np.random.default_rng(seed)
    probabilities = random.beta(0.5, 0.6, rows).astype(np.float32)
    return (random.random(rows) < probabilities).astype(np.int8), probabilities


@pytest.mark.parametrize("seed", range(5))
def test_nine_of_ten_are_reached_and_nothing_is_given_away(seed: int) -> None:
    labels, probabilities = scored(2000, seed)
    found = thresholds(labels, probabilities, calibrated=True)
    assert tuple(found) == OPERATING_POINTS
    for name, metric, step in (("precision-90", "precision", -1), ("recall-90", "recall", 1)):
        assert decisions(labels, probabilities, found[name])[metric] >= 0.9
        beyond = decisions(labels, probabilities, found[name] + step * 0.001)
        assert beyond[metric] < 0.9, name
    assert found["recall-90"] < found["balanced"] < found["precision-90"]


def test_what_is_not_reached_is_absent() -> None:
    labels, probabilities = scored(2000)
    guesses = np.full(2000, 0.43, np.float32)
    found = thresholds(labels, guesses, calibrated=False)
    assert found == {"balanced": 0.5, "recall-90": 0.43}
    sure = np.where(np.arange(2000) < FEWEST - 1, 0.99, probabilities / 2).astype(np.float32)
    labels = np.where(np.arange(2000) < FEWEST - 1, 1, labels * (np.arange(2000) % 2))
    assert "precision-90" not in thresholds(labels.astype(np.int8), sure, calibrated=True)
    nothing = np.zeros(2, np.float32)
    assert thresholds(np.array([0, 1], np.int8), nothing, calibrated=True) == {"balanced": 0.5}


@pytest.mark.parametrize("seed", range(3))
def test_balanced_is_best_by_accuracy_and_a_quarter_of_f1(seed: int) -> None:
    labels, probabilities = scored(20_000, seed)
    chosen = thresholds(labels, probabilities, calibrated=True)["balanced"]
    assert 0.4 < chosen < 0.5

    def gain(threshold: float) -> float:
        figures = decisions(labels, probabilities, threshold)
        return figures["accuracy"] + F1_WEIGHT * figures["f1"]

    best = max(gain(n / 100) for n in range(40, 52, 2))
    assert gain(chosen) == pytest.approx(best, abs=0.004)


def test_balanced_hardly_depends_on_which_tweets_there_were() -> None:
    found = [thresholds(*scored(400, seed), calibrated=True)["balanced"] for seed in range(30)]
    assert np.std(found) < 0.02


def test_figures_are_of_the_part_that_they_name() -> None:
    parts = {"validation": scored(500, 1), "test": scored(400, 2)}
    found = operating_points("validation", parts, calibrated=True)
    for point in found.values():
        for part, (labels, probabilities) in parts.items():
            relevant = probabilities >= point.threshold
            figures = point.figures[part]
            assert figures["alerts"] == relevant.mean()
            assert figures["accuracy"] == (relevant == labels).mean()
            assert figures["precision"] == labels[relevant].mean()
    assert {n: p.threshold for n, p in found.items()} == thresholds(
        *parts["validation"], calibrated=True
    )

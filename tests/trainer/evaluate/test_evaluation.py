"""Figures on a small example, reckoned by hand, and the table they are shown in."""

import numpy as np
import pytest
from rich.console import Console
from sklearn import metrics

from shared.arrays import Floats
from trainer.evaluate.metrics import (
    COLUMNS,
    METRICS,
    Labels,
    Metrics,
    comparison,
    evaluate,
    evaluate_resamples,
)

LABELS = np.array([1, 1, 1, 0, 0, 0, 0, 0], np.int8)
PROBABILITIES = np.array([0.9, 0.4, 0.5, 0.6, 0.1, 0.2, 0.3, 0.7], np.float32)


def by_scikit_learn(labels: Labels, probabilities: Floats, threshold: float) -> Metrics:
    """Return the metrics that scikit-learn has: all but the calibration error."""
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        labels, probabilities >= threshold, average="binary"
    )
    edges = np.linspace(0, 1, 11)[1:-1].astype(np.float32)
    bins = np.searchsorted(edges, probabilities, side="right")
    gaps = [abs((labels - probabilities.astype(float))[bins == bin_].sum()) for bin_ in range(10)]
    return {
        "accuracy": metrics.accuracy_score(labels, probabilities >= threshold),
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "roc_auc": metrics.roc_auc_score(labels, probabilities),
        "average_precision": metrics.average_precision_score(labels, probabilities),
        "brier": metrics.brier_score_loss(labels, probabilities),
        "calibration_error": sum(gaps) / len(labels),
    }


def test_figures_by_hand() -> None:
    # At .5, two of three relevant tweets are found and two others taken for relevant. Of the 15
    # pairs of a relevant tweet and another, 5 + 3 + 3 are in the right order: the relevant tweets
    # are the first, fourth and fifth of all. Each tweet is alone in its bin.
    figures = evaluate(LABELS, PROBABILITIES, 0.5)
    errors = [0.1, 0.6, 0.5, 0.6, 0.1, 0.2, 0.3, 0.7]
    assert tuple(figures) == METRICS
    assert figures == pytest.approx(
        {
            "accuracy": 5 / 8,
            "precision": 2 / 4,
            "recall": 2 / 3,
            "f1": 4 / 7,
            "roc_auc": 11 / 15,
            "average_precision": (1 + 2 / 4 + 3 / 5) / 3,
            "brier": sum(error**2 for error in errors) / 8,
            "calibration_error": sum(errors) / 8,
        }
    )


def test_threshold_itself_is_relevant_and_moves_all_but_roc_auc() -> None:
    exact, above = (evaluate(LABELS, PROBABILITIES, threshold) for threshold in (0.5, 0.51))
    assert (exact["recall"], above["recall"]) == pytest.approx((2 / 3, 1 / 3))
    assert above["roc_auc"] == exact["roc_auc"]


def test_nothing_relevant_has_precision_zero_without_a_warning() -> None:
    figures = evaluate(LABELS, PROBABILITIES, 0.99)
    assert (figures["precision"], figures["recall"], figures["f1"]) == (0, 0, 0)
    assert figures["accuracy"] == 5 / 8


def test_one_class_alone_cannot_be_ranked() -> None:
    for labels in (np.zeros(8, np.int8), np.ones(8, np.int8)):
        figures = evaluate(labels, PROBABILITIES, 0.5)
        assert np.isnan([figures["roc_auc"], figures["average_precision"]]).all()
        assert figures["accuracy"] == 0.5


def test_calibration_error_is_of_bins_and_not_of_tweets() -> None:
    probabilities = np.array([0.71, 0.79, 0.75, 0.75, 0.1, 1.0], np.float32)
    labels = np.array([1, 1, 1, 0, 0, 1], np.int8)
    # Three of four are relevant where .75 is said on average; .1 is off by .1; 1 is right.
    error = evaluate(labels, probabilities, 0.5)["calibration_error"]
    assert error == pytest.approx(0.1 / 6, abs=1e-7)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("digits", [1, 7], ids=["many ties", "no ties"])
def test_resamples_have_the_figures_of_their_rows(seed: int, digits: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(2, size=60).astype(np.int8)
    probabilities = random.random(60).round(digits).astype(np.float32)
    counts = random.poisson(1, size=(40, 60)).astype(np.uint8)
    found = evaluate_resamples(labels, probabilities, 0.4, counts)
    assert found["roc_auc"].shape == (40,)
    for place, drawn in enumerate(counts):
        rows = np.repeat(np.arange(60), drawn)
        expected = by_scikit_learn(labels[rows], probabilities[rows], 0.4)
        assert evaluate(labels[rows], probabilities[rows], 0.4) == pytest.approx(expected)
        assert {metric: found[metric][place] for metric in METRICS} == pytest.approx(expected)


def test_resamples_are_computed_in_portions_without_a_difference() -> None:
    random = np.random.default_rng(1)
    labels = random.integers(2, size=3000).astype(np.int8)
    probabilities = random.random(3000).astype(np.float32)
    counts = random.poisson(1, size=(900, 3000)).astype(np.uint8)  # more than two portions
    together = evaluate_resamples(labels, probabilities, 0.5, counts)
    alone = evaluate_resamples(labels, probabilities, 0.5, counts[500:501])
    assert {metric: values[500] for metric, values in together.items()} == pytest.approx(
        {metric: values[0] for metric, values in alone.items()}
    )


def test_resample_of_one_class_has_no_area() -> None:
    counts = np.array([[1, 1, 1, 0, 0, 0, 0, 0], [0, 0, 0, 2, 2, 1, 1, 2]], np.uint8)
    found = evaluate_resamples(LABELS, PROBABILITIES, 0.5, counts)
    assert np.isnan(found["roc_auc"]).all()
    assert found["accuracy"] == pytest.approx([2 / 3, 4 / 8])


def test_comparison_shows_models_parts_and_figures_within_80_columns() -> None:
    figures = dict(zip(COLUMNS, (0.9112, 0.5, 0.25, 0.75, 0.9996), strict=True))
    name = "Vanilla-Feedforward-NN"
    rows = [(name, "validation", figures), (name, "test", figures), ("LSTM", "test", figures)]
    console = Console(width=80)
    with console.capture() as captured:
        console.print(comparison(rows, "Recipe tuned, seed 7"))
    lines = [line.split() for line in captured.get().splitlines() if line.strip()]

    shown = ["0.911", "0.500", "0.250", "0.750", "1.000"]
    assert lines[0] == ["Recipe", "tuned,", "seed", "7"]
    assert lines[1] == ["model", "on", "accuracy", "precision", "recall", "f1", "roc", "auc"]
    assert lines[3:] == [
        [name, "validation", *shown],
        [name, "test", *shown],
        ["LSTM", "test", *shown],
    ]

"""Figures on a small example, reckoned by hand, and the table they are shown in."""

import numpy as np
import pytest
from rich.console import Console

from trainer.evaluation import METRICS, comparison, evaluate

LABELS = np.array([1, 1, 1, 0, 0, 0, 0, 0], np.int8)
PROBABILITIES = np.array([0.9, 0.4, 0.5, 0.6, 0.1, 0.2, 0.3, 0.7], np.float32)


def test_figures_by_hand() -> None:
    # At .5, two of three relevant tweets are found and two others taken for relevant. Of the 15
    # pairs of a relevant tweet and another, 5 + 3 + 3 are in the right order.
    figures = evaluate(LABELS, PROBABILITIES, 0.5)
    assert figures == pytest.approx(
        {"accuracy": 5 / 8, "precision": 2 / 4, "recall": 2 / 3, "f1": 4 / 7, "roc_auc": 11 / 15}
    )


def test_threshold_itself_is_relevant_and_moves_all_but_roc_auc() -> None:
    exact, above = (evaluate(LABELS, PROBABILITIES, threshold) for threshold in (0.5, 0.51))
    assert (exact["recall"], above["recall"]) == pytest.approx((2 / 3, 1 / 3))
    assert above["roc_auc"] == exact["roc_auc"]


def test_nothing_relevant_has_precision_zero_without_a_warning() -> None:
    figures = evaluate(LABELS, PROBABILITIES, 0.99)
    assert (figures["precision"], figures["recall"], figures["f1"]) == (0, 0, 0)
    assert figures["accuracy"] == 5 / 8


def test_comparison_shows_models_parts_and_figures_within_80_columns() -> None:
    figures = dict(zip(METRICS, (0.9112, 0.5, 0.25, 0.75, 0.9996), strict=True))
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

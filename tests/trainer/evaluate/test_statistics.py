"""Intervals and tests: against published examples, and against simulated truth."""

import numpy as np
import pytest

from shared.bundle.quality import Figure
from trainer.evaluate.bootstrap import (
    RESAMPLES,
    Scores,
    draw,
    mcnemar,
    measure,
    measure_decisions,
    measure_difference,
    share,
    share_difference,
)
from trainer.evaluate.metrics import METRICS, Labels


def simulate(rows: int, seed: int, *, noise: float = 1.0) -> tuple[Labels, Scores]:
    """Return labels, half of them relevant, and the scores of a noisy model."""
    random = np.random.default_rng(seed)
    labels = random.integers(2, size=rows).astype(np.int8)
    logits = 2 * labels - 1 + noise * random.standard_normal(rows)
    return labels, Scores((1 / (1 + np.exp(-logits))).astype(np.float32), 0.5)


def test_draws_hold_as_many_rows_as_there_are_and_depend_on_the_seed() -> None:
    counts = draw(50)
    assert counts.shape == (RESAMPLES, 50)
    assert counts.dtype == np.uint8
    assert (counts.sum(axis=1) == 50).all()
    assert counts.mean(axis=0) == pytest.approx(np.ones(50), abs=0.15)
    np.testing.assert_array_equal(draw(50), counts)
    assert not np.array_equal(draw(50, seed=7), counts)


def test_every_metric_has_an_interval_around_it() -> None:
    labels, scores = simulate(400, 1)
    figures = measure(labels, scores, draw(400))
    assert tuple(figures) == METRICS
    for figure in figures.values():
        assert figure.low < figure.value < figure.high
    decided = measure_decisions(labels, scores, draw(400))
    for metric in ("accuracy", "precision", "recall", "f1"):
        assert decided[metric] == figures[metric]
    assert decided["alerts"].value == pytest.approx((scores.probabilities >= 0.5).mean())


def test_shares_of_0_and_1_have_an_interval() -> None:
    labels = np.array([1] * 20 + [0] * 20, np.int8)
    right = Scores(np.where(labels == 1, 0.9, 0.1).astype(np.float32), 0.5)
    wrong = Scores(1 - right.probabilities, 0.5)
    counts = draw(40)
    for measured in (measure(labels, right, counts), measure_decisions(labels, right, counts)):
        assert measured["accuracy"] == share(40, 40)
        assert measured["precision"] == measured["recall"] == share(20, 20)
        assert measured["recall"].low == pytest.approx(0.839, abs=0.001)
    assert measure(labels, wrong, counts)["accuracy"] == share(0, 40)


def test_without_alerts_there_is_no_precision() -> None:
    labels, scores = simulate(40, 1)
    none = Scores(scores.probabilities, 1.1)
    counts = draw(40)
    for measured in (measure(labels, none, counts), measure_decisions(labels, none, counts)):
        assert "precision" not in measured
        assert measured["recall"] == share(0, int(labels.sum()))
    assert measure_decisions(labels, none, counts)["alerts"] == share(0, 40)
    assert "precision" not in measure_difference(labels, scores, none, counts)
    assert "precision" in measure_difference(labels, scores, scores, counts)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    # The noise is normal: accuracy is Φ(1), and the area Φ(√2).
    counts = draw(150)
    trials = [measure(*simulate(150, seed), counts) for seed in range(100)]
    for metric, truth in (("accuracy", 0.8413), ("roc_auc", 0.9214)):
        covered = sum(figures[metric].low <= truth <= figures[metric].high for figures in trials)
        assert 86 <= covered <= 99, metric  # 95 of 100 are within ± 2.2 as a rule


def test_calibration_error_s_interval_makes_up_for_what_resampling_adds() -> None:
    random = np.random.default_rng(3)
    probabilities = random.random(2000).astype(np.float32)
    labels = (random.random(2000) < probabilities).astype(np.int8)  # calibrated: the truth is 0
    figure = measure(labels, Scores(probabilities, 0.5), draw(2000))["calibration_error"]
    assert 0 <= figure.low < 0.01 < figure.value < 0.04


def test_slice_of_one_class_has_what_it_can_have() -> None:
    labels, scores = simulate(200, 1)
    inside = labels == 1
    counts = draw(200)[:, inside]
    one_class = Scores(scores.probabilities[inside], 0.5)
    figures = measure(labels[inside], one_class, counts)
    assert set(METRICS) - set(figures) == {"roc_auc", "average_precision"}
    assert figures["accuracy"] == figures["recall"]


def test_difference_of_a_model_and_itself_is_nothing() -> None:
    labels, scores = simulate(100, 1)
    for figure in measure_difference(labels, scores, scores, draw(100)).values():
        assert figure == Figure(0, 0, 0)


def test_difference_of_paired_rows_is_surer_than_the_figures_are() -> None:
    labels, good = simulate(500, 1)
    random = np.random.default_rng(2)
    worse = Scores(
        np.clip(good.probabilities + random.normal(0, 0.12, 500), 0, 1).astype(np.float32), 0.5
    )
    counts = draw(500)
    difference = measure_difference(labels, good, worse, counts)["roc_auc"]
    figures = [measure(labels, scores, counts)["roc_auc"] for scores in (good, worse)]
    assert difference.value == pytest.approx(figures[0].value - figures[1].value)
    assert 0 < difference.low < difference.high
    assert figures[0].low < figures[1].high  # which by themselves would not tell them apart
    other_way = measure_difference(labels, worse, good, counts)["roc_auc"]
    assert (-other_way.high, -other_way.low) == pytest.approx((difference.low, difference.high))


def test_mcnemar_by_hand() -> None:
    labels = np.ones(12, np.int8)
    first, second = np.full(12, 0.9, np.float32), np.full(12, 0.9, np.float32)
    first[:1] = 0.1  # right in one alone,
    second[1:9] = 0.1  # wrong in eight alone: 2 (C(9, 0) + C(9, 1)) / 2⁹
    test = mcnemar(labels, Scores(first, 0.5), Scores(second, 0.5))
    assert (test.only_first, test.only_second) == (8, 1)
    assert test.p == pytest.approx(2 * (1 + 9) / 2**9)
    assert mcnemar(labels, Scores(first, 0.5), Scores(first, 0.5)).p == 1


def test_wilson_s_interval_as_newcombe_gives_it() -> None:
    # "Two-sided confidence intervals for the single proportion", 1998, table I, method 3.
    for successes, rows, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        figure = share(successes, rows)
        found = (figure.value, figure.low, figure.high)
        assert found == pytest.approx((successes / rows, low, high), abs=5e-5)


def test_newcombe_s_interval_as_he_gives_it() -> None:
    # "Interval estimation for the difference between independent proportions", 1998, table II,
    # method 10, of the contrasts (a) and (b).
    for (first, rows), (second, other_rows), low, high in (
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
    ):
        figure = share_difference(share(first, rows), share(second, other_rows))
        assert (figure.low, figure.high) == pytest.approx((low, high), abs=5e-5)


def test_figures_are_written_with_their_intervals() -> None:
    assert f"{Figure(0.80349, 0.7896, 0.8171)}" == "0.803 (0.790 to 0.817)"
    assert f"{Figure(0.00349, -0.0096, 0.0171):+}" == "+0.003 (-0.010 to +0.017)"

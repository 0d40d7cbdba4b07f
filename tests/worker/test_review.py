"""Review tweets: a probability sample, never more than asked for, that prefers what teaches."""

import random
from collections import Counter
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.review import RANDOM_SHARE, Choice, Review

Batch = tuple[float, list[str], npt.NDArray[np.float32], npt.NDArray[np.float32]]
"""Seconds before it, texts, probabilities, shares of unknown words."""

THRESHOLD = 0.5


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def new_batch(seconds: float, count: int, seed: int) -> Batch:
    rng = np.random.default_rng(seed)
    names = str.maketrans("0123456789", "abcdefghij")  # numbers count for nothing
    texts = [f"b{seed} t{seed}x{n}".translate(names) for n in range(count)]
    probabilities = rng.beta(0.4, 1.2, count).astype(np.float32)
    return seconds, texts, probabilities, rng.beta(1, 8, count).astype(np.float32)


def run(batches: list[Batch], per_minute: int, seed: int) -> list[tuple[int, float, Choice]]:
    """Choose from batches: the index of each choice in the stream, its moment, and the choice."""
    clock = Clock()
    review = Review("review", per_minute, clock, random.Random(seed).random)
    found, first = [], 0
    for seconds, texts, probabilities, unknown in batches:
        clock.now += seconds
        found += [
            (first + choice.index, clock.now, choice)
            for choice in review.choose(texts, probabilities, THRESHOLD, unknown)
        ]
        first += len(texts)
    return found


def test_the_same_stream_clock_and_numbers_give_the_same_choices() -> None:
    batches = [new_batch(0.3, 200, n) for n in range(400)]
    assert run(batches, 30, 1) == run(batches, 30, 1)
    assert run(batches, 30, 1) != run(batches, 30, 2)


@given(
    st.lists(st.tuples(st.floats(0, 90), st.integers(0, 300)), max_size=60),
    st.integers(1, 40),
    st.integers(0, 2**32),
)
def test_never_more_than_asked_for_in_a_minute(
    shape: list[tuple[float, int]], per_minute: int, seed: int
) -> None:
    batches = [new_batch(seconds, count, n) for n, (seconds, count) in enumerate(shape)]
    found = run(batches, per_minute, seed)
    minutes = Counter(moment // 60 for _, moment, _ in found)
    assert max(minutes.values(), default=0) <= per_minute
    assert len({index for index, _, _ in found}) == len(found)
    assert all(0 < choice.inclusion_probability <= 1 for _, _, choice in found)


def test_a_steady_stream_gives_nearly_what_is_asked_for() -> None:
    batches = [new_batch(0.25, 250, n) for n in range(10 * 240)]
    found = run(batches, 20, 3)
    assert 190 <= len(found) <= 210
    share = sum(choice.reason == "random" for _, _, choice in found) / len(found)
    assert abs(share - RANDOM_SHARE) < 0.1


def test_a_slow_stream_is_chosen_as_a_whole() -> None:
    batches = [new_batch(30, 1, n) for n in range(40)]
    found = run(batches, 100, 4)
    assert len(found) >= 38
    assert {choice.inclusion_probability for _, _, choice in found[-30:]} == {1.0}


def burst(copies: bool) -> list[Batch]:
    """Three minutes in which the rate rises tenfold; with copies of one tweet among the others."""
    batches = [new_batch(0.5, 40 if n < 200 else 400, n) for n in range(360)]
    if copies:
        for number, (_, texts, probabilities, _) in enumerate(batches):
            for place in range(0, len(texts), 4):
                texts[place] = (
                    f"the big bridge in town is gone {number}{place} https://t.co/{place}"
                )
                probabilities[place] = 0.5
    return batches


@pytest.mark.slow
def test_weighted_choices_estimate_totals_of_the_stream_without_bias() -> None:
    for copies in (False, True):
        batches = burst(copies)
        probabilities = np.concatenate([batch[2] for batch in batches])
        truth = np.random.default_rng(1).random(len(probabilities)) < probabilities
        values: dict[str, npt.NDArray[np.float64]] = {
            "tweets": np.ones(len(truth)),
            "relevant": truth.astype(float),
            "missed": (truth & (probabilities < THRESHOLD)).astype(float),
            "copies": np.array(
                [t.startswith("the big") for _, ts, _, _ in batches for t in ts], float
            ),
        }
        estimates: dict[str, list[float]] = {name: [] for name in values}
        for seed in range(60):
            found = run(batches, 60, seed)
            weights = np.array([1 / choice.inclusion_probability for _, _, choice in found])
            chosen = [index for index, _, _ in found]
            for name, value in values.items():
                estimates[name].append(float(value[chosen] @ weights))
        for name, found_totals in estimates.items():
            error = np.std(found_totals) / np.sqrt(len(found_totals))
            assert abs(np.mean(found_totals) - values[name].sum()) < 4 * error + 1e-9, name


def chance(change: Callable[[Batch], None]) -> float:
    """How often the first tweet of batches is chosen, after `change`, per batch."""
    batches = [new_batch(0.5, 50, n) for n in range(2000)]
    for batch in batches:
        batch[2][:] = 0.01
        batch[3][:] = 0.02
        change(batch)
    return sum(index % 50 == 0 for index, _, _ in run(batches, 60, 5)) / 2000


def test_near_the_threshold_and_new_words_are_preferred() -> None:
    def near(batch: Batch) -> None:
        batch[2][0] = 0.45

    def new(batch: Batch) -> None:
        batch[3][0] = 0.7

    def near_again(batch: Batch) -> None:
        batch[2][0] = 0.45
        batch[3][0] = -1  # scored before

    usual = chance(lambda _: None)
    assert chance(near) > 10 * usual
    assert chance(new) > 10 * usual
    assert chance(near_again) < 3 * usual + 0.01


def test_copies_of_a_chosen_tweet_are_chosen_as_random_ones_alone() -> None:
    batches = burst(copies=True)
    texts = [text for _, some, _, _ in batches for text in some]
    found = run(batches, 60, 6)
    reasons = Counter(
        choice.reason for index, _, choice in found if texts[index].startswith("the big")
    )
    assert reasons["near-threshold"] <= 1
    assert reasons["random"] > 5

import json
import random
from itertools import islice

import msgspec
import numpy as np

from tests.faults.soak import distinct_texts, slope


def memory(seed: int, growth: float) -> list[tuple[int, float]]:
    """Return 1,500 samples over 1.5 million tweets, each close to the one before."""
    noise = np.random.default_rng(seed).normal(0, 1, 1_500)
    level, samples = 0.0, []
    for number, shock in enumerate(noise):
        level = 0.95 * level + shock
        tweets = 500_000 + 1_000 * number
        samples.append((tweets, 900 + level + growth * tweets / 1e6))
    return samples


def test_the_interval_covers_what_it_says() -> None:
    covered = [low < 0 < high for _, (low, high), _ in (slope(memory(s, 0)) for s in range(200))]
    assert 0.88 < np.mean(covered) <= 1


def test_growth_is_seen() -> None:
    found, (low, high), correlation = slope(memory(1, growth=50))
    assert json.loads(msgspec.json.encode((low, high, correlation))) == [low, high, correlation]
    assert 0 < low < 50 < high
    assert low < found < high


def test_the_texts_are_distinct_and_bring_new_chunks() -> None:
    texts = list(islice(distinct_texts(random.Random(1)), 20_000))
    assert len(set(texts)) == 20_000
    chunks = {chunk for text in texts for chunk in text.split(" ")}
    assert 1.8 < len(chunks) / 20_000 < 2.5

"""That what is compared is the same work."""

from itertools import islice

import numpy as np
import pytest

from shared.bundle.files import MANIFEST
from shared.bundle.load import load_bundle
from tests.benchmarks.plain import PlainModel
from tests.benchmarks.rates import ratio
from tests.benchmarks.tweets import mixed, values
from tests.conftest import Trained

TEXTS = ["Forest fire near La Ronge #wildfire", "this weekend was on fire @you", "so 2.5 &amp;"]


@pytest.mark.slow
def test_the_plain_way_gives_the_scorers_probabilities(trained: Trained) -> None:
    for manifest in trained.bundles.glob(f"*/{MANIFEST}"):
        bundle = load_bundle(manifest.parent)
        expected = bundle.scorer.score(TEXTS)
        plain = PlainModel(manifest.parent)
        assert plain.many(TEXTS, 2) == pytest.approx(expected, abs=1e-4)
        assert plain.one(TEXTS[0]) == pytest.approx(float(expected[0]), abs=1e-4)
        assert np.ptp(expected) > 0


def test_one_mix_has_equal_texts_and_the_other_none() -> None:
    assert len(set(islice(mixed(TEXTS, "repeating"), 60))) == 3
    assert len(set(islice(mixed(TEXTS, "distinct"), 60))) == 60
    assert len(set(values(TEXTS, "distinct", 10))) == 10


def test_a_ratio_is_of_runs_that_were_next_to_each_other() -> None:
    """Whatever the machine's speed was: half, whole and whole again."""
    assert ratio([50.0, 100.0, 110.0], [25.0, 50.0, 50.0]) == 2
    assert ratio([50.0, 100.0, 110.0], [10.0]) == 5

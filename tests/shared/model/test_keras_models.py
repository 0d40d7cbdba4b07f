"""The models that are trained: their weights, and what padding does to them."""

import numpy as np
import pytest

from shared.arrays import Ids
from shared.model.architecture import Architecture, count_parameters, weight_shapes
from shared.model.keras_model import build_model, get_weights, import_keras
from tests.shared.model.specs import ALL, LENGTH, MASKED, name_of, new_spec

WORDS = 310

PATHS_OF_FORMAT_1 = {
    "feed-forward": [],
    "lstm": ["lstm/lstm_cell/kernel", "lstm/lstm_cell/recurrent_kernel", "lstm/lstm_cell/bias"],
    "bidirectional-lstm": [
        "bidirectional/forward_lstm/lstm_cell/kernel",
        "bidirectional/forward_lstm/lstm_cell/recurrent_kernel",
        "bidirectional/forward_lstm/lstm_cell/bias",
        "bidirectional/backward_lstm/lstm_cell/kernel",
        "bidirectional/backward_lstm/lstm_cell/recurrent_kernel",
        "bidirectional/backward_lstm/lstm_cell/bias",
    ],
}
"""Bundles that were written have these names, so that another one needs another format."""


def inputs(rows: int, length: int, seed: int = 0) -> Ids:
    """Return rows padded on the right, of every length from 1 on."""
    ids = np.random.default_rng(seed).integers(1, WORDS, (rows, length), np.int32)
    lengths = 1 + np.arange(rows) % length
    ids[np.arange(length) >= lengths[:, None]] = 0
    return ids


@pytest.fixture(autouse=True)
def _seed() -> None:
    import_keras().utils.set_random_seed(5)


@pytest.mark.parametrize("spec", ALL, ids=name_of)
def test_weights_are_those_of_the_table(spec: Architecture) -> None:
    weights = get_weights(build_model(spec))
    shapes = weight_shapes(spec)
    assert {path: weight.shape for path, weight in weights.items()} == shapes
    assert {weight.dtype.name for weight in weights.values()} == {"float32"}
    assert count_parameters(spec) == sum(weight.size for weight in weights.values())
    expected = ["embedding/embeddings", *PATHS_OF_FORMAT_1[spec.kind]]
    expected += ["ngrams/embeddings"] * bool(spec.ngrams)
    expected += ["hidden/kernel", "hidden/bias"] * bool(spec.hidden)
    assert sorted(shapes) == sorted([*expected, "output/kernel", "output/bias"])


@pytest.mark.parametrize("spec", MASKED, ids=name_of)
def test_padding_has_no_influence_where_it_is_masked(spec: Architecture) -> None:
    model = build_model(spec)
    ids = inputs(8, 8)
    logits = np.asarray(model(ids))
    assert logits.shape == (8,)
    for more in (1, 50):
        longer = np.pad(ids, ((0, 0), (0, more)))
        np.testing.assert_allclose(model(longer), logits, rtol=0, atol=1e-5)
    for row, logit in zip(ids[:3], logits, strict=False):
        np.testing.assert_allclose(model(row[row != 0][None]), [logit], rtol=0, atol=1e-5)
    changed = ids.copy()
    changed[:, 0] = 1 + ids[:, 0] % (WORDS - 1)
    assert (np.abs(model(changed) - logits) > 1e-6).all()


def test_padding_on_the_left_is_read_like_a_word_where_it_is_not_masked() -> None:
    model = build_model(new_spec("lstm", "last", masked=False))
    ids = np.zeros((2, LENGTH), np.int32)
    ids[0, -1] = ids[1, 0] = 7
    first, second = np.asarray(model(ids))
    assert abs(first - second) > 1e-6


def test_same_seed_same_weights() -> None:
    models = []
    for seed in (1, 1, 2):
        import_keras().utils.set_random_seed(seed)
        models.append(get_weights(build_model(MASKED[-1])))
    first, again, other = models
    for path, weight in first.items():
        np.testing.assert_array_equal(weight, again[path])
    assert not np.array_equal(first["embedding/embeddings"], other["embedding/embeddings"])

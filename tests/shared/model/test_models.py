from typing import Literal

import numpy as np
import pytest

from shared.errors import BundleError
from shared.model.architecture import (
    Architecture,
    Calibration,
    build_model,
    compile_model,
    get_weights,
    import_keras,
    set_weights,
)
from shared.text.lemmas import Ids

Kind = Literal["feed-forward", "lstm", "bidirectional-lstm"]
Summary = Literal["flat", "last", "mean-max"]

WORDS, EMBEDDING, LENGTH, UNITS = 50, 6, 9, 4


def spec(kind: Kind, summary: Summary, *, masked: bool, hidden: int = 0) -> Architecture:
    return Architecture(
        kind=kind,
        num_words=WORDS,
        embedding=EMBEDDING,
        length=LENGTH,
        masked=masked,
        summary=summary,
        units=0 if kind == "feed-forward" else UNITS,
        hidden=hidden,
        embedding_dropout=0.3,
        dropout=0.5,
    )


UNMASKED = [
    spec("feed-forward", "flat", masked=False),
    spec("feed-forward", "mean-max", masked=False),
    spec("lstm", "last", masked=False),
    spec("lstm", "mean-max", masked=False, hidden=16),
    spec("bidirectional-lstm", "last", masked=False),
    spec("bidirectional-lstm", "mean-max", masked=False),
]
MASKED = [
    spec("feed-forward", "mean-max", masked=True),
    spec("lstm", "last", masked=True),
    spec("lstm", "mean-max", masked=True),
    spec("bidirectional-lstm", "last", masked=True, hidden=16),
    spec("bidirectional-lstm", "mean-max", masked=True),
]


def name_of(value: Architecture) -> str:
    return f"{value.kind}-{value.summary}-{'masked' if value.masked else 'unmasked'}"


def inputs(rows: int, length: int, seed: int = 0) -> Ids:
    """Rows padded on the right, of every length from 1 on."""
    ids = np.random.default_rng(seed).integers(1, WORDS, (rows, length), np.int32)
    lengths = 1 + np.arange(rows) % length
    ids[np.arange(length) >= lengths[:, None]] = 0
    return ids


@pytest.fixture(autouse=True)
def _seed() -> None:
    import_keras().utils.set_random_seed(5)


@pytest.mark.parametrize("architecture", UNMASKED + MASKED, ids=name_of)
def test_shapes(architecture: Architecture) -> None:
    model = build_model(architecture)
    assert model.input_shape == (None, None if architecture.masked else LENGTH)
    assert model.output_shape == (None,)
    logits = np.asarray(model(inputs(5, LENGTH)))
    assert logits.shape == (5,)
    assert logits.dtype == np.float32
    assert len(set(logits.tolist())) == 5  # the ids do matter

    shapes = {path: weight.shape for path, weight in get_weights(model).items()}
    directions = {"feed-forward": 0, "lstm": 1, "bidirectional-lstm": 2}[architecture.kind]
    width = directions * UNITS or EMBEDDING
    if architecture.summary != "last":
        width *= LENGTH if architecture.summary == "flat" else 2
    assert shapes["embedding/embeddings"] == (WORDS, EMBEDDING)
    assert shapes["output/kernel"] == (architecture.hidden or width, 1)
    assert shapes["output/bias"] == (1,)
    if architecture.hidden:
        assert shapes["hidden/kernel"] == (width, architecture.hidden)
    recurrent = [shape for path, shape in shapes.items() if path.endswith("recurrent_kernel")]
    assert recurrent == [(UNITS, 4 * UNITS)] * directions


@pytest.mark.parametrize("architecture", MASKED, ids=name_of)
def test_padding_has_no_influence_where_it_is_masked(architecture: Architecture) -> None:
    predict = compile_model(build_model(architecture))
    ids = inputs(8, 8)
    logits = predict(ids)
    for more in (1, 5, 50):
        longer = np.pad(ids, ((0, 0), (0, more)))
        np.testing.assert_allclose(predict(longer), logits, rtol=0, atol=1e-5)
    for row, logit in zip(ids, logits, strict=True):
        alone = row[row != 0][None]
        np.testing.assert_allclose(predict(alone), [logit], rtol=0, atol=1e-5)
    changed = ids.copy()
    changed[:, 0] = 1 + ids[:, 0] % (WORDS - 1)
    assert (np.abs(predict(changed) - logits) > 1e-5).all()


def test_padding_on_the_left_is_read_like_a_word_where_it_is_not_masked() -> None:
    model = build_model(spec("lstm", "last", masked=False))
    ids = np.zeros((2, LENGTH), np.int32)
    ids[0, -1] = ids[1, 0] = 7
    first, second = compile_model(model)(ids)
    assert abs(first - second) > 1e-6


@pytest.mark.parametrize("architecture", UNMASKED + MASKED, ids=name_of)
def test_compiled_model_is_the_model(architecture: Architecture) -> None:
    model = build_model(architecture)
    predict = compile_model(model)
    for rows in (1, 3, 8):
        lengths = (LENGTH, 2, 17) if architecture.masked else (LENGTH,)
        for length in lengths:
            ids = inputs(rows, length)
            logits = predict(ids)
            assert isinstance(logits, np.ndarray)
            assert logits.dtype == np.float32
            np.testing.assert_allclose(logits, model.predict_on_batch(ids), rtol=0, atol=1e-5)
            np.testing.assert_array_equal(predict(ids), logits)  # no dropout


@pytest.mark.parametrize("architecture", UNMASKED + MASKED, ids=name_of)
def test_weights_make_the_model(architecture: Architecture) -> None:
    model, other = build_model(architecture), build_model(architecture)
    ids = inputs(6, LENGTH)
    logits = compile_model(model)(ids)
    assert not np.allclose(compile_model(other)(ids), logits)
    set_weights(other, get_weights(model))
    np.testing.assert_array_equal(compile_model(other)(ids), logits)
    for path, weight in get_weights(other).items():
        np.testing.assert_array_equal(weight, get_weights(model)[path])


def test_weights_of_another_model_are_refused() -> None:
    model = build_model(UNMASKED[0])
    before = get_weights(model)
    for wrong in (
        {},
        {**before, "more/kernel": np.zeros(1, np.float32)},
        {**before, "output/bias": np.zeros(2, np.float32)},
        {path: weight for path, weight in before.items() if path != "output/bias"},
        get_weights(build_model(MASKED[0])),
    ):
        with pytest.raises(BundleError, match=r"weights: expected .*embedding/embeddings"):
            set_weights(model, wrong)
    for path, weight in get_weights(model).items():
        np.testing.assert_array_equal(weight, before[path])


def test_same_seed_same_weights() -> None:
    models = []
    for seed in (1, 1, 2):
        import_keras().utils.set_random_seed(seed)
        models.append(get_weights(build_model(MASKED[-1])))
    first, again, other = models
    for path, weight in first.items():
        np.testing.assert_array_equal(weight, again[path])
    assert not np.array_equal(first["embedding/embeddings"], other["embedding/embeddings"])


def test_calibration() -> None:
    logits = np.array([-1e9, -2, 0, 2, 1e9], np.float32)
    plain = Calibration().probabilities(logits)
    assert plain.dtype == np.float32
    np.testing.assert_allclose(plain, [0, 0.1192029, 0.5, 0.8807971, 1], atol=1e-6)
    scaled = Calibration(0.5, 1.0).probabilities(logits)
    np.testing.assert_allclose(scaled, [0, 0.5, 0.7310586, 0.8807971, 1], atol=1e-6)
    assert Calibration().probabilities(np.empty(0, np.float32)).shape == (0,)

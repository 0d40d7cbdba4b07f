"""The NumPy forward pass is that of the Keras model with the same weights."""

import os
import subprocess
import sys
from typing import Literal

import numpy as np
import pytest

from shared.errors import BundleError
from shared.model.architecture import (
    Architecture,
    build_model,
    get_weights,
    import_keras,
    weight_shapes,
)
from shared.model.numpy_model import NumpyModel
from shared.text.encoder import EncodedTexts, pad
from shared.text.lemmas import Token
from shared.text.tokens import EncodedTokens, Featurizer, TokenTable, WordVectors

WORDS = [f"word{number}" for number in range(40)]
VOCABULARY = ["", "xxunknown", *WORDS[:30]]


@pytest.fixture(params=["feed-forward", "lstm", "bidirectional-lstm"])
def spec(request: pytest.FixtureRequest) -> Architecture:
    kind: Literal["feed-forward", "lstm", "bidirectional-lstm"] = request.param
    return Architecture(
        kind=kind,
        num_words=50,
        embedding=7,
        ngrams=5,
        vectors=6,
        length=20,
        masked=True,
        summary="mean-max",
        units=0 if kind == "feed-forward" else 9,
        hidden=4 if kind == "lstm" else 0,
        embedding_dropout=0.5,
        dropout=0.5,
    )


# With the second scale gates are open or shut, and logits are thousands.
@pytest.mark.parametrize(("scale", "atol"), [(0.6, 1e-5), (60, 1e-2)])
def test_numpy_and_keras_agree(spec: Architecture, scale: float, atol: float) -> None:
    import_keras().utils.set_random_seed(3)
    model = build_model(spec)
    draw = np.random.default_rng(4)
    for weight in model.weights:  # Fresh ones are so small that errors would not show.
        weight.assign(draw.normal(0, scale, weight.shape))
    weights = get_weights(model)
    assert {path: weight.shape for path, weight in weights.items()} == weight_shapes(spec)

    vectors = WordVectors(WORDS[20:], draw.normal(size=(20, 6)).astype(np.float16))
    featurizer = Featurizer(VOCABULARY, vectors)
    network = NumpyModel(spec, weights)
    table = TokenTable(featurizer, network.fold)
    tokens: list[Token] = [(word, word + "s" * (number % 9)) for number, word in enumerate(WORDS)]
    numbers = np.array(table.numbers(tokens), np.int32)
    table.complete()
    lengths = draw.permutation(np.arange(1, 41)).astype(np.int32)  # half are longer than 20
    ids = draw.choice(numbers, lengths.sum()).astype(np.int32)
    found = network.logits(network.pad(EncodedTokens(ids, lengths, table)))
    assert found.dtype == np.float32

    features = featurizer([("", ""), *table.tokens])  # by number; the first is padding's
    padded = pad(EncodedTexts(ids, lengths), 20, left=False)
    there = (padded > 0)[:, :, None]
    expected = model(
        [
            np.where(padded > 0, features.words[padded], 0),
            features.ngrams[padded] * there,
            features.vectors[padded] * there,
        ]
    )
    np.testing.assert_allclose(found, np.asarray(expected), rtol=1e-5, atol=atol)
    assert np.abs(found).max() > 0.1


def test_no_texts_have_no_logits(spec: Architecture) -> None:
    weights = {path: np.ones(shape, np.float32) for path, shape in weight_shapes(spec).items()}
    network = NumpyModel(spec, weights)
    table = TokenTable(
        Featurizer(VOCABULARY, WordVectors(["a"], np.ones((1, 6), np.float16))), network.fold
    )
    nothing = np.empty(0, np.int32)
    assert network.logits(network.pad(EncodedTokens(nothing, nothing, table))).shape == (0,)


def test_other_weights_are_refused(spec: Architecture) -> None:
    weights = {path: np.ones(shape, np.float32) for path, shape in weight_shapes(spec).items()}
    for path in weights:
        with pytest.raises(BundleError, match="weights"):
            NumpyModel(spec, {**weights, path: weights[path][:-1]})
        with pytest.raises(BundleError, match="finite"):
            NumpyModel(spec, {**weights, path: np.full_like(weights[path], np.nan)})


def test_one_thread_multiplies_matrices() -> None:
    code = "import shared.model.scorer; from threadpoolctl import threadpool_info as found; "
    code += "print([b['num_threads'] for b in found() if b['internal_api'] == 'openblas'])"
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert set(done.stdout.strip("[]\n").split(", ")) == {"1"}

"""The logits of NumPy are those of the Keras model with the same weights, of every architecture."""

import os
import subprocess
import sys

import numpy as np
import pytest

from shared.errors import BundleError
from shared.model.architecture import Architecture
from shared.model.numpy_model import NumpyModel
from shared.text.encoder import EncodedTexts, TokenTable
from shared.text.lemmas import Token
from tests.shared.model.specs import (
    ALL,
    LENGTH,
    WORDS,
    keras_logits,
    name_of,
    new_featurizer,
    new_keras_model,
    new_weights,
)

specs = pytest.mark.parametrize("spec", ALL, ids=name_of)


# With the second scale gates are open or shut, and logits are thousands.
@specs
@pytest.mark.parametrize(("scale", "rtol", "atol"), [(0.6, 0, 1e-5), (60, 1e-5, 1e-2)])
def test_numpy_and_keras_agree(spec: Architecture, scale: float, rtol: float, atol: float) -> None:
    weights, featurizer = new_weights(spec, scale), new_featurizer(spec)
    model = NumpyModel(spec, weights)
    table = TokenTable(featurizer, model.precompute)
    tokens: list[Token] = [(word, word + "s" * (n % 9)) for n, word in enumerate(WORDS[::5])]
    numbers = np.array(table.numbers(tokens), np.int32)
    table.complete()
    draw = np.random.default_rng(3)
    shortest = 1 if spec.masked else 0
    lengths = draw.permutation(np.arange(shortest, 41)).astype(np.int32)  # half are cut
    assert lengths.max() == 2 * LENGTH
    encoded = EncodedTexts(draw.choice(numbers, lengths.sum()).astype(np.int32), lengths, table)

    found = model.logits(model.pad(encoded))
    assert found.dtype == np.float32
    expected = keras_logits(new_keras_model(spec, weights), spec, featurizer, encoded)
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=atol)
    assert np.ptp(found) > 0.1
    for number in (0, 7):  # a text alone has the logit that it has in a batch
        start, end = lengths[:number].sum(), lengths[: number + 1].sum()
        alone = EncodedTexts(encoded.ids[start:end], lengths[number : number + 1], table)
        logit = model.logits(model.pad(alone))
        np.testing.assert_allclose(logit, expected[number], rtol=rtol, atol=atol)


@specs
def test_no_texts_have_no_logits(spec: Architecture) -> None:
    model = NumpyModel(spec, new_weights(spec))
    table = TokenTable(new_featurizer(spec), model.precompute)
    nothing = np.empty(0, np.int32)
    assert model.logits(model.pad(EncodedTexts(nothing, nothing, table))).shape == (0,)


@specs
def test_other_weights_are_refused(spec: Architecture) -> None:
    weights = new_weights(spec)
    for path in weights:
        with pytest.raises(BundleError, match=r"weights: expected .*embedding/embeddings"):
            NumpyModel(spec, {**weights, path: weights[path][:-1]})
        with pytest.raises(BundleError, match=f"weights: {path} has NaN"):
            NumpyModel(spec, {**weights, path: np.full_like(weights[path], np.nan)})
        with pytest.raises(BundleError, match="weights: expected"):
            NumpyModel(spec, {other: weights[other] for other in weights if other != path})
    with pytest.raises(BundleError, match="weights: expected"):
        NumpyModel(spec, {**weights, "more/kernel": np.zeros(1, np.float32)})


def test_one_thread_multiplies_matrices() -> None:
    code = "import shared.model.scorer; from threadpoolctl import threadpool_info as found; "
    code += "print([b['num_threads'] for b in found() if b['internal_api'] == 'openblas'])"
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert set(done.stdout.strip("[]\n").split(", ")) == {"1"}

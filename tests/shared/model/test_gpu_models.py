"""What scores on a GPU gives the logits of NumPy and of the plain Keras model, on any backend."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from shared.errors import BundleError
from shared.model.architecture import Architecture
from shared.model.calibration import Calibration
from shared.model.keras_model import (
    LENGTHS,
    SIZES,
    KerasModel,
    device_memory,
    has_gpu,
    import_keras,
    keras_device,
)
from shared.model.numpy_model import NumpyModel
from shared.model.scorer import Scorer
from shared.text.encoder import Encoder
from shared.text.lemmas import TextSettings, new_pipeline
from tests.shared.model.specs import (
    LENGTH,
    MASKED,
    TOKENS,
    UNMASKED,
    WORDS,
    keras_logits,
    name_of,
    new_featurizer,
    new_keras_model,
    new_weights,
)

TABLE_SIZE = 1000
SETTINGS = TextSettings(num_words=310, keep_unknown=True, rewrite=True)
QUICK = [TOKENS[0], TOKENS[-1], UNMASKED[0]]
SPECS = [*QUICK, *TOKENS[1:-1], UNMASKED[4], MASKED[3]]


def rounds() -> list[list[str]]:
    """Return rounds of texts of mixed lengths: ever more words, then the first round again."""
    draw = np.random.default_rng(6)
    found = []
    for words in (WORDS[:40], WORDS, [f"new{word}{n}" for n in range(4) for word in WORDS]):
        lengths = draw.permutation(np.arange(2 * LENGTH))  # one is empty, half are cut
        found.append([" ".join(draw.choice(words, length)) for length in lengths])
        found[-1].append(" ".join(words))
        found[-1] += words[:: len(words) // 40]
    return [*found, found[0], ["", " "], [WORDS[0]]]


def check(spec: Architecture) -> None:
    """Compare logits over all rounds."""
    weights, featurizer, pipeline = new_weights(spec), new_featurizer(spec), new_pipeline()
    keras_model = new_keras_model(spec, weights)
    models = NumpyModel(spec, weights), KerasModel(spec, weights, rows=1100)
    encoders = [
        Encoder(pipeline, SETTINGS, featurizer, model.precompute, table_size=TABLE_SIZE)
        for model in models
    ]
    tables = set()
    largest = 0
    for texts in rounds():
        by_numpy, encoded = (encoder.encode(texts) for encoder in encoders)
        expected = models[0].logits(models[0].pad(by_numpy))
        found = models[1].logits(models[1].pad(encoded))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
        plain = keras_logits(keras_model, spec, featurizer, encoded)
        np.testing.assert_allclose(found, plain, rtol=1e-4, atol=1e-4)
        assert len(texts) < 5 or np.ptp(found) > 0.05
        tables.add(id(encoded.table))
        largest = max(largest, len(encoded.table))
    assert len(tables) > 1  # so that the encoder has begun a new one
    assert largest > 2 * 1100 - 1024  # and the one before was too large for the first size


@pytest.mark.parametrize(
    "spec",
    [*QUICK, *(pytest.param(spec, marks=pytest.mark.slow) for spec in SPECS[len(QUICK) :])],
    ids=name_of,
)
def test_logits_agree(spec: Architecture) -> None:
    check(spec)


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_logits_agree_on_another_backend(backend: str) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    code = "from tests.shared.model.test_gpu_models import SPECS, check\nfor s in SPECS: check(s)"
    environment = os.environ | {"KERAS_BACKEND": backend}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def new_scorer(spec: Architecture) -> tuple[Scorer, KerasModel]:
    model = KerasModel(spec, new_weights(spec))
    encoder = Encoder(new_pipeline(), SETTINGS, new_featurizer(spec), model.precompute)
    return Scorer(encoder, model, Calibration()), model


@pytest.mark.parametrize(
    ("spec", "lengths"), [(TOKENS[0], (8, 16, LENGTH)), (UNMASKED[0], (LENGTH,))], ids=str
)
def test_batches_have_few_shapes_and_all_are_warmed_up(
    spec: Architecture, lengths: tuple[int, ...]
) -> None:
    scorer, model = new_scorer(spec)
    assert scorer.device == keras_device()
    warm = set(model.shapes(256))
    assert warm == {(size, length) for size in (64, 256) for length in lengths}
    assert {size for size, _ in model.shapes(65_536)} == set(SIZES)
    scorer.warm_up(256)
    for texts in ([""], ["a " * 9] * 65, ["a " * 500, "b"], ["a"] * 256):
        padded = scorer.pad(scorer.encode(texts))
        assert padded.ids.shape in warm
        assert padded.ids.any(axis=1).all()  # no row is all padding
        assert scorer.predict(padded).shape == (len(texts),)
    assert scorer.predict(scorer.pad(scorer.encode([]))).shape == (0,)
    assert max(LENGTHS) == 64


def test_large_batches_are_cut() -> None:
    scorer, model = new_scorer(TOKENS[0])
    texts = [WORDS[number % 50] for number in range(SIZES[-1] + 100)]
    padded = scorer.pad(scorer.encode(texts))
    assert padded.ids.shape == (2 * SIZES[-1], LENGTHS[0])
    found = model.logits(padded)
    assert found.shape == (len(texts),)
    np.testing.assert_allclose(found, np.resize(found[:50], len(texts)), rtol=0, atol=1e-5)


def test_other_weights_are_refused() -> None:
    weights = new_weights(TOKENS[1])
    with pytest.raises(BundleError, match="weights"):
        KerasModel(TOKENS[1], {**weights, "output/bias": np.ones(2, np.float32)})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ResourceExhaustedError", "OOM when allocating"),
        ("OutOfMemoryError", "CUDA out of memory."),
        ("JaxRuntimeError", "RESOURCE_EXHAUSTED: Out of memory"),
    ],
)
def test_memory_of_the_device(name: str, message: str) -> None:
    with pytest.raises(MemoryError, match=message), device_memory():
        raise type(name, (Exception,), {})(message)
    with pytest.raises(ValueError, match="other"), device_memory():
        raise ValueError("other")


def test_without_a_gpu_keras_is_not_imported() -> None:
    code = "import sys, shared.bundle.load as b; assert not b.has_gpu(); "
    code += "assert 'keras' not in sys.modules"
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert has_gpu() == (keras_device() == "gpu")
    assert import_keras().backend.backend() == os.environ.get("KERAS_BACKEND", "tensorflow")

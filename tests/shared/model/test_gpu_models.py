"""What serves on a GPU gives the logits of NumPy and of the plain Keras model, on any backend."""

import importlib.util
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from shared.errors import BundleError
from shared.model.architecture import (
    Architecture,
    Calibration,
    Floats,
    Weights,
    build_model,
    device_memory,
    get_weights,
    has_gpu,
    import_keras,
    keras_device,
)
from shared.model.keras_model import LENGTHS, SIZES, GpuModel
from shared.model.numpy_model import NumpyModel
from shared.model.scorer import Scorer
from shared.text.encoder import EncodedTexts, pad
from shared.text.lemmas import TextSettings, new_pipeline
from shared.text.tokens import EncodedTokens, Featurizer, TokenEncoder, WordVectors

KINDS = ("feed-forward", "lstm", "bidirectional-lstm")
WORDS = [f"word{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(400)]
VOCABULARY = ["", "xxunknown", *WORDS[:300]]
LENGTH = 20
TABLE_SIZE = 1000


def new_spec(kind: Any) -> Architecture:
    return Architecture(
        kind=kind,
        num_words=310,
        embedding=7,
        ngrams=5,
        vectors=6,
        length=LENGTH,
        masked=True,
        summary="mean-max",
        units=0 if kind == "feed-forward" else 9,
        hidden=4 if kind == "lstm" else 0,
        embedding_dropout=0.5,
        dropout=0.5,
    )


def new_weights(model: Any) -> Weights:
    draw = np.random.default_rng(4)
    for weight in model.weights:  # Fresh ones are so small that errors would not show.
        weight.assign(draw.normal(0, 0.6, weight.shape))
    return get_weights(model)


def new_featurizer() -> Featurizer:
    draw = np.random.default_rng(5)
    return Featurizer(
        VOCABULARY, WordVectors(WORDS[200:], draw.normal(size=(200, 6)).astype(np.float16))
    )


def plain_logits(model: Any, featurizer: Featurizer, encoded: EncodedTokens) -> Floats:
    """Of the model that was trained, which is fed words, n-grams and vectors."""
    features = featurizer([("", ""), *encoded.table.tokens])  # by number; the first is padding's
    ids = pad(EncodedTexts(encoded.ids, encoded.lengths), LENGTH, left=False)
    there = (ids > 0)[:, :, None]
    words = np.where(ids > 0, features.words[ids], 0)
    found = model.predict_on_batch(
        [words, features.ngrams[ids] * there, features.vectors[ids] * there]
    )
    return np.asarray(found)


def rounds() -> list[list[str]]:
    """Texts of mixed lengths, which bring more words each time, and the first again at the end."""
    draw = np.random.default_rng(6)
    found = []
    for words in (WORDS[:40], WORDS, [f"new{word}{n}" for n in range(4) for word in WORDS]):
        lengths = draw.permutation(np.arange(2 * LENGTH))  # one is empty, half are cut
        found.append([" ".join(draw.choice(words, length)) for length in lengths])
        found[-1].append(" ".join(words))
        found[-1] += words[:: len(words) // 40]
    return [*found, found[0], ["", " "], [WORDS[0]]]


def check(kind: str) -> None:
    """Holds logits against each other over all rounds."""
    spec, featurizer, pipeline = new_spec(kind), new_featurizer(), new_pipeline()
    model = build_model(spec)
    weights = new_weights(model)
    networks = NumpyModel(spec, weights), GpuModel(spec, weights, rows=1100)
    settings = TextSettings(num_words=310, keep_unknown=True, rewrite=True)
    encoders = [
        TokenEncoder(pipeline, settings, featurizer, network.fold, table_size=TABLE_SIZE)
        for network in networks
    ]
    tables = set()
    largest = 0
    for texts in rounds():
        by_numpy, encoded = (encoder.encode(texts) for encoder in encoders)
        expected = networks[0].logits(networks[0].pad(by_numpy))
        found = networks[1].logits(networks[1].pad(encoded))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
        plain = plain_logits(model, featurizer, encoded)
        np.testing.assert_allclose(found, plain, rtol=1e-4, atol=1e-4)
        assert len(texts) < 5 or np.ptp(found) > 0.1
        tables.add(id(encoded.table))
        largest = max(largest, len(encoded.table))
    assert len(tables) > 1  # so that the encoder has begun a new one
    assert largest > 2 * 1100 - 1024  # and the one before was too large for the first place


@pytest.mark.parametrize("kind", KINDS)
def test_logits_agree(kind: str) -> None:
    check(kind)


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_logits_agree_on_another_backend(backend: str) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    code = "from tests.shared.model.test_gpu_models import KINDS, check\n"
    code += "for kind in KINDS: check(kind)"
    environment = os.environ | {"KERAS_BACKEND": backend}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def new_scorer(kind: str) -> tuple[Scorer, GpuModel]:
    spec, featurizer = new_spec(kind), new_featurizer()
    network = GpuModel(spec, new_weights(build_model(spec)))
    settings = TextSettings(num_words=310, keep_unknown=True, rewrite=True)
    encoder = TokenEncoder(new_pipeline(), settings, featurizer, network.fold)
    return Scorer(encoder, network, Calibration()), network


def test_batches_have_few_shapes_and_all_are_warmed_up() -> None:
    scorer, network = new_scorer("feed-forward")
    assert scorer.device == keras_device()
    warm = set(network.shapes(256))
    assert warm == {(size, length) for size in (64, 256) for length in (8, 16, LENGTH)}
    assert {size for size, _ in network.shapes(65_536)} == set(SIZES)
    scorer.warm_up(256)
    for texts in ([""], ["a " * 9] * 65, ["a " * 500, "b"], ["a"] * 256):
        padded = scorer.pad(scorer.encode(texts))
        assert padded.ids.shape in warm
        assert padded.ids[:, 0].all()  # no row is all padding
        assert scorer.predict(padded).shape == (len(texts),)
    assert scorer.predict(scorer.pad(scorer.encode([]))).shape == (0,)
    assert max(LENGTHS) == 64


def test_large_batches_are_cut() -> None:
    scorer, network = new_scorer("feed-forward")
    texts = [WORDS[number % 50] for number in range(SIZES[-1] + 100)]
    padded = scorer.pad(scorer.encode(texts))
    assert padded.ids.shape == (2 * SIZES[-1], LENGTHS[0])
    found = network.logits(padded)
    assert found.shape == (len(texts),)
    np.testing.assert_allclose(found, np.resize(found[:50], len(texts)), rtol=0, atol=1e-5)


def test_other_weights_are_refused() -> None:
    weights = new_weights(build_model(new_spec("lstm")))
    with pytest.raises(BundleError, match="weights"):
        GpuModel(new_spec("lstm"), {**weights, "output/bias": np.ones(2, np.float32)})


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
    code = "import sys, shared.bundle.files as b; assert not b.has_gpu(); "
    code += "assert 'keras' not in sys.modules"
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert has_gpu() == (keras_device() == "gpu")
    assert import_keras().backend.backend() == os.environ.get("KERAS_BACKEND", "tensorflow")

"""Small architectures of every kind, with weights that show errors, and the plain Keras model."""

from typing import Any

import numpy as np

from shared.arrays import Floats
from shared.model.architecture import Architecture, Weights, weight_shapes
from shared.model.keras_model import build_model
from shared.text.encoder import EncodedTexts, pad
from shared.text.tokens import Featurizer, WordVectors

WORDS = [f"word{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(400)]
VOCABULARY = ["", "xxunknown", *WORDS[:300]]
LENGTH = 20


def new_spec(kind: Any, summary: Any, *, masked: bool, tokens: bool = False) -> Architecture:
    return Architecture(
        kind=kind,
        num_words=310,
        embedding=7,
        ngrams=5 if tokens else 0,
        vectors=6 if tokens else 0,
        length=LENGTH,
        masked=masked,
        summary=summary,
        units=0 if kind == "feed-forward" else 9,
        hidden=4 if (kind, summary) in (("lstm", "mean-max"), ("feed-forward", "flat")) else 0,
        embedding_dropout=0.5,
        dropout=0.5,
    )


UNMASKED = [
    new_spec("feed-forward", "flat", masked=False),
    new_spec("feed-forward", "mean-max", masked=False),
    new_spec("lstm", "last", masked=False),
    new_spec("lstm", "mean-max", masked=False),
    new_spec("bidirectional-lstm", "last", masked=False),
    new_spec("bidirectional-lstm", "mean-max", masked=False),
]
MASKED = [
    new_spec("feed-forward", "mean-max", masked=True),
    new_spec("lstm", "last", masked=True),
    new_spec("lstm", "mean-max", masked=True),
    new_spec("bidirectional-lstm", "last", masked=True),
    new_spec("bidirectional-lstm", "mean-max", masked=True),
]
TOKENS = [
    new_spec(kind, "mean-max", masked=True, tokens=True)
    for kind in ("feed-forward", "lstm", "bidirectional-lstm")
]
ALL = [*UNMASKED, *MASKED, *TOKENS]


def name_of(spec: Architecture) -> str:
    mask = "masked" if spec.masked else "unmasked"
    return f"{spec.kind}-{spec.summary}-{mask}{'-tokens' if spec.ngrams else ''}"


def new_weights(spec: Architecture, scale: float = 0.6) -> Weights:
    """Return random weights. Fresh ones are so small that they would hide errors."""
    draw = np.random.default_rng(4)
    shapes = weight_shapes(spec)
    return {path: draw.normal(0, scale, shape).astype(np.float32) for path, shape in shapes.items()}


def new_featurizer(spec: Architecture) -> Featurizer:
    vectors = np.random.default_rng(5).normal(size=(200, 6)).astype(np.float16)
    return Featurizer(VOCABULARY, WordVectors(WORDS[200:], vectors) if spec.vectors else None)


def new_keras_model(spec: Architecture, weights: Weights) -> Any:
    """Return the model that is trained."""
    model = build_model(spec)
    for weight in model.weights:
        weight.assign(weights[weight.path])
    return model


def keras_logits(
    model: Any, spec: Architecture, featurizer: Featurizer, encoded: EncodedTexts
) -> Floats:
    """Return the logits of the trained model, from words, n-grams and vectors."""
    features = featurizer(encoded.table.tokens).after_padding()
    ids = pad(encoded.ids, encoded.lengths, spec.length, left=not spec.masked)
    inputs = [features.words[ids], features.ngrams[ids], features.vectors[ids]]
    return np.asarray(model(inputs if spec.ngrams else inputs[0]))

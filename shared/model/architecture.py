"""The architectures, as data: what they are made of, and which layer has which weights.

    token ─embed─▶ ─read─▶ ─summarize─▶ ─hidden─▶ logit
           embedding  lstm, or   flat, last    hidden, output
           ngrams     nothing    or mean-max
           vectors

`shared.model.keras_model` builds them for training and for a GPU, `shared.model.numpy_model`
computes them on a CPU. Both read `weight_shapes`, and tests prove that both give the same logits.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from shared.errors import BundleError
from shared.text.tokens import NGRAM_BUCKETS

Weights = dict[str, npt.NDArray[Any]]
"""Weights by their path, such as `embedding/embeddings`."""

_Count = Annotated[int, Meta(ge=1)]
_CountOrNone = Annotated[int, Meta(ge=0)]
_Share = Annotated[float, Meta(ge=0, lt=1)]

FORWARD = "lstm/lstm_cell"
BOTH_DIRECTIONS = ("bidirectional/forward_lstm/lstm_cell", "bidirectional/backward_lstm/lstm_cell")


class Architecture(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The specification of a network.

    Attributes:
        kind: what reads the embedded tokens.
        num_words: rows of the embedding; row 0 is padding's.
        embedding: dimension of the embedding.
        length: ids per text at most.
        masked: whether padding is on the right and has no influence. Otherwise it is on the left
            and is read like a word, as in the article, and each text is padded to `length`.
        summary: `flat` (all positions side by side; feed-forward and not masked only), `last` (the
            last state; LSTMs only) or `mean-max` (mean and maximum over the positions).
        units: of the LSTM, in each direction.
        hidden: units of the dense layer before the output; 0 for none.
        embedding_dropout: share of the embedding's dimensions dropped in training.
        dropout: share of the summary dropped in training.
        ngrams: dimension of the embedding of character n-grams, beside that of words; 0 for none.
        vectors: dimension of the pretrained vectors beside both; 0 for none. They need `ngrams`.
    """

    kind: Literal["feed-forward", "lstm", "bidirectional-lstm"]
    num_words: _Count
    embedding: _Count
    length: Annotated[int, Meta(ge=1, le=1024)]
    masked: bool
    summary: Literal["flat", "last", "mean-max"]
    units: _CountOrNone = 0
    hidden: _CountOrNone = 0
    embedding_dropout: _Share = 0.0
    dropout: _Share = 0.0
    ngrams: _CountOrNone = 0
    vectors: _CountOrNone = 0

    @property
    def token_width(self) -> int:
        """How many numbers represent an embedded token."""
        return self.embedding + (self.ngrams + self.vectors if self.ngrams else 0)

    @property
    def cells(self) -> tuple[str, ...]:
        """The paths of the LSTMs, the forward one first."""
        return {"feed-forward": (), "lstm": (FORWARD,), "bidirectional-lstm": BOTH_DIRECTIONS}[
            self.kind
        ]

    def padded_length(self, longest: int) -> int:
        """Return the length of the rows of a batch whose longest text has so many ids."""
        return max(1, min(longest, self.length)) if self.masked else self.length


def weight_shapes(spec: Architecture) -> dict[str, tuple[int, ...]]:
    """Return the shape of each weight by its path: the layer's path and the weight's name.

    All weights are float32.
    """
    shapes: dict[str, tuple[int, ...]] = {"embedding/embeddings": (spec.num_words, spec.embedding)}
    if spec.ngrams:
        shapes["ngrams/embeddings"] = (NGRAM_BUCKETS + 1, spec.ngrams)
    width = spec.token_width
    for cell in spec.cells:  # each has four gates
        shapes[f"{cell}/kernel"] = (width, 4 * spec.units)
        shapes[f"{cell}/recurrent_kernel"] = (spec.units, 4 * spec.units)
        shapes[f"{cell}/bias"] = (4 * spec.units,)
    if spec.cells:
        width = len(spec.cells) * spec.units
    width *= {"flat": spec.length, "last": 1, "mean-max": 2}[spec.summary]
    if spec.hidden:
        shapes["hidden/kernel"], shapes["hidden/bias"] = (width, spec.hidden), (spec.hidden,)
        width = spec.hidden
    return shapes | {"output/kernel": (width, 1), "output/bias": (1,)}


def count_parameters(spec: Architecture) -> int:
    """Count a model's weights without allocating memory for them."""
    return sum(math.prod(shape) for shape in weight_shapes(spec).values())


def check_weights(spec: Architecture, weights: Mapping[str, npt.NDArray[Any]]) -> None:
    """Check that weights are those of an architecture.

    Raises:
        BundleError: if a path, shape or type differs, or a number is not finite.
    """
    expected = {path: (shape, "float32") for path, shape in weight_shapes(spec).items()}
    given = {path: (weight.shape, weight.dtype.name) for path, weight in weights.items()}
    if expected != given:
        raise BundleError(f"weights: expected {expected}, got {given}")
    for path, weight in weights.items():
        if not np.isfinite(weight).all():
            raise BundleError(f"weights: {path} has NaN or infinity, expected finite numbers")

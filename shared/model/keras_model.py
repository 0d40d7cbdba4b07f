"""The token models' forward pass in Keras: what serves them on a GPU.

The table of the embedded tokens lies on the GPU too and gets the rows that are new, so that only
token numbers travel with a batch. Batches are padded to few shapes, each of which JAX compiles.
On a CPU it does the same, and `NumpyModel` does it faster.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from shared.model.architecture import (
    Architecture,
    Floats,
    build_table_model,
    compile_model,
    expect_weights,
    keras_device,
    put_rows,
    token_width,
    weight_shapes,
)
from shared.model.numpy_model import embed
from shared.text.encoder import EncodedTexts, pad
from shared.text.lemmas import UNKNOWN_ID, Ids
from shared.text.tokens import EncodedTokens, Features, TokenTable

LENGTHS = (8, 16, 24, 32, 48, 64)
"""Tokens of a row, and what the model has room for; an LSTM's time grows with it."""

SIZES = (64, 256, 1024, 4096, 16_384)
"""Rows of a call. Few, as each is compiled with each length; more rows are cut."""

_BLOCK = 1024
"""Rows of the table that travel at once: half a megabyte."""


class PaddedTokens(msgspec.Struct, frozen=True):
    """Texts as rows, of one of `SIZES` or a multiple of the largest.

    Attributes:
        ids: numbers in the table, int32, shape (rows, length), filled up on the right.
        texts: how many of the rows are texts.
    """

    ids: Ids
    texts: int
    table: TokenTable


class GpuModel:
    """A token model, ready to score.

    Args:
        weights: by their path, as `shared.model.architecture.get_weights` gives them.
        rows: that the table on the GPU has room for at first, twice as many as an encoder's table
            and 30 MB. When they do not suffice there will be twice as many, which takes as long as
            making the model anew.

    Raises:
        BundleError: if they are not those of the architecture.
    """

    def __init__(
        self, spec: Architecture, weights: Mapping[str, npt.NDArray[Any]], rows: int = 65_536
    ) -> None:
        expect_weights(weight_shapes(spec), weights)
        self.spec = spec
        self.device = keras_device()
        self._weights = weights
        self._lengths = [*(length for length in LENGTHS if length < spec.length), spec.length]
        self._make(rows)

    def _make(self, rows: int) -> None:
        """Makes the model with an empty table."""
        self._rows = rows
        self._model = build_table_model(self.spec, rows)
        for weight in self._model.weights:
            if weight.path != "table/embeddings":
                path = weight.path
                if path not in self._weights:
                    path = f"bidirectional/{path}"
                weight.assign(self._weights[path])
        self._predict = compile_model(self._model)
        self._table: TokenTable | None = None  # the one whose rows are on the device,
        self._there = 0  # and how many of them

    def fold(self, features: Features) -> Floats:
        """The rows of the token table: embedded tokens, float32, `token_width` wide."""
        words, ngrams = self._weights["embedding/embeddings"], self._weights["ngrams/embeddings"]
        return embed(words, ngrams, features)

    def pad(self, encoded: EncodedTokens) -> PaddedTokens:
        """One row a text, and more rows up to the next shape, which hold an unknown word."""
        longest = min(int(encoded.lengths.max(initial=1)), self.spec.length)
        length = next(length for length in self._lengths if length >= longest)
        ids = pad(EncodedTexts(encoded.ids, encoded.lengths), length, left=False)
        texts = len(ids)
        size = next((size for size in SIZES if size >= texts), SIZES[-1])
        spare = np.zeros((-texts % size, length), np.int32)
        spare[:, 0] = UNKNOWN_ID
        return PaddedTokens(np.concatenate([ids, spare]), texts, encoded.table)

    def logits(self, padded: PaddedTokens) -> Floats:
        """float32, shape (texts,), in the order of the encoded texts.

        Raises:
            MemoryError: if the batch is too large for the GPU.
        """
        ids = padded.ids
        self._upload(padded.table, int(ids.max(initial=0)) + 1)
        logits = [
            self._predict(ids[start : start + SIZES[-1]]) for start in range(0, len(ids), SIZES[-1])
        ]
        return np.concatenate([np.empty(0, np.float32), *logits])[: padded.texts]

    def shapes(self, batch_size: int) -> list[tuple[int, int]]:
        """Rows and tokens of all calls with batches of up to so many texts."""
        largest = next((size for size in SIZES if size >= batch_size), SIZES[-1])
        sizes = [size for size in SIZES if size <= largest]
        return [(size, length) for size in sizes for length in self._lengths]

    def _upload(self, table: TokenTable, count: int) -> None:
        """Puts the table's first rows on the device, those of them that are not there yet."""
        if count + _BLOCK > self._rows:
            self._make(2 * (count + _BLOCK))
        if table is not self._table:
            self._table, self._there = table, 0
        rows = table.rows
        while self._there < count:
            block = np.zeros((_BLOCK, token_width(self.spec)), np.float32)
            new = rows[self._there : self._there + _BLOCK]
            block[: len(new)] = new
            put_rows(self._model, self._there, block)
            self._there = min(self._there + _BLOCK, count)

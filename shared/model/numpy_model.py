"""The token models' forward pass in NumPy: what serves them, faster than Keras on a CPU.

The embeddings are folded into the weights that follow them: a token's row of the `TokenTable` is
what the LSTM's gates get from its input, so that a step of the LSTM is one look-up and one product
with the recurrent weights. Texts are sorted by length, so that no step is spent on padding.
Tests hold that the outcome is that of the Keras model with the same weights.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from shared.model.architecture import (
    Architecture,
    Device,
    Floats,
    cell_paths,
    expect_weights,
    weight_shapes,
)
from shared.text.tokens import EncodedTokens, Features, TokenTable

_HALF, _MINUS_FOUR = np.float32(0.5), np.float32(-4)


class Packed(msgspec.Struct, frozen=True):
    """Texts cut to the model's length, the longest first.

    Attributes:
        ids: token numbers, int32, shape (total,), as in `EncodedTokens`.
        starts: where each text begins in them, int64, shape (texts,).
        lengths: int64, shape (texts,), descending.
        order: which of the encoded texts each is, int64, shape (texts,).
    """

    ids: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    order: npt.NDArray[np.int64]
    table: TokenTable


class NumpyModel:
    """A token model, ready to score.

    Attributes:
        device: where it computes.

    Args:
        weights: by their path, as `shared.model.architecture.get_weights` gives them.

    Raises:
        BundleError: if they are not those of the architecture.
    """

    device: Device = "cpu"

    def __init__(self, spec: Architecture, weights: Mapping[str, npt.NDArray[Any]]) -> None:
        expect_weights(weight_shapes(spec), weights)
        self.spec = spec
        self._words = weights["embedding/embeddings"]
        self._ngrams = weights["ngrams/embeddings"]
        self._cells = [
            tuple(
                factor * _gates_as_exp(weights[f"{path}/{name}"], spec.units)
                for name, factor in (("kernel", 1), ("recurrent_kernel", 2), ("bias", 1))
            )
            for path in cell_paths(spec)
        ]
        self._hidden = None
        if spec.hidden:
            self._hidden = weights["hidden/kernel"], weights["hidden/bias"]
        self._output, self._bias = weights["output/kernel"][:, 0], weights["output/bias"][0]

    def pad(self, encoded: EncodedTokens) -> Packed:
        """Sorts texts by length, and lets go of what the model has no room for."""
        lengths = encoded.lengths.astype(np.int64)
        starts = np.cumsum(lengths) - lengths
        lengths = np.minimum(lengths, self.spec.length)
        order = np.argsort(-lengths, kind="stable")
        return Packed(encoded.ids, starts[order], lengths[order], order, encoded.table)

    def fold(self, features: Features) -> Floats:
        """The rows of the token table, float32.

        Its width is the embedding's for the feed-forward net, and 4 × units for each direction of
        an LSTM.
        """
        embedded = embed(self._words, self._ngrams, features)
        if not self._cells:
            return embedded
        return np.concatenate([embedded @ kernel + bias for kernel, _, bias in self._cells], axis=1)

    def logits(self, texts: Packed) -> Floats:
        """float32, shape (texts,), in the order of the encoded texts."""
        if self._cells:
            summaries = [self._lstm(texts, number) for number in range(len(self._cells))]
            means, maxima = zip(*summaries, strict=True)
            summary = np.concatenate([*means, *maxima], axis=1)
        else:
            summary = _mean_max(texts)
        if self._hidden:
            summary = np.maximum(summary @ self._hidden[0] + self._hidden[1], 0)
        logits = np.empty(len(texts.order), np.float32)
        logits[texts.order] = summary @ self._output + self._bias
        return logits

    @np.errstate(over="ignore")  # Of an infinite exp the sigmoid is 0, as it should be.
    def _lstm(self, texts: Packed, number: int) -> tuple[Floats, Floats]:
        """Mean and maximum of the states of one direction, each of shape (texts, units).

        NumPy's exp takes half of its tanh's time. Of tanh(x) = 2 (sigmoid(2x) - 1/2) the factor 2
        is left out: cells and states are held halved, and the recurrent weights doubled instead.
        """
        units = self.spec.units
        columns = slice(4 * units * number, 4 * units * (number + 1))
        recurrent = self._cells[number][1]
        table = texts.table.rows
        starts, direction = texts.starts, 1
        if number:  # The second direction begins at the end.
            starts, direction = texts.starts + texts.lengths - 1, -1
        count = len(texts.order)
        states, cells, totals = (np.zeros((count, units), np.float32) for _ in range(3))
        maxima = np.full((count, units), -np.inf, np.float32)
        products = np.empty((count, 4 * units), np.float32)
        news = np.empty((count, units), np.float32)
        for step, rows in enumerate(_active(texts).tolist()):
            product, new = products[:rows], news[:rows]
            state, cell, total, maximum = states[:rows], cells[:rows], totals[:rows], maxima[:rows]
            places = starts[:rows] + direction * step
            gates = table[texts.ids[places], columns]
            gates += np.matmul(state, recurrent, out=product)
            _sigmoid_of_negative(gates)
            candidate = gates[:, 3 * units :]
            candidate -= _HALF
            cell *= gates[:, units : 2 * units]
            cell += np.multiply(gates[:, :units], candidate, out=new)
            _sigmoid_of_negative(np.multiply(cell, _MINUS_FOUR, out=new))
            new -= _HALF
            np.multiply(new, gates[:, 2 * units : 3 * units], out=state)
            total += state
            np.maximum(maximum, state, out=maximum)
        totals *= 2 / texts.lengths[:, None].astype(np.float32)
        maxima *= 2
        return totals, maxima


def embed(words: Floats, ngrams: Floats, features: Features) -> Floats:
    """Tokens as the layers behind the embedding take them, float32, shape (tokens, width).

    Args:
        words: the weights `embedding/embeddings`.
        ngrams: the weights `ngrams/embeddings`.
    """
    counts = np.count_nonzero(features.ngrams, axis=1)[:, None]
    present = ngrams[features.ngrams] * (features.ngrams > 0)[:, :, None]
    summed = present.sum(axis=1) / np.sqrt(np.maximum(counts, 1)).astype(np.float32)
    return np.concatenate([words[features.words], summed, features.vectors], axis=1)


def _mean_max(texts: Packed) -> Floats:
    """Mean and maximum over each text's tokens, side by side.

    A position of all texts at a time, like the LSTMs: ten times as fast as `reduceat`.
    """
    table = texts.table.rows
    shape = len(texts.order), table.shape[1]
    total, maximum = np.zeros(shape, np.float32), np.full(shape, -np.inf, np.float32)
    for step, rows in enumerate(_active(texts)):
        embedded = table[texts.ids[texts.starts[:rows] + step]]
        total[:rows] += embedded
        np.maximum(maximum[:rows], embedded, out=maximum[:rows])
    total /= texts.lengths[:, None].astype(np.float32)
    return np.concatenate([total, maximum], axis=1)


def _active(texts: Packed) -> npt.NDArray[np.int64]:
    """How many of the texts, which are sorted, have a token at each position."""
    positions = np.arange(texts.lengths.max(initial=0))
    active: npt.NDArray[np.int64] = np.searchsorted(-texts.lengths, -positions)
    return active


def _gates_as_exp(weight: npt.NDArray[Any], units: int) -> Floats:
    """Orders Keras' gates input, forget, candidate, output so that the candidate comes last.

    They are negative, and the candidate's doubled, so that 1 / (1 + exp) is the sigmoid of each,
    and (1 + tanh) / 2 of the candidate.
    """
    i, f, candidate, o = (weight[..., units * n : units * (n + 1)] for n in range(4))
    return np.concatenate([-i, -f, -o, -2 * candidate], axis=-1).astype(np.float32)


def _sigmoid_of_negative(negative: Floats) -> None:
    """Replaces each -x by the sigmoid of x."""
    np.exp(negative, out=negative)
    negative += 1
    np.reciprocal(negative, out=negative)

"""The networks in NumPy: what scores on a CPU, faster than Keras and without it.

What a network computes from a token alone is a row of the `TokenTable`: for an LSTM, the input of
its gates. So a step of an LSTM is one look-up and one product with the recurrent weights. Texts are
sorted by length, so that no step computes padding. Tests prove that the logits equal those of the
Keras model with the same weights.
"""

from itertools import chain
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from shared.arrays import Floats, Ids
from shared.model.architecture import Architecture, Weights, check_weights
from shared.text.encoder import EncodedTexts, PaddedTexts, pad
from shared.text.tokens import Features

_HALF, _MINUS_FOUR = np.float32(0.5), np.float32(-4)


class _Batch(msgspec.Struct, frozen=True):
    """Texts, the longest first.

    Attributes:
        ids: token numbers by position, int32, shape (length, texts).
        lengths: positions of each text, int16, shape (texts,), descending.
        active: texts that have a token at each position, int64, shape (length,).
        rows: of the token table.
    """

    ids: Ids
    lengths: npt.NDArray[np.int16]
    active: npt.NDArray[np.int64]
    rows: Floats


class NumpyModel:
    """A network that scores on a CPU.

    Args:
        weights: by path, as `shared.model.keras_model.get_weights` returns them.

    Raises:
        BundleError: if the weights are not those of the architecture.
    """

    device: Literal["cpu", "gpu"] = "cpu"

    def __init__(self, spec: Architecture, weights: Weights) -> None:
        check_weights(spec, weights)
        self._spec = spec
        self._weights = weights
        self._cells = [
            tuple(
                factor * _gates_as_exp(weights[f"{path}/{name}"], spec.units)
                for name, factor in (("kernel", 1), ("recurrent_kernel", 2), ("bias", 1))
            )
            for path in spec.cells
        ]

    def precompute(self, features: Features) -> Floats:
        """Compute rows of the token table, float32, shape (tokens, width).

        The width is the token's for the feed-forward network, and 4 × units for each direction of
        an LSTM.
        """
        embedded = embed(self._weights, features)
        if not self._cells:
            return embedded
        return np.concatenate([embedded @ kernel + bias for kernel, _, bias in self._cells], axis=1)

    def pad(self, encoded: EncodedTexts) -> PaddedTexts:
        """Pad texts to the longest one, or to the length of a model that is not masked."""
        length = self._spec.padded_length(int(encoded.lengths.max(initial=0)))
        ids = pad(encoded.ids, encoded.lengths, length, left=not self._spec.masked)
        return PaddedTexts(ids, np.minimum(encoded.lengths, length), encoded.table)

    def logits(self, texts: PaddedTexts) -> Floats:
        """Return the logits of the texts, float32, shape (texts,)."""
        lengths = texts.lengths.astype(np.int16)  # at most 1024; NumPy sorts 16 bits faster
        if not self._spec.masked:  # padding is read like a word
            lengths = np.full_like(lengths, texts.ids.shape[1])
        order = np.argsort(-lengths, kind="stable")
        lengths = lengths[order]
        ids = np.ascontiguousarray(texts.ids[order].T)
        active = np.searchsorted(-lengths, -np.arange(len(ids)))
        batch = _Batch(ids, lengths, active, texts.table.rows)
        weights, first = self._weights, "hidden" if self._spec.hidden else "output"
        kernel = weights[f"{first}/kernel"]
        if self._spec.summary == "flat":
            dense = _flat_product(batch, kernel)
        else:
            dense = self._summarize(batch) @ kernel
        dense += weights[f"{first}/bias"]
        if self._spec.hidden:
            np.maximum(dense, 0, out=dense)
            dense = dense @ weights["output/kernel"] + weights["output/bias"]
        logits = np.empty(len(order), np.float32)
        logits[order] = dense[:, 0]
        return logits

    def shapes(self, batch_size: int) -> list[tuple[int, int]]:
        """Return the rows and lengths of the smallest and the largest batch."""
        return [(1, self._spec.length), (batch_size, self._spec.length)]

    def _summarize(self, batch: _Batch) -> Floats:
        """Return what the dense layers read, shape (texts, width)."""
        if self._cells:
            directions = [self._lstm(batch, number) for number in range(len(self._cells))]
            return np.concatenate(list(chain(*zip(*directions, strict=True))), axis=1)
        return _mean_max(batch)

    @np.errstate(over="ignore")  # the sigmoid of an infinite exp is 0, as it should be
    def _lstm(self, batch: _Batch, number: int) -> tuple[Floats, ...]:
        """Compute one direction: its mean and maximum, or its last state, each (texts, units).

        NumPy's exp takes half the time of its tanh. Of tanh(x) = 2 (sigmoid(2x) - 1/2) the factor 2
        is left out: cells and states are held halved, and the recurrent weights doubled instead.
        """
        units = self._spec.units
        columns = slice(4 * units * number, 4 * units * (number + 1))
        recurrent = self._cells[number][1]
        pooled = self._spec.summary == "mean-max"
        texts = np.arange(len(batch.lengths))
        states, cells, totals = (np.zeros((len(texts), units), np.float32) for _ in range(3))
        maxima = np.full((len(texts), units), -np.inf, np.float32)
        products = np.empty((len(texts), 4 * units), np.float32)
        news = np.empty((len(texts), units), np.float32)
        for step, count in enumerate(batch.active.tolist()):
            if number == 0:
                ids = batch.ids[step, :count]
            else:  # the second direction begins at the end of each text
                ids = batch.ids[batch.lengths[:count] - 1 - step, texts[:count]]
            product, new = products[:count], news[:count]
            state, cell = states[:count], cells[:count]
            gates = batch.rows[ids, columns]
            gates += np.matmul(state, recurrent, out=product)
            _sigmoid_of_negative(gates)
            candidate = gates[:, 3 * units :]
            candidate -= _HALF
            cell *= gates[:, units : 2 * units]
            cell += np.multiply(gates[:, :units], candidate, out=new)
            _sigmoid_of_negative(np.multiply(cell, _MINUS_FOUR, out=new))
            new -= _HALF
            np.multiply(new, gates[:, 2 * units : 3 * units], out=state)
            if pooled:
                totals[:count] += state
                np.maximum(maxima[:count], state, out=maxima[:count])
        if not pooled:
            return (2 * states,)
        totals *= 2 / batch.lengths[:, None].astype(np.float32)
        maxima *= 2
        return totals, maxima


def embed(weights: Weights, features: Features) -> Floats:
    """Embed tokens: float32, shape (tokens, token width)."""
    words: Floats = weights["embedding/embeddings"][features.words]
    if "ngrams/embeddings" not in weights:
        return words
    counts = np.count_nonzero(features.ngrams, axis=1)[:, None]
    present = weights["ngrams/embeddings"][features.ngrams] * (features.ngrams > 0)[:, :, None]
    summed = present.sum(axis=1) / np.sqrt(np.maximum(counts, 1)).astype(np.float32)
    return np.concatenate([words, summed, features.vectors], axis=1)


def _flat_product(batch: _Batch, kernel: Floats) -> Floats:
    """Multiply the tokens of each text, side by side, by a kernel: shape (texts, units).

    It handles one position of all texts at a time. All tokens side by side would take 40 MB for
    1024 texts of the article's network.
    """
    product = np.zeros((len(batch.lengths), kernel.shape[1]), np.float32)
    parts = kernel.reshape(len(batch.ids), batch.rows.shape[1], kernel.shape[1])
    for ids, part in zip(batch.ids, parts, strict=True):
        product += batch.rows[ids] @ part
    return product


def _mean_max(batch: _Batch) -> Floats:
    """Concatenate mean and maximum over each text's tokens.

    It handles one position of all texts at a time, like the LSTMs: ten times as fast as `reduceat`.
    """
    shape = len(batch.lengths), batch.rows.shape[1]
    total, maximum = np.zeros(shape, np.float32), np.full(shape, -np.inf, np.float32)
    for step, count in enumerate(batch.active.tolist()):
        embedded = batch.rows[batch.ids[step, :count]]
        total[:count] += embedded
        np.maximum(maximum[:count], embedded, out=maximum[:count])
    total /= batch.lengths[:, None].astype(np.float32)
    return np.concatenate([total, maximum], axis=1)


def _gates_as_exp(weight: npt.NDArray[Any], units: int) -> Floats:
    """Put Keras' gates input, forget, candidate, output in an order where the candidate is last.

    They are negated, and the candidate is also doubled, so that 1 / (1 + exp) is the sigmoid of
    each gate, and (1 + tanh) / 2 of the candidate.
    """
    i, f, candidate, o = (weight[..., units * n : units * (n + 1)] for n in range(4))
    return np.concatenate([-i, -f, -o, -2 * candidate], axis=-1).astype(np.float32)


def _sigmoid_of_negative(negative: Floats) -> None:
    """Replace each -x by the sigmoid of x."""
    np.exp(negative, out=negative)
    negative += 1
    np.reciprocal(negative, out=negative)

"""Graft: write a head into a network's weights, so that the network serves as it did before.

Shapes stay as they are. `Graft` frees the units or dimensions that change the network's logits
least, and `Graft.with_head` writes the head there.

In an LSTM, two of the embedding's dimensions and one of the n-grams' become channels: what a word
and an n-gram add, and whether a word is a keyword. Two units read them:

- the gate is 0 until the text's first keyword, and nearly 1 from then on;
- the adder collects what tokens add until the gate opens, outputs it all then, and afterwards
  outputs what each later token adds. The mean over its states is the head's logit in a text with a
  keyword, wherever the keyword stands, and 0 in any other text.

A feed-forward network has no state, so there the head counts in every text. One dimension of each
embedding holds what a token adds. With a hidden layer, two of its units read their mean: one passes
on what is positive of the head's logit, the other what is negative.
"""

import copy
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from shared.arrays import Floats
from shared.model.architecture import Architecture, Weights
from shared.text.lemmas import UNKNOWN_ID
from trainer.adapt.head import Head

_WORD_CHANNELS = 2
_NGRAM_CHANNELS = 1
_UNITS = 2

_OPEN = 12.0
"""Input of a sigmoid that is 1 but for 6e-6."""

_KEYWORD = 6.0
"""Input of a tanh that is 1 but for 1e-5: what a keyword has in its channel."""

_GATE = 40.0
"""Recurrent weight of the gate, whose first state is tanh(1) = 0.76: 0.76 × 40 outweighs `_OPEN`
twice."""

_LARGEST = 0.05
"""What a token adds at most to the adder's cell, so that tanh is linear there."""

Logits = Callable[[Weights], Floats]


class Graft:
    """The weights of a network with room for a head.

    Attributes:
        weights: of the network without a head.

    Args:
        spec: of a masked `mean-max` model of tokens; an LSTM has no hidden layer.
        weights: by path. The word rows are in order of frequency.
        logits: gives the logits of some reference texts by weights, float32, shape (texts,).
    """

    def __init__(self, spec: Architecture, weights: Weights, logits: Logits) -> None:
        self._spec = spec
        self._cells = spec.cells
        self.weights = {path: weight.copy() for path, weight in weights.items()}
        before = logits(self.weights)
        if self._cells:
            self._free_channels()
            self._units = self._free(range(spec.units), _UNITS, self._without_unit, logits)
        else:
            words, ngrams = (
                range(spec.embedding),
                range(spec.embedding, spec.embedding + spec.ngrams),
            )
            self._units = [
                *self._free(words, 1, self._without_dimension, logits),
                *self._free(ngrams, 1, self._without_dimension, logits),
            ]
            if spec.hidden:
                hidden = range(spec.hidden)
                self._units += self._free(hidden, 2, self._without_hidden, logits)
        self.weights["output/bias"] += np.mean(before - logits(self.weights))

    def with_unknown_words(self, rows: range) -> "Graft":
        """Return a graft in which some words have the embedding of unknown words."""
        embedding = self.weights["embedding/embeddings"].copy()
        embedding[rows] = embedding[UNKNOWN_ID]
        graft = copy.copy(self)
        graft.weights = {**self.weights, "embedding/embeddings": embedding}
        return graft

    def with_head(self, head: Head, scale: float, keywords: Sequence[int]) -> Weights:
        """Return the weights of the network with a head.

        Args:
            scale: factor of the head's logit.
            keywords: word ids; the head counts in texts that hold one of them. Without any, or in
                a feed-forward network, it counts in every text.
        """
        weights = {path: weight.copy() for path, weight in self.weights.items()}
        if not self._cells:
            self._write_dimensions(weights, head, scale)
        else:
            self._write_units(weights, head, scale, keywords)
        return weights

    def _free_channels(self) -> None:
        """Turn the embeddings so that their last dimensions are free.

        The gates read products of embeddings and kernels. Of these the best approximation of the
        rank that is left is the truncated singular value decomposition (Eckart and Young, 1936).
        Words count by their frequency, which is the inverse of their rank (Zipf's law).
        """
        spec, weights = self._spec, self.weights
        parts = (
            ("embedding/embeddings", slice(0, spec.embedding), _WORD_CHANNELS),
            ("ngrams/embeddings", slice(spec.embedding, spec.embedding + spec.ngrams), 1),
        )
        for path, rows, free in parts:
            embedding = weights[path].astype(np.float64)
            kernels = [weights[f"{cell}/kernel"][rows].astype(np.float64) for cell in self._cells]
            products = embedding @ np.concatenate(kernels, axis=1)
            frequency = np.ones(len(embedding))
            if path == "embedding/embeddings":
                frequency = 1 / np.maximum(np.arange(len(embedding)), 1)
            weighted = products * np.sqrt(frequency)[:, None]
            kept = embedding.shape[1] - free
            _, vectors = np.linalg.eigh(weighted.T @ weighted)
            basis = vectors[:, ::-1][:, :kept]
            weights[path] = np.zeros_like(weights[path])
            weights[path][:, :kept] = products @ basis
            start = 0
            for cell, kernel in zip(self._cells, kernels, strict=True):
                columns = slice(start, start + kernel.shape[1])
                start = columns.stop
                turned = np.zeros_like(kernel)
                turned[:kept] = basis[columns].T
                weights[f"{cell}/kernel"][rows] = turned

    def _free(
        self,
        candidates: Sequence[int],
        count: int,
        without: Callable[[int], Weights],
        logits: Logits,
    ) -> list[int]:
        """Give up the units or dimensions without which the logits vary least, one at a time."""
        before = logits(self.weights)
        changes = {one: float(np.std(logits(without(one)) - before)) for one in candidates}
        freed = sorted(changes, key=changes.__getitem__)[:count]
        for one in freed:
            self.weights = without(one)
        return freed

    def _without_unit(self, unit: int) -> Weights:
        """Return the weights with a unit of the first LSTM whose state is always 0."""
        cell, units = self._cells[0], self._spec.units
        weights = {path: weight.copy() for path, weight in self.weights.items()}
        columns = unit + units * np.arange(4)
        for name in ("kernel", "recurrent_kernel", "bias"):
            weights[f"{cell}/{name}"][..., columns] = 0
        weights[f"{cell}/recurrent_kernel"][unit] = 0
        weights["output/kernel"][[unit, len(self._cells) * units + unit]] = 0
        return weights

    def _without_dimension(self, dimension: int) -> Weights:
        """Return the weights with a dimension of the embeddings that is always 0."""
        spec = self._spec
        weights = {path: weight.copy() for path, weight in self.weights.items()}
        if dimension < spec.embedding:
            weights["embedding/embeddings"][:, dimension] = 0
        else:
            weights["ngrams/embeddings"][:, dimension - spec.embedding] = 0
        width = spec.embedding + spec.ngrams + spec.vectors
        reads = "hidden/kernel" if spec.hidden else "output/kernel"
        weights[reads][[dimension, width + dimension]] = 0
        return weights

    def _without_hidden(self, unit: int) -> Weights:
        """Return the weights with a unit of the hidden layer that is always 0."""
        weights = {path: weight.copy() for path, weight in self.weights.items()}
        for path in ("hidden/kernel", "hidden/bias"):
            weights[path][..., unit] = 0
        weights["output/kernel"][unit] = 0
        return weights

    def _write_dimensions(self, weights: Weights, head: Head, scale: float) -> None:
        """Write the head into two dimensions of a feed-forward network's embeddings."""
        spec, (word, ngram, *units) = self._spec, self._units
        weights["embedding/embeddings"][:, word] = scale * head.words
        weights["ngrams/embeddings"][:, ngram - spec.embedding] = scale * head.ngrams
        start = spec.embedding + spec.ngrams
        reads = np.zeros(2 * (start + spec.vectors), np.float32)
        reads[[word, ngram]] = 1
        reads[start : start + spec.vectors] = scale * head.vectors
        if not units:
            weights["output/kernel"][:, 0] += reads
            weights["output/bias"] += scale * head.bias
        for unit, sign in zip(units, (1, -1), strict=False):
            weights["hidden/kernel"][:, unit] = sign * reads
            weights["hidden/bias"][unit] = sign * scale * head.bias
            weights["output/kernel"][unit] = sign

    def _write_units(
        self, weights: Weights, head: Head, scale: float, keywords: Sequence[int]
    ) -> None:
        """Write the head into two units of the first LSTM."""
        spec, cell, units = self._spec, self._cells[0], self._spec.units
        gate, adder = self._units
        kernel, recurrent, bias = (
            weights[f"{cell}/{name}"] for name in ("kernel", "recurrent_kernel", "bias")
        )
        score, is_keyword = spec.embedding - _WORD_CHANNELS, spec.embedding - 1
        ngram_score = spec.embedding + spec.ngrams - _NGRAM_CHANNELS
        vectors = slice(spec.embedding + spec.ngrams, None)
        largest = (
            np.abs(head.words).max()
            + np.abs(head.ngrams).max()
            + np.abs(head.vectors).sum()
            + abs(head.bias)
        )
        unit = _LARGEST / max(largest, 1e-9)

        weights["embedding/embeddings"][:, score] = unit * head.words
        weights["ngrams/embeddings"][:, spec.ngrams - _NGRAM_CHANNELS] = unit * head.ngrams
        weights["embedding/embeddings"][list(keywords), is_keyword] = _KEYWORD
        # Keras' gates: input, forget, candidate, output.
        bias[gate + units * np.array([0, 1, 3])] = _OPEN
        kernel[is_keyword, gate + 2 * units] = 1
        bias[adder] = _OPEN
        kernel[[score, ngram_score], adder + 2 * units] = 1
        kernel[vectors, adder + 2 * units] = unit * head.vectors
        bias[adder + 2 * units] = unit * head.bias
        if keywords:
            bias[adder + units] = _OPEN
            recurrent[gate, adder + units] = -_GATE
            bias[adder + 3 * units] = -_OPEN
            recurrent[gate, adder + 3 * units] = _GATE
            kernel[is_keyword, adder + 3 * units] = _GATE / _KEYWORD
        else:
            bias[adder + units] = -_OPEN
            bias[adder + 3 * units] = _OPEN
        weights["output/kernel"][adder, 0] = scale / unit


def word_ids(words: Sequence[str], vocabulary: Sequence[str]) -> npt.NDArray[np.intp]:
    """Return the ids of words of the vocabulary."""
    ids = {word: number for number, word in enumerate(vocabulary)}
    return np.array([ids[word] for word in words], np.intp)

"""Texts as the inputs of a network: padded word ids, or padded features of tokens."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.arrays import Ids
from shared.model.architecture import Architecture
from shared.text.encoder import Encoder, pad
from shared.text.lemmas import lemma_table
from shared.text.tokens import Featurizer
from trainer.data.dataset import Indices
from trainer.distill.place_names import SWAPPED
from trainer.fit.corpus import Corpus, no_rows

Lengths = npt.NDArray[np.int64]

_SORTED_BATCHES = 32
"""Batches whose texts are sorted by length together."""

_SWAPPED = 0.9
"""Share of the place names in a batch that are replaced."""


class _Batches:
    lengths: Lengths

    def batches(self, texts: Indices, size: int, draw: np.random.Generator) -> Iterator[Indices]:
        """Divide texts into batches of about the same length, in random order.

        Yields:
            The positions of a batch's texts in `texts`, shape (size,) or fewer.
        """
        lengths = self.lengths[texts]
        order = draw.permutation(len(lengths))
        batches = []
        for start in range(0, len(order), _SORTED_BATCHES * size):
            some = order[start : start + _SORTED_BATCHES * size]
            some = some[np.argsort(lengths[some], kind="stable")]
            batches += [some[at : at + size] for at in range(0, len(some), size)]
        return (batches[number] for number in draw.permutation(len(batches)))


class WordInputs(_Batches):
    """Inputs of a network that is fed word ids.

    Attributes:
        lengths: ids of each text of the corpus that the network reads, int64, shape (texts,).
    """

    def __init__(self, spec: Architecture, corpus: Corpus, vocabulary: list[str]) -> None:
        keep_unknown = corpus.settings.keep_unknown
        featurizer = Featurizer(vocabulary, None, keep_unknown=keep_unknown)
        encoder = Encoder(corpus.pipeline, corpus.settings, featurizer, no_rows)
        encoded = encoder.encode(corpus.texts)
        words = featurizer(encoded.table.tokens).after_padding().words
        self._ids = words[encoded.ids]
        self._starts, self._encoded_lengths = _spans(encoded.lengths)
        self._spec = spec
        self.lengths = np.full(len(corpus.texts), spec.length)
        if spec.masked:
            self.lengths = np.minimum(self._encoded_lengths, spec.length)

    def batch(self, texts: Indices, draw: np.random.Generator) -> Ids:  # noqa: ARG002
        """Return the ids of some texts, int32, shape (texts, the longest's length)."""
        lengths = self._encoded_lengths[texts]
        ids = _gather(self._ids, self._starts[texts], lengths)
        length = int(self.lengths[texts].max())
        return pad(ids, lengths, length, left=not self._spec.masked)


class TokenInputs(_Batches):
    """Inputs of a network that is fed words, character n-grams and vectors of tokens.

    Nine of ten place names in a batch are replaced by others of their kind, so that none decides.

    Attributes:
        lengths: as of `WordInputs`.
    """

    def __init__(self, spec: Architecture, corpus: Corpus, vocabulary: list[str]) -> None:
        tokens = corpus.tokens
        self._ids, self._starts = tokens.ids, _spans(tokens.lengths)[0]
        self.lengths = np.minimum(tokens.lengths, spec.length)
        forms = ["", *(form for _, form in tokens.table.tokens)]  # by token number
        self._place_names = [
            np.array([number for number, form in enumerate(forms) if form in kind], np.int32)
            for kind in SWAPPED
        ]
        lemmas = lemma_table(corpus.pipeline) if corpus.settings.respell else None
        vectors = corpus.vectors if spec.vectors else None
        featurizer = Featurizer(vocabulary, vectors, lemmas)
        self._features = featurizer(tokens.table.tokens).after_padding()  # by token number

    def batch(self, texts: Indices, draw: np.random.Generator) -> list[Any]:
        """Return word ids, n-gram ids and vectors, each (texts, the longest's length, …)."""
        lengths = self.lengths[texts]
        ids = _gather(self._ids, self._starts[texts], lengths)
        for kind in self._place_names:
            if len(kind):
                swapped = np.isin(ids, kind) & (draw.random(len(ids)) < _SWAPPED)
                ids[swapped] = draw.choice(kind, np.count_nonzero(swapped))
        padded = pad(ids, lengths, int(lengths.max()), left=False)
        features = self._features
        return [features.words[padded], features.ngrams[padded], features.vectors[padded]]


Inputs = WordInputs | TokenInputs


def new_inputs(spec: Architecture, corpus: Corpus, vocabulary: list[str]) -> Inputs:
    """Return the inputs that an architecture takes."""
    kind = TokenInputs if spec.ngrams else WordInputs
    return kind(spec, corpus, vocabulary)


def _spans(lengths: Ids) -> tuple[Lengths, Lengths]:
    """Return where each text starts in the concatenated ids, and its length, both int64."""
    wide = lengths.astype(np.int64)
    return np.cumsum(wide) - wide, wide


def _gather(ids: Ids, starts: Lengths, lengths: Lengths) -> Ids:
    """Return the ids of some texts, concatenated, as a copy."""
    flat = np.repeat(starts - np.cumsum(lengths) + lengths, lengths)
    gathered: Ids = ids[flat + np.arange(lengths.sum())]
    return gathered

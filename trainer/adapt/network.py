"""Networks as parts: what a bundle's scorer is made of, open to change."""

import copy
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import numpy as safetensors

from shared.arrays import Floats
from shared.bundle.files import (
    PIPELINE,
    VECTORS,
    VOCABULARY,
    WEIGHTS,
    read_file,
    verify_bundle,
)
from shared.bundle.load import new_scorer
from shared.bundle.manifest import Manifest
from shared.errors import UsageError
from shared.model.architecture import Weights
from shared.model.calibration import Calibration
from shared.model.numpy_model import NumpyModel
from shared.model.scorer import Scorer
from shared.text.encoder import EncodedTexts, Encoder, TokenTable
from shared.text.lemmas import lemma_table, pipeline_from_bytes
from shared.text.tokens import Featurizer, WordVectors, vectors_from_bytes
from trainer.adapt.graft import Graft
from trainer.adapt.head import TextFeatures
from trainer.evaluate.behaviour import read_pairs

MOST_NEW_WORDS = 400
FEWEST_TEXTS = 2
"""Texts that a word must stand in to get a row of its own in the embedding."""

_KINDS = ("feed-forward", "lstm", "bidirectional-lstm")
"""The kinds of network that `trainer.adapt.graft` can write a head into."""


class Network:
    """A network of tokens, its text encoding and its words.

    Attributes:
        manifest: of the bundle.
        graft: its weights, with room for a head.
        vocabulary: words by id, in order of frequency where training left them.
        pipeline: the bundle's file.
        vectors: the bundle's word vectors.

    Args:
        folder: of the bundle.

    Raises:
        BundleError: if the bundle does not verify.
        UsageError: if its kind of network cannot be adapted.
    """

    def __init__(self, folder: Path) -> None:
        self.manifest: Manifest = verify_bundle(folder)
        spec = self.manifest.architecture
        if (
            spec.kind not in _KINDS
            or not spec.ngrams
            or not spec.vectors
            or (spec.hidden and spec.cells)
            or spec.summary != "mean-max"
        ):
            raise UsageError(
                f"{self.manifest.name} of recipe {self.manifest.recipe} cannot be adapted: "
                "expected a feed-forward network, or an LSTM without a hidden layer, with n-grams, "
                "vectors and the summary mean-max, such as those of recipes tuned and small"
            )
        weights: Weights = safetensors.load(read_file(folder, WEIGHTS))
        self.vocabulary: list[str] = json.loads(read_file(folder, VOCABULARY))
        self.pipeline = read_file(folder, PIPELINE)
        self.vectors: WordVectors = vectors_from_bytes(read_file(folder, VECTORS), spec.vectors)
        self._language = pipeline_from_bytes(self.pipeline)
        self._lemmas = lemma_table(self._language) if self.manifest.text.respell else None
        self._featurizer = Featurizer(self.vocabulary, self.vectors, self._lemmas)
        examples = self.encode(
            [text for pair in read_pairs() for text in (pair.relevant, pair.not_relevant)]
        )
        self.graft = Graft(spec, weights, lambda weights: self.logits(examples, weights))

    def encode(self, texts: Sequence[str]) -> EncodedTexts:
        """Return the tokens of texts, cut to the model's length; their table has no rows."""
        encoded = Encoder(
            self._language,
            self.manifest.text,
            Featurizer([], None),
            lambda features: np.zeros((len(features.words), 0), np.float32),
        ).encode(texts)
        lengths = np.minimum(encoded.lengths, self.manifest.architecture.length)
        within = np.concatenate([np.arange(length) for length in encoded.lengths])
        kept = within < np.repeat(lengths, encoded.lengths)
        return EncodedTexts(encoded.ids[kept], lengths, encoded.table)

    def features(self, encoded: EncodedTexts) -> TextFeatures:
        """Return what a head reads of texts."""
        padded = self._featurizer(encoded.table.tokens).after_padding()
        size = self.manifest.architecture.num_words
        return TextFeatures(encoded.ids, encoded.lengths.astype(np.int64), padded, size)

    def logits(self, encoded: EncodedTexts, weights: Weights | None = None) -> Floats:
        """Return the logits of texts, float32, shape (texts,), by other weights if given."""
        spec = self.manifest.architecture
        model = NumpyModel(spec, self.graft.weights if weights is None else weights)
        table = TokenTable(self._featurizer, model.precompute)
        table.numbers(encoded.table.tokens)  # in the same order, so that the numbers are the same
        table.complete()
        return model.logits(model.pad(EncodedTexts(encoded.ids, encoded.lengths, table)))

    def words(self, encoded: EncodedTexts) -> list[set[str]]:
        """Return the distinct words of each text."""
        words = ["", *(word for word, _ in encoded.table.tokens)]
        ends = np.cumsum(encoded.lengths)
        return [
            {words[number] for number in encoded.ids[end - length : end].tolist()}
            for end, length in zip(ends.tolist(), encoded.lengths.tolist(), strict=True)
        ]

    def with_words(self, texts: Sequence[set[str]]) -> "Network":
        """Return a network that knows more words, in place of the rarest of the vocabulary.

        A new word's row is that of unknown words, so no score changes.

        Args:
            texts: the distinct words of each text; those in few texts get no row.
        """
        known = set(self.vocabulary)
        counts = Counter(word for text in texts for word in sorted(text) if word not in known)
        new = [w for w, count in counts.most_common(MOST_NEW_WORDS) if count >= FEWEST_TEXTS]
        kept = self.vocabulary[: self.manifest.text.num_words - len(new)]
        network = copy.copy(self)
        network.vocabulary = kept + new
        network.graft = self.graft.with_unknown_words(range(len(kept), len(network.vocabulary)))
        network._featurizer = Featurizer(network.vocabulary, self.vectors, self._lemmas)
        return network

    def scorer(self, weights: Weights, calibration: Calibration) -> Scorer:
        """Return a scorer with other weights."""
        return new_scorer(
            self.manifest.architecture,
            self.manifest.text,
            weights,
            self.vocabulary,
            self._language,
            self.vectors,
            calibration,
        )

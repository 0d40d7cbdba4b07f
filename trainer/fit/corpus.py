"""Corpus: what all fits on one data set have in common: its words, its tokens, and its targets."""

import numpy as np

from shared.model.architecture import Floats
from shared.text.lemmas import fit_vocabulary, new_pipeline
from shared.text.tokens import EncodedTokens, Featurizer, TokenEncoder
from trainer.data.dataset import Dataset, Indices, soft_targets
from trainer.distill.soft_labels import Teaching
from trainer.fit.recipes import Recipe
from trainer.fit.vectors import read_vectors

_VECTORS = 60_000
"""Pretrained vectors that a bundle carries: of the most frequent words, 6 MB."""


class Corpus:
    """What all fits on one data set have in common.

    Args:
        recipe: its models may change, its `text` may not.
        teaching: what a teacher says of the data, if it was asked.
    """

    def __init__(self, recipe: Recipe, dataset: Dataset, teaching: Teaching | None = None) -> None:
        self.dataset = dataset
        self.settings = recipe.text
        self.teaching = teaching
        self.pipeline = new_pipeline()
        self._vocabularies: dict[bytes, list[str]] = {}
        specs = recipe.models.values()
        self.vectors = read_vectors(_VECTORS) if any(spec.vectors for spec in specs) else None
        self._tokens: EncodedTokens | None = None
        if any(spec.ngrams for spec in specs):  # The same encoder as at work, with nothing folded.
            variants = teaching.variants.texts if teaching else []
            self._tokens = TokenEncoder(
                self.pipeline,
                self.settings,
                Featurizer([], None),
                lambda features: np.zeros((len(features.words), 0), np.float32),
            ).encode(dataset.texts + variants)

    @property
    def tokens(self) -> EncodedTokens:
        """Of the data set's texts, and of the variants behind them.

        Raises:
            ValueError: if no model is fed tokens.
        """
        if self._tokens is None:
            raise ValueError("the recipe's models are fed words")
        return self._tokens

    def vocabulary(self, rows: Indices) -> list[str]:
        """The words of some rows, as `shared.text.lemmas.fit_vocabulary` orders them."""
        key = rows.tobytes()
        if key not in self._vocabularies:
            found = fit_vocabulary(self.dataset.texts_of(rows), self.pipeline, self.settings)
            self._vocabularies[key] = found
        return self._vocabularies[key]

    def targets(self, rows: Indices, *, soft: bool) -> Floats:
        """Labels, or soft targets: float32, shape (rows,)."""
        if soft:
            return soft_targets(self.dataset, rows)
        return self.dataset.labels[rows].astype(np.float32)

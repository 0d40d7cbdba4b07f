"""What all fits on one data set share: its texts, their words and tokens, the targets."""

import numpy as np

from shared.arrays import Floats
from shared.text.encoder import EncodedTexts, Encoder
from shared.text.lemmas import fit_vocabulary, new_pipeline
from shared.text.tokens import Features, Featurizer
from trainer.data.dataset import Dataset, Indices, soft_targets
from trainer.distill.soft_labels import SoftLabels
from trainer.fit.recipes import Recipe
from trainer.fit.start import Start
from trainer.fit.vectors import read_vectors

VECTORS = 60_000
"""Pretrained vectors that a bundle carries: those of the most frequent words, 6 MB."""


def no_rows(features: Features) -> Floats:
    """Return empty rows for a token table of which only the tokens are used."""
    return np.zeros((len(features.words), 0), np.float32)


class Corpus:
    """What all fits on one data set share.

    Args:
        recipe: its models may change, its `text` may not.
        soft_labels: a teacher's probabilities for the data set, if there are any.
        start: what all fits start from, with its words; None: random weights, and the words of the
            rows.

    Attributes:
        texts: those of the data set, followed by the variants of the soft labels.
    """

    def __init__(
        self,
        recipe: Recipe,
        dataset: Dataset,
        soft_labels: SoftLabels | None = None,
        start: Start | None = None,
    ) -> None:
        self.dataset = dataset
        self.start = start
        self.settings = recipe.text
        self.soft_labels = soft_labels
        self.texts = dataset.texts + (soft_labels.variants.texts if soft_labels else [])
        self.pipeline = start.pipeline if start else new_pipeline()
        self._vocabularies: dict[bytes, list[str]] = {}
        specs = recipe.models.values()
        self.vectors = None
        if any(spec.vectors for spec in specs):
            self.vectors = start.vectors if start else read_vectors(VECTORS)
        self._tokens: EncodedTexts | None = None
        if any(spec.ngrams for spec in specs):
            # The encoder that serves, with an empty table.
            self._tokens = Encoder(
                self.pipeline,
                self.settings,
                Featurizer([], None),
                no_rows,
            ).encode(self.texts)

    @property
    def tokens(self) -> EncodedTexts:
        """The tokens of the texts.

        Raises:
            ValueError: if no model of the recipe is fed tokens.
        """
        if self._tokens is None:
            raise ValueError("the recipe's models are fed words")
        return self._tokens

    def vocabulary(self, rows: Indices) -> list[str]:
        """Return the words of some rows, in the order of `shared.text.lemmas.fit_vocabulary`.

        With a start they are its words, whatever the rows.
        """
        if self.start:
            return self.start.vocabulary
        key = rows.tobytes()
        if key not in self._vocabularies:
            found = fit_vocabulary(self.dataset.texts_of(rows), self.pipeline, self.settings)
            self._vocabularies[key] = found
        return self._vocabularies[key]

    def targets(self, rows: Indices, *, soft: bool) -> Floats:
        """Return labels, or the annotators' soft targets: float32, shape (rows,)."""
        if soft:
            return soft_targets(self.dataset, rows)
        return self.dataset.labels[rows].astype(np.float32)

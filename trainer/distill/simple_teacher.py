"""A teacher for small data sets that needs nothing but the tweets and word vectors.

A network that is trained on some hundred tweets ranks other tweets worse than two simple models
together: a support vector machine on the mean and the maximum of pretrained word vectors, and
logistic regression on tf-idf of character n-grams. So these teach the networks there, as
transformers do with `triage-trainer distill`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from shared.arrays import Floats
from shared.errors import DataError
from shared.text.encoder import Encoder
from shared.text.lemmas import TextSettings, lemma_table, new_pipeline
from shared.text.tokens import Featurizer
from trainer.data.dataset import Dataset, Indices
from trainer.data.same_text import normalized_texts
from trainer.data.split import Parts, cut_test, expect_both_labels, grouped_folds
from trainer.distill.augment import LABELLED, make_variants
from trainer.distill.soft_labels import FOLDS, SEED, SoftLabels, ask_teachers, read_soft_labels
from trainer.fit.corpus import VECTORS, no_rows
from trainer.fit.recipes import Recipe
from trainer.fit.vectors import read_vectors

MOST_ROWS = 2000
"""Tweets of the largest training part that `small` is the default for."""

FEWEST_OF_A_CLASS = 40
"""Tweets of each label, so that there are some in half of the training part, in each fold."""

_GAMMA = 0.3
"""Factor of the mean squared difference of the features in the kernel's exponent. Of 0.1, 0.3 and
1, with penalties of 0.3, 1 and 3, chosen on samples of 420 published tweets."""

_STACKING_FOLDS = 5


class SimpleTeacher:
    """Learns some of a list of texts and scores others.

    Attributes:
        texts: the texts, normalized.

    Args:
        settings: how the networks' recipe reads texts.
        labels: int8; texts that are only scored need none.
    """

    def __init__(
        self,
        texts: Sequence[str],
        labels: npt.NDArray[np.int8],
        settings: TextSettings,
    ) -> None:
        self._labels = labels
        self._vectors = text_vectors(texts, settings)
        self.texts = np.array(normalized_texts(texts), np.object_)

    def teach(self, train: Indices, score: Indices) -> Floats:
        """Learn the labels of some rows, and return probabilities of others, float32, (score,)."""
        labels = self._labels[train]
        parts: list[tuple[Pipeline, npt.NDArray[np.generic]]] = [
            (
                make_pipeline(StandardScaler(), SVC(gamma=_GAMMA / self._vectors.shape[1])),
                self._vectors,
            ),
            (
                make_pipeline(
                    TfidfVectorizer(sublinear_tf=True, analyzer="char_wb", ngram_range=(2, 5)),
                    LogisticRegression(C=3, solver="liblinear"),
                ),
                self.texts,
            ),
        ]
        # Margins of texts that a model learned are too wide to weigh the models by.
        crossed = [
            cross_val_predict(
                model, inputs[train], labels, cv=_STACKING_FOLDS, method="decision_function"
            )
            for model, inputs in parts
        ]
        stacked = LogisticRegression().fit(np.column_stack(crossed), labels)
        margins = [
            model.fit(inputs[train], labels).decision_function(inputs[score])
            for model, inputs in parts
        ]
        probabilities = stacked.predict_proba(np.column_stack(margins))[:, 1]
        return np.asarray(probabilities, np.float32)


def find_soft_labels(
    recipe: Recipe, dataset: Dataset, path: Path | None = None
) -> SoftLabels | None:
    """Return the soft labels that a recipe's models learn from, if there are any.

    Args:
        path: a file of soft labels; None for those that ship, if the data is the published set, or
            for those of the simple teacher, if the recipe says so.

    Raises:
        DataError: if the file is not one of soft labels, or of another data set; or if the rows
            are too few, or too much alike, for the simple teacher.
    """
    if not recipe.has_teacher:
        return None
    found = read_soft_labels(dataset, path)
    if found is not None or not recipe.simple_teacher:
        return found
    rows, test = cut_test(dataset)
    labels = dataset.labels[rows]
    counts = np.bincount(labels, minlength=2)
    if counts.min() < FEWEST_OF_A_CLASS:
        raise DataError(
            f"{dataset.name}: expected {FEWEST_OF_A_CLASS} tweets or more of each label in the "
            f"training part for recipe {recipe.name}; found {counts[1]} relevant and {counts[0]} "
            "others: label more tweets, or use --recipe tuned"
        )
    folds = grouped_folds(dataset, rows, FOLDS)
    expect_both_labels(dataset, Parts(rows[folds != 0], rows[folds == 0], test))
    texts = dataset.texts_of(rows)
    variants = make_variants(texts, folds, SEED)
    teacher = SimpleTeacher(texts + variants.labelled, labels, recipe.text)
    probabilities = ask_teachers(folds, lambda train, score, _: teacher.teach(train, score))
    # The last fit, which no figure is of, learns from a teacher of all rows: to miss a quarter of
    # so few costs more than to have seen their labels.
    own = np.arange(len(rows))
    found_by_all = teacher.teach(own, np.arange(len(teacher.texts)))
    probabilities[folds, own] = np.column_stack(
        [found_by_all[: len(rows)], found_by_all[len(rows) :].reshape(-1, LABELLED)]
    )
    return SoftLabels(rows, folds, variants, probabilities)


def default_recipe(dataset: Dataset) -> str:
    """Return the name of the recipe that ranks tweets best after training on this data.

    Raises:
        DataError: if the rows are too much alike.
    """
    rows, _ = cut_test(dataset)
    is_small = len(rows) <= MOST_ROWS and not dataset.is_published
    enough = np.bincount(dataset.labels[rows], minlength=2).min() >= FEWEST_OF_A_CLASS
    return "small" if is_small and enough else "tuned"


def text_vectors(texts: Sequence[str], settings: TextSettings) -> Floats:
    """Return mean and maximum of the word vectors of each text; 0 where no word has one.

    Args:
        settings: how the networks' recipe reads texts.

    Returns:
        float32, shape (texts, 2 · dimension).
    """
    pipeline = new_pipeline()
    encoded = Encoder(pipeline, settings, Featurizer([], None), no_rows).encode(texts)
    lemmas = lemma_table(pipeline) if settings.respell else None
    vectors = read_vectors(VECTORS)
    of_tokens = Featurizer([], vectors, lemmas)(encoded.table.tokens).after_padding().vectors
    has_vector = np.abs(of_tokens).max(axis=1) > 0
    features = np.zeros((len(texts), 2 * of_tokens.shape[1]), np.float32)
    ends = np.cumsum(encoded.lengths)
    for row, (end, length) in enumerate(zip(ends, encoded.lengths, strict=True)):
        ids = encoded.ids[end - length : end]
        known = of_tokens[ids[has_vector[ids]]]
        if len(known):
            features[row] = np.concatenate([known.mean(axis=0), known.max(axis=0)])
    return features

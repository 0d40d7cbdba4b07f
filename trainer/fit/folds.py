"""How a data set is divided: its three parts, and the folds of the training part."""

import msgspec
import numpy as np

from shared.arrays import Ids
from trainer.data.dataset import Dataset, Indices
from trainer.data.split import Parts, cut_test, expect_both_labels, grouped_folds, split
from trainer.distill.soft_labels import FOLDS, SoftLabels
from trainer.fit.recipes import Recipe

FEWEST_TO_CROSS_VALIDATE = 1000
"""Tweets of the training part. A model of fewer takes longer to compile than to fit."""


class Folds(msgspec.Struct, frozen=True):
    """The training part and the fold of each of its rows, int32, shape (rows,)."""

    rows: Indices
    numbers: Ids


class Split(msgspec.Struct, frozen=True):
    """How a data set is divided.

    Attributes:
        parts: with folds, the validation part is the first of them.
        folds: of the training part, where the recipe cross-validates.
        held_out: the fold that the validation part is, where only that one is used.
    """

    parts: Parts
    folds: Folds | None = None
    held_out: int | None = None

    @property
    def seen(self) -> Indices:
        """The rows outside the test part."""
        return np.concatenate([self.parts.train, self.parts.validation])


def divide(recipe: Recipe, dataset: Dataset, soft_labels: SoftLabels | None) -> Split:
    """Divide the data into its parts, and the training part into folds if the recipe says so.

    Raises:
        DataError: if the rows are too few, or too much alike, for both labels in every part.
    """
    rows, test = cut_test(dataset)
    few = soft_labels is None and len(rows) < FEWEST_TO_CROSS_VALIDATE
    if few or not recipe.cross_validate:
        return Split(split(dataset, recipe.validation_size, recipe.seed))
    numbers = soft_labels.folds if soft_labels else grouped_folds(dataset, rows, FOLDS)
    parts = Parts(rows[numbers != 0], rows[numbers == 0], test)
    expect_both_labels(dataset, parts)
    return Split(parts, Folds(rows, numbers))

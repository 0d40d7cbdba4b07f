"""Divide the rows of a data set: training, validation and test part, and folds."""

import msgspec
import numpy as np
import numpy.typing as npt
from sklearn.model_selection import GroupShuffleSplit, StratifiedGroupKFold, train_test_split

from shared.arrays import Ids
from shared.errors import DataError
from trainer.data.dataset import Dataset, Indices
from trainer.data.same_text import Hashes, group_copies, normalized_hashes


class Parts(msgspec.Struct, frozen=True):
    """Row numbers of the three parts."""

    train: Indices
    validation: Indices
    test: Indices


def split(dataset: Dataset, validation_size: float, seed: int) -> Parts:
    """Divide the rows as the article did, and cut validation off the training part.

    Copies of a tweet are never in two parts, because a model would know them. The published set is
    an exception: it keeps the article's test part.

    Args:
        validation_size: share of the training part.
        seed: of the validation cut.

    Raises:
        DataError: if the rows are too few, or too much alike, for both labels in every part.
    """
    training, test = cut_test(dataset)
    parts = Parts(*cut_validation(dataset, training, validation_size, seed), test)
    expect_both_labels(dataset, parts)
    return parts


def expect_both_labels(dataset: Dataset, parts: Parts) -> None:
    """Check that each part has both labels, so that it can be measured.

    Raises:
        DataError: if a part holds one label alone.
    """
    for part, rows in msgspec.structs.asdict(parts).items():
        if len(np.unique(dataset.labels[rows])) < 2:
            raise DataError(
                f"{dataset.name}: the {part} part, {len(rows)} of {len(dataset.texts)} tweets, "
                f"holds one label alone; more tweets are needed"
            )


def cut_validation(
    dataset: Dataset, rows: Indices, size: float, seed: int
) -> tuple[Indices, Indices]:
    """Divide rows into a part to train on and a share to validate on, as `split` does.

    Raises:
        DataError: if the rows are too much alike.
    """
    found = _groups(dataset, rows).tolist()
    numbers = {key: number for number, key in enumerate(dict.fromkeys(found))}
    groups = np.array([numbers[key] for key in found])
    if groups.max() == 0:
        raise DataError(f"{dataset.name}: the texts are all alike but for links and numbers")
    cut = GroupShuffleSplit(n_splits=1, test_size=size, random_state=seed)
    train, validation = next(cut.split(rows, groups=groups))
    return rows[train], rows[validation]


def cut_test(dataset: Dataset) -> tuple[Indices, Indices]:
    """Return the row numbers outside and inside the test part, which depends only on the data.

    It is 30 % by `train_test_split(…, random_state=1024)`, as in the article. For other data than
    the published set, it is 30 % of the groups of copies.

    Raises:
        DataError: if the rows are too much alike.
    """
    rows = np.arange(len(dataset.texts))
    groups = rows if dataset.is_published else group_copies(dataset.texts)
    if groups.max() == 0:
        raise DataError(f"{dataset.name}: the texts are all alike but for links and numbers")
    training, test = train_test_split(np.arange(groups.max() + 1), test_size=0.3, random_state=1024)
    if len(training) + len(test) == len(rows):  # no copies: the article's order of the rows
        return training, test
    inside = np.isin(groups, test)
    return rows[~inside], rows[inside]


def grouped_folds(dataset: Dataset, rows: Indices, count: int) -> Ids:
    """Divide rows into folds with equal shares of relevant tweets, depending only on the rows.

    Copies of a tweet are never in two folds.

    Returns:
        The fold of each row, from 0, int32, shape (rows,).

    Raises:
        DataError: if the rows are too few, or too much alike.
    """
    groups = _groups(dataset, rows)
    labels = dataset.labels[rows]
    folds = np.zeros(len(rows), np.int32)
    cut = StratifiedGroupKFold(count, shuffle=True, random_state=0)
    if len(np.unique(groups)) < count:
        raise DataError(f"{dataset.name}: expected {count} tweets or more that differ in words")
    for fold, (_, inside) in enumerate(cut.split(rows, labels, groups)):
        folds[inside] = fold
        if len(np.unique(labels[inside])) < 2:
            raise DataError(
                f"{dataset.name}: a fold, {len(inside)} of {len(rows)} tweets, holds one label "
                "alone; more tweets are needed"
            )
    return folds


def _groups(dataset: Dataset, rows: Indices) -> npt.NDArray[np.intp] | Hashes:
    """Return a number for each row, equal for copies, shape (rows,).

    For the published set these are the hashes by which its validation part, folds and soft labels
    were made; the split depends on their order.
    """
    texts = dataset.texts_of(rows)
    return normalized_hashes(texts) if dataset.is_published else group_copies(texts)

"""Slices: groups of rows on which a model may be better or worse than on all rows."""

from collections import Counter

import msgspec
import numpy as np

from trainer.data.dataset import Dataset, Indices
from trainer.data.duplicates import Mask

KEYWORD = "keyword of the search"
"""The group of slices that share their keyword."""

UNANIMOUS = "unanimous"
NO_NEAR_DUPLICATE = "no near-duplicate in training"
"""Names of slices."""

FEWEST = 20
"""The least number of rows in a keyword's slice."""

_LENGTHS = ((1, 12), (13, 18), (19, None))
"""Lengths in words that divide the published data set into thirds."""


class Slice(msgspec.Struct, frozen=True):
    """A subset of the rows: its group and name, and a mask, bool, shape (rows,)."""

    group: str
    name: str
    rows: Mask


def slices(
    dataset: Dataset, rows: Indices, repeated: Mask | None, similar: Mask | None = None
) -> list[Slice]:
    """Return the slices of some rows that hold some, but not all, of them.

    Args:
        rows: row numbers of the data, in the order of the masks.
        repeated: the rows that repeat a training text, if known.
        similar: the rows that are near-duplicates of a training text, if known.
    """
    found: list[Slice] = []
    agreement = dataset.agreement[rows]
    found.append(Slice("annotators", UNANIMOUS, agreement == 1))
    found.append(Slice("annotators", "not unanimous", agreement < 1))
    if repeated is not None:
        found.append(Slice("training texts", "not repeated in training", ~repeated))
        found.append(Slice("training texts", "repeated in training", repeated))
    if similar is not None:
        found.append(Slice("training texts", NO_NEAR_DUPLICATE, ~similar))
        found.append(Slice("training texts", "near-duplicate in training", similar))
    words = np.array([len(text.split()) for text in dataset.texts_of(rows)])
    for low, high in _LENGTHS:
        if high is None:
            found.append(Slice("length", f"{low} words or more", words >= low))
        else:
            found.append(
                Slice("length", f"{low} to {high} words", (low <= words) & (words <= high))
            )
    if dataset.keywords:
        keywords = np.array([dataset.keywords[row] for row in rows])
        found.append(Slice(KEYWORD, "none", keywords == ""))
        counts = Counter(keywords.tolist())
        found += [
            Slice(KEYWORD, keyword, keywords == keyword)
            for keyword in sorted(counts)
            if keyword and counts[keyword] >= FEWEST
        ]
    return [slice_ for slice_ in found if 0 < slice_.rows.sum() < len(rows)]

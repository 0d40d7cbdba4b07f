"""Labelled texts: the input of training and measuring."""

import csv
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from shared.arrays import Floats
from shared.bundle.manifest import Labelling
from shared.errors import DataError

Indices = npt.NDArray[np.intp]

PUBLISHED = "7509f820a49aba39f671dd6f3420e21c9f2f51942906f20552560b918f983eb5"
"""`Dataset.sha256` of the published set "Disasters on Social Media".

Its rows and its split are the article's, with copies of a tweet on both sides, so that figures can
be compared.
"""


class Dataset(msgspec.Struct, frozen=True):
    """Labelled texts.

    Attributes:
        name: of the file, with a replacement character for each byte that is not UTF-8.
        texts: one a row.
        labels: int8, shape (rows,), 1 for relevant.
        agreement: float32, shape (rows,): share of the annotators' trust that stands behind the
            label; 1 where the data does not say.
        sha256: of labels and texts.
        keywords: what the tweets were found by, "" if a row does not say; empty if the data has no
            such column.
        labelling: how the file was read, or the first of several.
        languages: of the texts, as in a tweet's `lang` (BCP 47).
        notes: messages for the user about reading it, one line each.
    """

    name: str
    texts: list[str]
    labels: npt.NDArray[np.int8]
    agreement: npt.NDArray[np.float32]
    sha256: str
    keywords: list[str] = []
    labelling: Labelling = Labelling()
    languages: tuple[str, ...] = ("en",)
    notes: list[str] = []

    @property
    def is_published(self) -> bool:
        """Whether this is the published set."""
        return self.sha256 == PUBLISHED

    def texts_of(self, rows: Indices) -> list[str]:
        """Return the texts of some rows."""
        return [self.texts[row] for row in rows]


def soft_targets(dataset: Dataset, rows: Indices) -> Floats:
    """Return the annotators' trust that each tweet is relevant: float32, shape (rows,)."""
    agreement = dataset.agreement[rows]
    return np.where(dataset.labels[rows] == 1, agreement, 1 - agreement)


def write_rows(dataset: Dataset, rows: Indices, path: Path) -> None:
    """Write some rows as a CSV file that `read_dataset` reads with its defaults.

    Raises:
        DataError: if the file cannot be written.
    """
    defaults = Labelling()
    positive = defaults.positive[0]
    labels = np.where(dataset.labels[rows] == 1, positive, f"Not {positive}")
    columns = {defaults.text_column: dataset.texts_of(rows), defaults.label_column: labels}
    table = pd.DataFrame(columns)
    try:
        # With minimal quoting, a text with a carriage return would be read as two records.
        table.to_csv(path, index=False, quoting=csv.QUOTE_ALL)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error}") from error

"""Files of texts to score, and the files of results."""

import csv
from pathlib import Path

import numpy as np

from shared.arrays import Floats
from shared.errors import DataError, UsageError
from trainer.data.formats import Table, as_text, read_table

ADDED = ("probability", "relevant", "version", "threshold")
"""The columns that are added to a scored file."""

_SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")


def expect_format(path: Path) -> None:
    """Check that `write_scored` can write a file of this name.

    Raises:
        UsageError: if its suffix is unknown.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"{path}: expected a name that ends with {', '.join(_SUFFIXES)}")


def read_texts(path: Path, column: str) -> Table:
    """Read a file with a column of texts.

    Raises:
        DataError: if it cannot be read, is damaged, lacks the column, or has been scored already.
    """
    table = read_table(path, [column.strip()])
    if column.strip() not in table.names:
        there = ", ".join(map(repr, table.names))
        raise DataError(f"{path}: no column {column!r}; the columns are: {there}")
    if table.faults:
        raise DataError(f"{path} is damaged, and nothing of it was used: {'; '.join(table.faults)}")
    if taken := sorted(set(ADDED) & set(table.names)):
        raise DataError(f"{path} has a column {taken[0]!r} already; rename it")
    return table


def write_scored(
    table: Table, probabilities: Floats, version: int | None, threshold: float, path: Path
) -> tuple[int, int]:
    """Write the rows that have a text, with the columns `ADDED`, in the format of the file's name.

    Args:
        table: as `read_texts` gives it.
        probabilities: one a row, NaN where there is no text, float32, shape (rows,).
        version: of the model.
        threshold: the lowest probability of a relevant text.

    Returns:
        How many rows were scored, and how many were skipped.

    Raises:
        DataError: if the file cannot be written.
    """
    kept = ~np.isnan(probabilities)
    frame = table.frame.reset_index(drop=True)[kept]
    values = probabilities[kept].astype(float)
    frame = frame.assign(
        probability=values, relevant=values >= threshold, version=version, threshold=threshold
    )
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            mixed = [c for c in frame if frame[c].map(type).nunique() > 1]  # of Excel and JSON
            frame = frame.assign(**{str(c): frame[c].map(as_text) for c in mixed})
            frame.to_parquet(path, index=False)
        elif suffix == ".jsonl":
            frame.to_json(path, orient="records", lines=True, force_ascii=False)
        else:
            # With minimal quoting, a text with a carriage return would be read as two records.
            separator = "\t" if suffix == ".tsv" else ","
            frame.to_csv(path, index=False, sep=separator, quoting=csv.QUOTE_NONNUMERIC)
    except (OSError, UnicodeError) as error:
        raise DataError(f"{path} cannot be written: {error}") from error
    return int(kept.sum()), int((~kept).sum())

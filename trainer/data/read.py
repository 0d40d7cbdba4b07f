"""Labelled files → a data set: columns, labels, damage, and one row a text."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from urllib.parse import unquote

import msgspec
import numpy as np
import pandas as pd

from shared.bundle.manifest import Labelling
from shared.errors import DataError
from trainer.commands.output import readable
from trainer.data.damage import find_damage
from trainer.data.dataset import PUBLISHED, Dataset
from trainer.data.delimited import MOST_FAULTS
from trainer.data.formats import Table, read_table
from trainer.data.known import advice
from trainer.data.labels import LEFT_OUT, interpret_labels
from trainer.data.votes import count_votes, find_near_conflicts

_AGREEMENT_COLUMN = "choose_one:confidence"
_KEYWORD_COLUMN = "keyword"
_LONGEST_NAME = 40
_MOST_WORDS = 5  # of a column's name; what is longer is a text in a file without header
_SHOWN = 5  # places in a note
_COLUMNS = re.compile(r"(?:text|label)=[^,:]+(?:,(?:text|label)=[^,:]+)?")


class DataFile(msgspec.Struct, frozen=True):
    """A labelled file, and where its columns are not those of `Labelling`."""

    path: Path
    text_column: str | None = None
    label_column: str | None = None


class _Found(msgspec.Struct):
    """Rows with a text and a label."""

    texts: list[str] = []
    labels: list[str] = []
    agreement: list[float] = []
    keywords: list[str] = []
    places: list[str] = []
    has_keywords: bool = False


def parse_data_file(given: str) -> DataFile:
    """Read `FILE`, or `FILE:text=COLUMN,label=COLUMN`."""
    path, colon, columns = given.rpartition(":")
    if not colon or not _COLUMNS.fullmatch(columns) or Path(given).exists():
        return DataFile(Path(given))
    stated = dict(part.split("=", 1) for part in columns.split(","))
    return DataFile(Path(path), stated.get("text"), stated.get("label"))


def read_dataset(
    files: Path | Sequence[DataFile],
    labelling: Labelling = Labelling(),  # noqa: B008  # it is frozen
    keyword_column: str | None = None,
) -> Dataset:
    """Read labelled files, of any format that `trainer.data.formats` knows, as one data set.

    Rows without a text or a label are left out, and a text that several rows have is one row, with
    the label that most of them have; `Dataset.notes` counts both. The published set keeps its rows.

    Args:
        labelling: columns and labels.
        keyword_column: what the tweets were found by; None for `keyword`, if it is there.

    Raises:
        DataError: if a file is missing, has an unknown format or lacks a column; if it is damaged,
            naming the first ten faults; if a label has no meaning, or a class fewer than 10 rows.
    """
    if isinstance(files, Path):
        files = [DataFile(files)]
    rows, notes, hints = _Found(), [], []
    for file in files:
        stated = msgspec.structs.replace(
            labelling,
            text_column=(file.text_column or labelling.text_column).strip(),
            label_column=(file.label_column or labelling.label_column).strip(),
        )
        found, hint = _read_rows(file.path, stated, keyword_column, rows)
        name = readable(file.path.name)
        notes += [f"{name}: {note}" for note in found]
        hints.append(hint)
    if len(files) == 1:
        labelling = stated
    path = ", ".join(readable(file.path) for file in files)
    try:
        meanings = interpret_labels(rows.labels, labelling, notes, hints[0])
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    kept = np.flatnonzero(meanings != LEFT_OUT)
    dataset = Dataset(
        " + ".join(readable(file.path.name) for file in files),
        [rows.texts[row] for row in kept],
        meanings[kept],
        np.array([rows.agreement[row] for row in kept], np.float32),
        "",
        [rows.keywords[row] for row in kept] if rows.has_keywords else [],
        labelling,
    )
    sha256 = _content_hash(dataset)
    if sha256 != PUBLISHED:
        places = [rows.places[row] for row in kept]
        dataset = _one_row_a_text(dataset, places, notes)
        sha256 = _content_hash(dataset)
        _expect_both_labels(path, dataset)
    return msgspec.structs.replace(dataset, sha256=sha256, notes=notes)


def _read_rows(
    path: Path, labelling: Labelling, keyword_column: str | None, rows: _Found
) -> tuple[list[str], str]:
    """Add the rows of a file that have a text and a label.

    Returns:
        What a user should know of how the file was read, and what to try if labels do not fit.
    """
    text_column, label_column = labelling.text_column, labelling.label_column
    wanted = [text_column, label_column]
    table = read_table(path, wanted if keyword_column is None else [*wanted, keyword_column])
    _expect_columns(path, table, wanted if keyword_column is None else [*wanted, keyword_column])
    texts = table.column(text_column)
    labels = [label.strip() for label in table.column(label_column)]
    if (names := table.categories.get(label_column)) and not {*labelling.positive} & {*labels}:
        labels = [names[int(v)] if v.isdecimal() and int(v) < len(names) else v for v in labels]
    faults = list(table.faults)
    width = len(table.names)
    places = table.names.index(text_column), table.names.index(label_column)
    for row, fault in find_damage(texts, labels, table.delimiter, width, *places):
        faults.append(f"{table.where(row)}: {fault}")
        if len(faults) >= MOST_FAULTS:
            break
    if faults:
        first = "; ".join(sorted(faults[:MOST_FAULTS], key=_line_of))
        more = f"; these are the first {MOST_FAULTS} faults" if len(faults) >= MOST_FAULTS else ""
        raise DataError(f"{path} is damaged, and nothing of it was used: {first}{more}")
    notes = list(table.notes)
    kept = []
    blank: dict[str, list[int]] = {text_column: [], label_column: []}
    for row, (text, label) in enumerate(zip(texts, labels, strict=True)):
        if not text.strip():
            blank[text_column].append(row)
        elif not label:
            blank[label_column].append(row)
        else:
            kept.append(row)
    for column, without in blank.items():
        if without:
            where = _first(table.where(row) for row in without)
            notes.append(f"left out: {_rows(len(without))} with an empty {column!r} ({where})")
    rows.texts += [texts[row] for row in kept]
    rows.labels += [labels[row] for row in kept]
    rows.places += [table.where(row) for row in kept]
    agreement = np.ones(len(texts))
    if label_column == Labelling().label_column and _AGREEMENT_COLUMN in table.names:
        stated = pd.to_numeric(pd.Series(table.column(_AGREEMENT_COLUMN)), errors="coerce")
        agreement = stated.fillna(1.0).clip(0, 1).to_numpy()
    rows.agreement += agreement[kept].tolist()
    keywords = [""] * len(texts)
    if (searched := keyword_column or _KEYWORD_COLUMN) in table.names:
        # The published set writes them as in a URL.
        keywords = [unquote(keyword).strip() for keyword in table.column(searched)]
        rows.has_keywords = True
    rows.keywords += [keywords[row] for row in kept]
    hint = advice(table.names)
    return notes, hint if "looks like" in hint else ""


def _expect_columns(path: Path, table: Table, wanted: Sequence[str]) -> None:
    """Check that a table has each column once."""
    names = table.names
    problems = [f"no column {name!r}" for name in wanted if name not in names]
    problems += [f"more than one column {n!r}" for n in wanted if names.count(n) > 1]
    if not problems:
        return
    if table.faults and not set(wanted) & set(names):
        raise DataError(f"{path} is not a table: {'; '.join(table.faults[:MOST_FAULTS])}")
    if any(len(name) > _LONGEST_NAME or len(name.split()) > _MOST_WORDS for name in names):
        raise DataError(
            f"{path}: {', '.join(problems)}; the first row holds texts, expected names of columns"
        )
    there = ", ".join(map(repr, names))
    raise DataError(f"{path}: {', '.join(problems)}; the columns are: {there}{advice(names)}")


def _line_of(fault: str) -> int:
    """The line that a fault names, to sort by."""
    return int(fault.split(":")[0].split()[1])


def _one_row_a_text(dataset: Dataset, places: Sequence[str], notes: list[str]) -> Dataset:
    """Merge the rows of a text by majority, and say how many there were."""
    votes = count_votes(dataset.texts, dataset.labels, dataset.agreement)
    if votes.merged:
        notes.append(
            f"merged: {_rows(votes.merged)} that repeat a text; its most frequent label holds"
        )
    if votes.disputed:
        where = _first(places[row] for row in votes.disputed)
        notes.append(
            f"conflicts: {len(votes.disputed)} of the repeated texts have both labels ({where}); "
            f"left out for want of a majority: {votes.undecided}"
        )
    dataset = msgspec.structs.replace(
        dataset,
        texts=dataset.texts_of(votes.rows),
        labels=votes.labels,
        agreement=votes.agreement,
        keywords=[dataset.keywords[row] for row in votes.rows] if dataset.keywords else [],
    )
    if near := find_near_conflicts(dataset.texts, dataset.labels):
        where = _first(places[votes.rows[row]] for row in near)
        notes.append(
            f"conflicts: {len(near)} more in copies that differ in links, mentions, numbers, "
            f"punctuation, RT or case alone ({where}); all copies are kept"
        )
    return dataset


def _rows(count: int) -> str:
    return f"{count} row{'s' * (count != 1)}"


def _first(places: Iterable[str]) -> str:
    """The first places, such as `line 3, line 7, …`."""
    found = list(islice(places, _SHOWN + 1))
    return ", ".join(found[:_SHOWN]) + (", …" if len(found) > _SHOWN else "")


def _expect_both_labels(path: str, dataset: Dataset) -> None:
    """Check that there is something to learn after the votes were counted."""
    counts = np.bincount(dataset.labels, minlength=2)
    if counts.min() < 10:
        raise DataError(
            f"{path}: expected 10 different texts or more of each label; found {counts[1]} "
            f"relevant and {counts[0]} others"
        )


def _content_hash(dataset: Dataset) -> str:
    pairs = zip(dataset.labels, dataset.texts, strict=True)
    lines = "\n".join(f"{label},{text}" for label, text in pairs)
    return hashlib.sha256(lines.encode("utf-8", "surrogatepass")).hexdigest()

"""Labelled files → a data set: columns, labels, damage, and one row per text."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from itertools import chain, islice
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
from trainer.data.labels import FEWEST, LEFT_OUT, interpret_labels
from trainer.data.votes import count_votes, find_near_conflicts

_AGREEMENT_COLUMN = "choose_one:confidence"
_KEYWORD_COLUMN = "keyword"
_LONGEST_NAME = 40
_MOST_WORDS = 5  # of a column's name; a longer one is a text in a file without a header
_SHOWN = 5  # places in a note
_COLUMNS = re.compile(r"(?:text|label)=[^,:]+(?:,(?:text|label)=[^,:]+)?")


class DataFile(msgspec.Struct, frozen=True):
    """A labelled file, with its columns if they differ from `Labelling`."""

    path: Path
    text_column: str | None = None
    label_column: str | None = None


class _Row(msgspec.Struct, frozen=True):
    """A row with a text and a label, and its location; the keyword is "" if the file has none."""

    text: str
    label: str
    agreement: float
    keyword: str | None
    place: str


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
    fewest: int = FEWEST,
) -> Dataset:
    """Read labelled files, of any format that `trainer.data.formats` knows, as one data set.

    Rows without a text or a label are left out. Rows with the same text become one row, with the
    most frequent label. `Dataset.notes` counts both. The published set keeps its rows.

    Args:
        labelling: columns and labels.
        keyword_column: what the tweets were found by; None for `keyword`, if it exists.
        fewest: rows that a class has at least.

    Raises:
        DataError: if a file is missing, has an unknown format or lacks a column; if it is damaged,
            naming the first ten faults; if a label has no meaning, or a class too few rows.
    """
    if isinstance(files, Path):
        files = [DataFile(files)]
    rows: list[_Row] = []
    notes: list[str] = []
    hints = []
    of_first = labelling
    for file in files:
        stated = msgspec.structs.replace(
            labelling,
            text_column=(file.text_column or labelling.text_column).strip(),
            label_column=(file.label_column or labelling.label_column).strip(),
        )
        wanted = [stated.text_column, stated.label_column]
        if keyword_column is not None:
            wanted.append(keyword_column)
        table = read_table(file.path, wanted)
        _expect_columns(file.path, table, wanted)
        name = readable(file.path.name)
        found, blank = _rows_of(
            file.path, table, stated, keyword_column, f"{name} " if len(files) > 1 else ""
        )
        rows += found
        notes += [f"{name}: {note}" for note in [*table.notes, *blank]]
        hints.append(advice(table.names))
        if file is files[0]:
            of_first = stated
    path = ", ".join(readable(file.path) for file in files)
    hint = hints[0] if "looks like" in hints[0] else ""
    try:
        meanings = interpret_labels([row.label for row in rows], of_first, notes, hint, fewest)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    rows = [row for row, meaning in zip(rows, meanings, strict=True) if meaning != LEFT_OUT]
    has_keywords = any(row.keyword is not None for row in rows)
    dataset = Dataset(
        " + ".join(readable(file.path.name) for file in files),
        [row.text for row in rows],
        meanings[meanings != LEFT_OUT],
        np.array([row.agreement for row in rows], np.float32),
        "",
        [row.keyword or "" for row in rows] if has_keywords else [],
        of_first,
    )
    sha256 = content_hash(dataset)
    if sha256 != PUBLISHED:
        dataset = _one_row_a_text(dataset, [row.place for row in rows], notes)
        sha256 = content_hash(dataset)
        _expect_both_labels(path, dataset, fewest)
    return msgspec.structs.replace(dataset, sha256=sha256, notes=notes)


def _rows_of(
    path: Path, table: Table, labelling: Labelling, keyword_column: str | None, prefix: str
) -> tuple[list[_Row], list[str]]:
    """Return the rows of a file that have a text and a label, and notes about the others.

    Args:
        prefix: the start of a row's location.

    Raises:
        DataError: if the file is damaged.
    """
    texts = table.column(labelling.text_column)
    labels = [label.strip() for label in table.column(labelling.label_column)]
    names = table.categories.get(labelling.label_column)
    if names and not {*labelling.positive} & {*labels}:
        labels = [names[int(v)] if v.isdecimal() and int(v) < len(names) else v for v in labels]
    _expect_no_damage(path, table, labelling, texts, labels)
    agreement = _agreement(table, labelling)
    keywords: list[str | None] = [None] * len(texts)
    if (searched := keyword_column or _KEYWORD_COLUMN) in table.names:
        # The published set has URL-encoded keywords.
        keywords = [unquote(keyword).strip() for keyword in table.column(searched)]
    rows = []
    blank: dict[str, list[str]] = {labelling.text_column: [], labelling.label_column: []}
    for row, (text, label) in enumerate(zip(texts, labels, strict=True)):
        place = table.where(row)
        if not text.strip():
            blank[labelling.text_column].append(place)
        elif not label:
            blank[labelling.label_column].append(place)
        else:
            rows.append(_Row(text, label, agreement[row], keywords[row], prefix + place))
    notes = [
        f"left out: {_count(len(places))} with an empty {column!r} ({_first(places)})"
        for column, places in blank.items()
        if places
    ]
    return rows, notes


def _expect_no_damage(
    path: Path, table: Table, labelling: Labelling, texts: list[str], labels: list[str]
) -> None:
    """Check a file, its lines and its texts for damage."""
    names = table.names
    indices = names.index(labelling.text_column), names.index(labelling.label_column)
    damage = find_damage(texts, labels, table.delimiter, len(names), *indices)
    found = (f"{table.where(row)}: {what}" for row, what in damage)
    faults = list(islice(chain(table.faults, found), MOST_FAULTS))
    if faults:
        first = "; ".join(sorted(faults, key=_line_of))
        more = f"; these are the first {MOST_FAULTS} faults" if len(faults) == MOST_FAULTS else ""
        raise DataError(f"{path} is damaged, and nothing of it was used: {first}{more}")


def _agreement(table: Table, labelling: Labelling) -> list[float]:
    """Return the share of trust behind each label; 1 if the file has none."""
    if labelling.label_column == Labelling().label_column and _AGREEMENT_COLUMN in table.names:
        stated = pd.to_numeric(pd.Series(table.column(_AGREEMENT_COLUMN)), errors="coerce")
        return stated.fillna(1.0).clip(0, 1).astype(float).tolist()
    return [1.0] * len(table.frame)


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
    """Return the line that a fault names, as a sort key."""
    return int(fault.split(":")[0].split()[1])


def _one_row_a_text(dataset: Dataset, places: Sequence[str], notes: list[str]) -> Dataset:
    """Merge the rows of each text by majority, and note how many there were."""
    votes = count_votes(dataset.texts, dataset.labels, dataset.agreement)
    if votes.merged:
        notes.append(
            f"merged: {_count(votes.merged)} that repeat a text; its most frequent label holds"
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


def _count(count: int) -> str:
    return f"{count} row{'s' * (count != 1)}"


def _first(places: Iterable[str]) -> str:
    """Return the first locations, such as `line 3, line 7, …`."""
    found = list(islice(places, _SHOWN + 1))
    return ", ".join(found[:_SHOWN]) + (", …" if len(found) > _SHOWN else "")


def _expect_both_labels(path: str, dataset: Dataset, fewest: int) -> None:
    """Check that both labels are left after the votes were counted."""
    counts = np.bincount(dataset.labels, minlength=2)
    if counts.min() < fewest:
        raise DataError(
            f"{path}: expected {fewest} different texts or more of each label; found {counts[1]} "
            f"relevant and {counts[0]} others"
        )


def content_hash(dataset: Dataset) -> str:
    """Return the `sha256` of a data set: of its labels and texts, in their order."""
    pairs = zip(dataset.labels, dataset.texts, strict=True)
    lines = "\n".join(f"{label},{text}" for label, text in pairs)
    return hashlib.sha256(lines.encode("utf-8", "surrogatepass")).hexdigest()

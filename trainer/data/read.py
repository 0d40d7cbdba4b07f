"""Labelled tweets: a CSV file as it comes → texts and labels, and their three parts.

The published set "Disasters on Social Media" (Figure Eight / CrowdFlower) circulates in several
encodings, all of which hold the same damage: its typographic punctuation was written in Mac Roman
as UTF-8 read as Windows-1252, and then read as Latin-1. `_repair` undoes it.
"""

import csv
import hashlib
import io
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

import ftfy
import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import GroupShuffleSplit, StratifiedGroupKFold, train_test_split

from shared.errors import DataError
from shared.model.architecture import Floats
from shared.text.lemmas import Ids, rewrite_chunk
from trainer.commands.output import readable

TEXT_COLUMN = "text"
LABEL_COLUMN = "choose_one"
POSITIVE = "Relevant"
UNDECIDED = "Can't Decide"
_AGREEMENT_COLUMN = "choose_one:confidence"
_KEYWORD_COLUMN = "keyword"
_FEWEST = 10  # rows of a class; fewer cannot be divided into three parts

_WORD = re.compile(r"\w+")
_PLACEHOLDERS = ("xxurl", "xxuser", "xxnumber")

Indices = npt.NDArray[np.intp]
Hashes = npt.NDArray[np.uint64]


class Dataset(msgspec.Struct, frozen=True):
    """Labelled texts.

    Attributes:
        name: of the file, with a replacement character for each byte that is not UTF-8.
        texts: one a row.
        labels: int8, shape (rows,), 1 for relevant.
        agreement: float32, shape (rows,): share of the annotators' trust that stands behind the
            label; 1 where the data does not say.
        sha256: of labels and texts.
        keywords: what the tweets were searched by, "" where a row does not say; none where the
            data has no such column.
    """

    name: str
    texts: list[str]
    labels: npt.NDArray[np.int8]
    agreement: npt.NDArray[np.float32]
    sha256: str
    keywords: list[str] = []

    def texts_of(self, rows: Indices) -> list[str]:
        """The texts of some rows."""
        return [self.texts[row] for row in rows]


class Parts(msgspec.Struct, frozen=True):
    """Row numbers of the three parts."""

    train: Indices
    validation: Indices
    test: Indices


def read_dataset(
    path: Path,
    text_column: str = TEXT_COLUMN,
    label_column: str = LABEL_COLUMN,
    positive: str = POSITIVE,
    keyword_column: str | None = None,
) -> Dataset:
    """Reads a labelled CSV file; rows labelled "Can't Decide" are dropped.

    What is not UTF-8 is read as Windows-1252, which has the letters of Latin-1.

    Args:
        positive: the label of relevant tweets; there must be exactly one other label.
        keyword_column: what the tweets were found by; None for `keyword`, if it is there.

    Raises:
        DataError: if the file is missing or no CSV, lacks a column, has an empty text or label,
            or its labels are not two with 10 rows at least of each.
    """
    table = _read_csv(path)
    for column in (text_column, label_column, keyword_column):
        if column is not None and column not in table.columns:
            there = ", ".join(map(repr, table.columns))
            raise DataError(f"{path}: no column {column!r}; the columns are: {there}")
    for column in (text_column, label_column):
        empty = np.flatnonzero(table[column].str.strip() == "")
        if len(empty):
            raise DataError(f"{path}: record {empty[0] + 1} has an empty {column!r}")
    table = table[table[label_column] != UNDECIDED]
    counts = table[label_column].value_counts()
    if len(counts) != 2 or positive not in counts or counts.min() < _FEWEST:
        found = ", ".join(f"{label!r} ({count})" for label, count in counts.head(5).items())
        more = f" and {len(counts) - 5} more" if len(counts) > 5 else ""
        raise DataError(
            f"{path}: expected two labels in {label_column!r}, {positive!r} and another, "
            f"{_FEWEST} records at least of each; found: {found or 'none'}{more}"
        )
    texts = table[text_column].tolist()
    labels = np.array(table[label_column] == positive, np.int8)
    agreement = np.ones(len(texts), np.float32)
    if label_column == LABEL_COLUMN and _AGREEMENT_COLUMN in table.columns:
        stated = pd.to_numeric(table[_AGREEMENT_COLUMN], errors="coerce")
        agreement = stated.fillna(1.0).clip(0, 1).to_numpy(np.float32)
    lines = "\n".join(f"{label},{text}" for label, text in zip(labels, texts, strict=True))
    sha256 = hashlib.sha256(lines.encode("utf-8", "surrogatepass")).hexdigest()
    keywords = []
    if (column := keyword_column or _KEYWORD_COLUMN) in table.columns:
        # The published set writes them as in a URL.
        keywords = [unquote(keyword).strip() for keyword in table[column]]
    return Dataset(readable(path.name), texts, labels, agreement, sha256, keywords)


def soft_targets(dataset: Dataset, rows: Indices) -> Floats:
    """The share of the annotators' trust that holds each tweet relevant: float32, shape (rows,)."""
    agreement = dataset.agreement[rows]
    return np.where(dataset.labels[rows] == 1, agreement, 1 - agreement)


def split(dataset: Dataset, validation_size: float, seed: int) -> Parts:
    """Divides the rows as the article did, and cuts validation off the training part.

    Tweets that are the same as `normalized_texts` gives them never stand on both sides of the
    validation cut, so that validation is not a memory test.

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
    """Checks that each part can be measured.

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
    """Divides rows into those to train on and a share to validate on, as `split` says.

    Raises:
        DataError: if the rows are too much alike.
    """
    hashes = normalized_hashes(dataset.texts_of(rows)).tolist()
    numbers = {key: number for number, key in enumerate(dict.fromkeys(hashes))}
    groups = np.array([numbers[key] for key in hashes])
    if groups.max() == 0:
        raise DataError(f"{dataset.name}: the texts are all alike but for links and numbers")
    cut = GroupShuffleSplit(n_splits=1, test_size=size, random_state=seed)
    train, validation = next(cut.split(rows, groups=groups))
    return rows[train], rows[validation]


def cut_test(dataset: Dataset) -> tuple[Indices, Indices]:
    """Row numbers outside and inside of the test part, which depends on the data alone.

    It is the article's: 30 % by `train_test_split(…, random_state=1024)`.
    """
    training, test = train_test_split(
        np.arange(len(dataset.texts)), test_size=0.3, random_state=1024
    )
    return training, test


def grouped_folds(dataset: Dataset, rows: Indices, count: int) -> Ids:
    """Divides rows into folds with the same share of relevant tweets, which depend on these alone.

    Tweets that are the same as `normalized_texts` gives them never stand in two folds.

    Returns:
        The fold of each row, from 0, int32, shape (rows,).

    Raises:
        DataError: if the rows are too few, or too much alike.
    """
    groups = normalized_hashes(dataset.texts_of(rows))
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


def write_rows(dataset: Dataset, rows: Indices, path: Path) -> None:
    """Writes some rows as a CSV file that `read_dataset` reads with its defaults.

    Raises:
        DataError: if the file cannot be written.
    """
    labels = np.where(dataset.labels[rows] == 1, POSITIVE, f"Not {POSITIVE}")
    table = pd.DataFrame({TEXT_COLUMN: dataset.texts_of(rows), LABEL_COLUMN: labels})
    try:
        # Quoted by need alone, a text with a carriage return would be read as two records.
        table.to_csv(path, index=False, quoting=csv.QUOTE_ALL)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error}") from error


def normalized_texts(texts: Sequence[str]) -> list[str]:
    """The texts in lower case, with the same word for every link, mention and number.

    A link in another place, or in one of two texts alone, makes them differ; see `word_hashes`.
    """
    return [" ".join(" ".join(map(rewrite_chunk, text.split())).lower().split()) for text in texts]


def normalized_hashes(texts: Sequence[str]) -> Hashes:
    """A number for each text, the same for those that `normalized_texts` makes the same.

    The first 64 bits of the SHA-256 of that, uint64, shape (texts,). Validation and folds are cut
    by them, and bundles carry them (`shared.bundle.files.TRAINED_ON`): a change of what is hashed
    here changes the published figures, and hides what older bundles were trained on.
    """
    return _hashes(normalized_texts(texts))


def word_hashes(texts: Sequence[str]) -> Hashes:
    """A number for each text, the same for texts of the same words.

    As `normalized_hashes`, but of the text without links, mentions, numbers, punctuation and "RT"
    at its beginning. Bundles carry them too. A text that is nothing else, such as a link, keeps its
    normalized hash.

    Returns:
        uint64, shape (texts,).
    """
    keys = []
    for text in normalized_texts(texts):
        words = [word for word in _WORD.findall(text) if word not in _PLACEHOLDERS]
        while words and words[0] == "rt":
            del words[0]
        keys.append(" ".join(words) or text)
    return _hashes(keys)


def _hashes(keys: Sequence[str]) -> Hashes:
    digests = (hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest() for key in keys)
    return np.array([int.from_bytes(digest[:8], "little") for digest in digests], np.uint64)


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    try:
        decoded = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        decoded = content.decode("latin-1")
        if "\x89Û" not in decoded:  # which the published set alone holds
            decoded = content.decode("sloppy-windows-1252")
    if "\0" in decoded:
        raise DataError(f"{path} is not a CSV file: it holds NUL characters")
    try:
        table = pd.read_csv(io.StringIO(decoded), dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(f"{path} is not a CSV file: {str(error).strip()}") from error
    for encoding, mark in (("latin-1", "\x89Û"), ("sloppy-windows-1252", "‰Û")):
        if mark in decoded:
            table = table.map(lambda text, encoding=encoding: _repair(text, encoding))
    return table


def _repair(text: str, encoding: str) -> str:
    """Undoes the published set's damage in one text that was read by the given encoding."""
    if text.isascii():
        return text
    try:
        text = text.encode(encoding).decode("mac_roman")
    except UnicodeEncodeError:
        return text
    for damaged, meant in (("â€_", "…"), ("â€ù", "”")):  # whose last byte cp1252 does not have
        text = text.replace(damaged, meant)
    return ftfy.fix_text(text, uncurl_quotes=False, unescape_html=False)

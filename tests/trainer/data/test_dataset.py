"""Reading labelled tweets: the published set in its encodings, own files, and refusals."""

import csv
import hashlib
import os
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import ftfy  # noqa: F401  # registers the codec sloppy-windows-1252
import numpy as np
import pytest

from shared.bundle.manifest import Labelling
from shared.errors import DataError
from tests.conftest import SAMPLE
from trainer.data.dataset import Dataset, write_rows
from trainer.data.read import read_dataset

HEADER = ("text", "choose_one")
ROWS = [(f"house {i} burns", "Relevant") for i in range(10)]
ROWS += [(f"mixtape {i} is fire", "Not Relevant") for i in range(12)]


def write_csv(path: Path, rows: Sequence[Sequence[str]], header: Sequence[str] = HEADER) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return path


@pytest.fixture(scope="module")
def published_dataset(published: Path) -> Dataset:
    return read_dataset(published)


def test_sample() -> None:
    dataset = read_dataset(SAMPLE)
    with SAMPLE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert dataset.name == SAMPLE.name
    assert dataset.texts == [row["text"] for row in rows]
    assert dataset.labels.tolist() == [int(row["choose_one"] == "Relevant") for row in rows]
    assert dataset.labels.dtype == np.int8
    assert dataset.agreement.tolist() == [1.0] * len(rows)
    assert dataset.agreement.dtype == np.float32


class TestPublishedSet:
    def test_is_the_one_whose_figures_are_known(self, published: Path) -> None:
        with published.open(encoding="latin-1", newline="") as file:
            lines = [f"{row['_unit_id']},{row['choose_one']}" for row in csv.DictReader(file)]
        digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
        assert digest == "9931891770311134d7a0214127a5771b86ba47ec2c7cadccb0d697a9be1a1896"

    def test_undecided_rows_are_dropped(self, published: Path, published_dataset: Dataset) -> None:
        assert len(published_dataset.texts) == 10860
        assert int(published_dataset.labels.sum()) == 4673
        with published.open(encoding="latin-1", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["choose_one"] != "Can't Decide"]
        labels = [int(row["choose_one"] == "Relevant") for row in rows]
        assert published_dataset.labels.tolist() == labels
        for row, text in zip(rows, published_dataset.texts, strict=True):
            assert text == row["text"] or not row["text"].isascii()
        agreement = [float(row["choose_one:confidence"]) for row in rows]
        assert published_dataset.agreement.tolist() == pytest.approx(agreement)

    def test_punctuation_is_repaired(self, published: Path, published_dataset: Dataset) -> None:
        assert b"Toke Makinwa\x89\xdb\xaas marriage crisis" in published.read_bytes()
        (text,) = [text for text in published_dataset.texts if "Toke Makinwa" in text]
        assert "Toke Makinwa’s marriage crisis" in text
        assert sum("…" in text for text in published_dataset.texts) > 300
        assert not any("\x89" in text or "‰Û" in text for text in published_dataset.texts)

    def test_few_texts_keep_letters_that_are_not_ascii(self, published_dataset: Dataset) -> None:
        def has_foreign_letter(text: str) -> bool:
            return any(not c.isascii() and "LATIN" in unicodedata.name(c, "") for c in text)

        # Read as Latin-1 and left alone, it would be more than a thousand.
        assert sum(map(has_foreign_letter, published_dataset.texts)) <= 250

    @pytest.mark.parametrize(
        "reencode",
        [
            pytest.param(lambda b: b.decode("latin-1").encode(), id="Latin-1 to UTF-8"),
            pytest.param(
                lambda b: b.decode("sloppy-windows-1252").encode(), id="Windows-1252 to UTF-8"
            ),
            pytest.param(
                lambda b: b.decode("latin-1").encode("utf-8-sig"), id="UTF-8 with byte order mark"
            ),
            # Line ends within quotes are the tweet's own. A copy that changes them, too, holds
            # other texts, and nothing is expected of it.
            pytest.param(lambda b: with_crlf_between_records(b), id="CRLF"),
        ],
    )
    def test_copies_hold_the_same_content_to_the_letter(
        self,
        published: Path,
        published_dataset: Dataset,
        tmp_path: Path,
        reencode: Callable[[bytes], bytes],
    ) -> None:
        content = published.read_bytes()
        copy = tmp_path / "copy.csv"
        copy.write_bytes(reencode(content))
        assert copy.read_bytes() != content
        dataset = read_dataset(copy)
        assert dataset.texts == published_dataset.texts
        assert dataset.labels.tolist() == published_dataset.labels.tolist()
        assert dataset.agreement.tolist() == published_dataset.agreement.tolist()
        assert dataset.sha256 == published_dataset.sha256

    def test_rows_survive_writing(self, published_dataset: Dataset, tmp_path: Path) -> None:
        write_rows(published_dataset, np.arange(10860), tmp_path / "all.csv")
        assert read_dataset(tmp_path / "all.csv").sha256 == published_dataset.sha256


def with_crlf_between_records(content: bytes) -> bytes:
    parts = content.split(b'"')  # every second part stands within quotes
    parts[::2] = [part.replace(b"\n", b"\r\n") for part in parts[::2]]
    return b'"'.join(parts)


def test_genuine_utf8_is_left_alone(tmp_path: Path) -> None:
    texts = ["café “on fire”", "it’s 🔥…", "Ûber ‰", "naïve â€™ &amp; Ã©", "日本で地震", "e\u0301"]
    path = write_csv(tmp_path / "own.csv", [*((text, "Relevant") for text in texts), *ROWS])
    assert read_dataset(path).texts[: len(texts)] == texts


def test_words_that_pandas_takes_for_missing_stay_texts(tmp_path: Path) -> None:
    texts = ["NA", "null", "nan", "None", "N/A", "-1.#IND", "007", "1e5", "TRUE", " spaced "]
    path = write_csv(tmp_path / "own.csv", [*((text, "Relevant") for text in texts), *ROWS])
    assert read_dataset(path).texts[: len(texts)] == texts


def test_own_columns_and_labels(tmp_path: Path) -> None:
    rows = [("1", "yes" if label == "Relevant" else "no", text) for text, label in ROWS]
    path = write_csv(tmp_path / "own.csv", rows, ("id", "about a disaster", "body"))
    dataset = read_dataset(path, Labelling("body", "about a disaster", ("yes",)))
    assert dataset.texts == [text for text, _ in ROWS]
    assert dataset.labels.tolist() == [1] * 10 + [0] * 12
    turned = read_dataset(path, Labelling("body", "about a disaster", ("no",)))
    assert turned.labels.tolist() == [0] * 10 + [1] * 12
    assert turned.sha256 != dataset.sha256


def test_agreement_is_clipped_and_one_where_the_data_does_not_say(tmp_path: Path) -> None:
    stated = ["0.6", "1.7", "-0.2", "", "unknown", "NaN"] + ["1"] * (len(ROWS) - 6)
    rows = [(*row, value) for row, value in zip(ROWS, stated, strict=True)]
    path = write_csv(tmp_path / "own.csv", rows, (*HEADER, "choose_one:confidence"))
    expected = [0.6, 1, 0, 1, 1, 1] + [1] * (len(ROWS) - 6)
    assert read_dataset(path).agreement.tolist() == pytest.approx(expected)


def test_agreement_of_dropped_rows_goes_with_them(tmp_path: Path) -> None:
    rows = [("who knows", "Can't Decide", "0.1"), *((*row, "0.8") for row in ROWS)]
    path = write_csv(tmp_path / "own.csv", rows, (*HEADER, "choose_one:confidence"))
    dataset = read_dataset(path)
    assert dataset.texts == [text for text, _ in ROWS]
    assert dataset.agreement.tolist() == pytest.approx([0.8] * len(ROWS))


def test_keywords_are_read_as_they_were_searched_for(tmp_path: Path) -> None:
    keywords = ["", " ablaze ", "body%20bags"] + [""] * (len(ROWS) - 3)
    rows = [(*row, keyword) for row, keyword in zip(ROWS, keywords, strict=True)]
    rows.insert(1, ("who knows", "Can't Decide", "dropped"))
    path = write_csv(tmp_path / "own.csv", rows, (*HEADER, "keyword"))
    assert read_dataset(path).keywords == ["", "ablaze", "body bags"] + [""] * (len(ROWS) - 3)
    assert read_dataset(write_csv(tmp_path / "none.csv", ROWS)).keywords == []


def test_a_name_that_is_not_utf8_is_readable(tmp_path: Path) -> None:
    path = write_csv(tmp_path / os.fsdecode(b"caf\xe9.csv"), ROWS)
    assert read_dataset(path).name == "caf\ufffd.csv"


def test_what_is_not_utf8_is_windows_1252(tmp_path: Path) -> None:
    texts = ["don’t – “panic” …", "50 € für Köln", "Þór’s ‰", "undefined \x81"]
    path = write_csv(tmp_path / "own.csv", [*((text, "Relevant") for text in texts), *ROWS])
    path.write_bytes(path.read_text("utf-8").encode("sloppy-windows-1252"))
    assert read_dataset(path).texts[: len(texts)] == texts


REFUSED = {
    "empty file": (b"", ["is empty"]),
    "header alone": (b"text,choose_one\n", ["expected two labels", "found none"]),
    "open quote": (b'text,choose_one\n"never closed,Relevant\n', ["line 2: a quote opens a field"]),
    "more fields than columns": (b"text,choose_one\na,b\nc,d,e\n", ["line 3: 3 fields"]),
    "open quote in the header": (b'text,"choose_one\na,b\n', ["is not a table: line 1: a quote"]),
    "UTF-16 that is cut off": ("text,choose_one\n".encode("utf-16")[:-1], ["is damaged UTF-16"]),
    "no text column": (
        b'tweet,choose_one,"split\nname"\na,b,c\n',
        ["no column 'text'", "'tweet', 'choose_one', 'split\\nname'"],
    ),
    "no label column": (b"text,label\na,b\n", ["no column 'choose_one'", "'text', 'label'"]),
    "a column twice": (b"text,choose_one, text\na,b,c\n", ["more than one column 'text'"]),
}


@pytest.mark.parametrize(("content", "expected"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_file(tmp_path: Path, content: bytes, expected: list[str]) -> None:
    path = tmp_path / "own.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as raised:
        read_dataset(path)
    message = str(raised.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    for part in expected:
        assert part in message


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([row for row in ROWS if row[1] == "Relevant"], ["found 'Relevant' (10)"]),
        (
            [*ROWS, ("so so", "Perhaps")],
            ["'Not Relevant' (12), 'Perhaps' (1) besides 'Relevant'; name each by --positive"],
        ),
        ([(text, label.lower()) for text, label in ROWS], ["'Relevant' and", "'relevant' (10)"]),
        (ROWS[1:], ["10 rows or more of each", "'Relevant' (9)"]),
        ([(f"tweet {i}", f"label {i}") for i in range(8)], ["and 3 more"]),
        ([*ROWS, ("no label at all",)], ["line 24: 1 field where the header has 2"]),
    ],
    ids=[
        "one class",
        "three labels",
        "unknown positive label",
        "too few rows",
        "a label a row",
        "short row",
    ],
)
def test_refused_rows(tmp_path: Path, rows: list[tuple[str, ...]], expected: list[str]) -> None:
    path = write_csv(tmp_path / "own.csv", rows)
    with pytest.raises(DataError) as raised:
        read_dataset(path)
    assert str(raised.value).startswith(str(path))
    for part in expected:
        assert part in str(raised.value)


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing\.csv cannot be read: No such file"):
        read_dataset(tmp_path / "nothing.csv")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_dataset(tmp_path)

"""Labelled files as people have them: every format, read to the same rows, or named in one line."""

import bz2
import csv
import gzip
import io
import json
import lzma
import pickle
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import feather, parquet

from shared.bundle.manifest import Labelling
from shared.errors import DataError
from trainer.data.read import DataFile, parse_data_file, read_dataset

CASES = Path(__file__).parent / "cases"

FIRE = [f"Forest fire near village {name}, people leave" for name in "abcdefghijkl"]
FINE = [f'My mixtape "{name}" is fire;\tso, so hot 🔥' for name in "abcdefghijkl"]
TEXTS = [text for pair in zip(FIRE, FINE, strict=True) for text in pair]
LABELS = ["yes", "no"] * len(FIRE)
TABLE = pd.DataFrame({"id": range(len(TEXTS)), "text": TEXTS, "label": LABELS})
YES = Labelling(label_column="label", positive=("yes",))


def delimited(delimiter: str = ",", **options: Any) -> str:
    return str(TABLE.to_csv(index=False, sep=delimiter, **options))


def excel(*frames: pd.DataFrame) -> bytes:
    file = io.BytesIO()
    with pd.ExcelWriter(file, engine="openpyxl") as writer:
        for number, frame in enumerate(frames):
            frame.to_excel(writer, sheet_name=f"Sheet {number}", index=False)
    return file.getvalue()


def arrow(write: Callable[[pa.Table, Any], None], table: pa.Table | None = None) -> bytes:
    file = io.BytesIO()
    write(pa.Table.from_pandas(TABLE) if table is None else table, file)
    return file.getvalue()


def write_stream(table: pa.Table, file: io.BytesIO) -> None:
    with pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)


def zipped(**contents: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return file.getvalue()


def label_studio() -> str:
    def result(label: str) -> list[dict[str, Any]]:
        value = {"choices": [label]}
        return [{"value": value, "from_name": "label", "to_name": "text", "type": "choices"}]

    tasks = [
        {
            "id": number,
            "data": {"text": text},
            "annotations": [
                {"id": 1, "result": result(label), "was_cancelled": False},
                {"id": 2, "result": result("no"), "was_cancelled": True},
            ],
        }
        for number, (text, label) in enumerate(zip(TEXTS, LABELS, strict=True))
    ]
    return json.dumps(tasks)


def prodigy() -> str:
    lines = [
        {
            "text": text,
            "label": "yes",
            "answer": "accept" if label == "yes" else "reject",
            "_input_hash": number,
            "_task_hash": number,
        }
        for number, (text, label) in enumerate(zip(TEXTS, LABELS, strict=True))
    ]
    ignored = {"text": "who knows", "label": "yes", "answer": "ignore", "_input_hash": -1}
    return "\n".join(map(json.dumps, [*lines, ignored]))


def json_lines(**changes: Any) -> str:
    records: list[dict[str, Any]] = TABLE.to_dict("records")  # type: ignore[assignment]
    return "".join(json.dumps({**record, **changes}) + "\n" for record in records)


READ = {
    "CSV": delimited().encode(),
    "CSV, everything quoted": delimited(quoting=csv.QUOTE_ALL).encode(),
    "CSV, CRLF": delimited(lineterminator="\r\n").encode(),
    "CSV, byte order mark": delimited().encode("utf-8-sig"),
    "CSV, UTF-16": delimited().encode("utf-16"),
    "CSV, UTF-16 without a mark": delimited().encode("utf-16-le"),
    "CSV, UTF-16 big-endian": ("\ufeff" + delimited()).encode("utf-16-be"),
    "CSV, UTF-32": delimited().encode("utf-32"),
    "CSV, semicolons": delimited(";").encode(),
    "CSV, bars": delimited("|").encode(),
    "CSV, sep=": b"sep=,\r\n" + delimited().encode(),
    "CSV, sep=;": b'"sep=;"\n' + delimited(";").encode(),
    "CSV, sep= and byte order mark": ("sep=;\n" + delimited(";")).encode("utf-8-sig"),
    "CSV, blanks around names": delimited(header=[" id", " text ", "\tlabel"]).encode(),
    "CSV, blanks around labels": delimited().replace(",yes", ", yes ").encode(),
    "CSV, blanks before quotes": delimited(quoting=csv.QUOTE_ALL).replace('","', '", "').encode(),
    "CSV, escaped quotes": delimited(doublequote=False, escapechar="\\").encode(),
    "CSV, blank lines": delimited().replace("\n", "\n\n").encode() + b"\n",
    "CSV, a delimiter at the end": delimited().replace("\n", ",\n").encode(),
    "CSV, an index": TABLE.to_csv().encode(),
    "TSV": delimited("\t").encode(),
    "TSV, no quoting": "\n".join(
        ["text\tlabel", *(f"{text}\t{label}" for text, label in zip(TEXTS, LABELS, strict=True))]
    )
    .replace(";\t", "; ")
    .encode(),
    "JSON Lines": json_lines().encode(),
    "JSON Lines, blank lines": json_lines().replace("\n", "\n\n").encode(),
    "JSON Lines, byte order mark": json_lines().encode("utf-8-sig"),
    "JSON, array": TABLE.to_json(orient="records").encode(),
    "JSON, columns": TABLE.to_json().encode(),
    "JSON, lists": json.dumps({"text": TEXTS, "label": LABELS}).encode(),
    "JSON, data": json.dumps({"version": "1", "data": TABLE.to_dict("records")}).encode(),
    "JSON, Hugging Face viewer": json.dumps(
        {"rows": [{"row_idx": i, "row": row} for i, row in enumerate(TABLE.to_dict("records"))]}
    ).encode(),
    "Label Studio": label_studio().encode(),
    "Label Studio, JSON-MIN": json.dumps(
        [
            {"id": i, "text": t, "label": label}
            for i, (t, label) in enumerate(zip(TEXTS, LABELS, strict=True))
        ]
    ).encode(),
    "doccano, JSONL": "\n".join(
        json.dumps({"id": i, "text": t, "label": [label]})
        for i, (t, label) in enumerate(zip(TEXTS, LABELS, strict=True))
    ).encode(),
    "Prodigy": prodigy().encode(),
    "Parquet": arrow(parquet.write_table),
    "Arrow file": arrow(feather.write_feather),
    "Arrow stream": arrow(write_stream),
    "Excel": excel(TABLE),
    "Excel, the second sheet": excel(pd.DataFrame({"notes": ["mine"]}), TABLE),
    "gzip": gzip.compress(delimited().encode()),
    "gzip of JSON Lines": gzip.compress(json_lines().encode()),
    "ZIP of one file": zipped(**{"train.csv": delimited(), "__MACOSX/._train.csv": ""}),
}


@pytest.mark.parametrize("content", READ.values(), ids=READ.keys())
def test_every_format_gives_the_same_rows(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "export.csv"  # the name decides nothing
    path.write_bytes(content)
    dataset = read_dataset(path, YES)
    same = [text.replace(";\t", "; ") for text in TEXTS]
    assert [text.replace(";\t", "; ") for text in dataset.texts] == same
    assert dataset.labels.tolist() == [int(label == "yes") for label in LABELS]


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("CSV, semicolons", "fields are separated by semicolons"),
        ("CSV, escaped quotes", '\\" is read as a quote within a text'),
        ("CSV, blanks before quotes", "blanks between a delimiter and a quote are ignored"),
        ("TSV, no quoting", None),
        ("Prodigy", "left out: 1 row with an empty 'label' (line 25)"),
        ("Excel, the second sheet", "2 sheets; 'Sheet 1' is read"),
        ("CSV", None),
    ],
)
def test_what_is_not_plain_is_said(tmp_path: Path, name: str, note: str | None) -> None:
    path = tmp_path / "export"
    path.write_bytes(READ[name])
    assert read_dataset(path, YES).notes == ([f"export: {note}"] if note else [])


LABELLINGS = {
    "a02-crisislex-t26.csv": Labelling(
        " Tweet Text",
        " Informativeness",
        ("Related and informative",),
        ("Related - but not informative", "Not related"),
        ("Not applicable",),
    ),
    "a04-crisismmd-informative.tsv": Labelling("tweet_text", "label", ("informative",)),
    "a08-kaggle-conflicting.csv": Labelling(label_column="target", positive=("1",)),
    "a13-empty-labels.csv": Labelling(label_column="label", positive=("relevant",)),
    "a17-semicolon.csv": Labelling(label_column="label", positive=("relevant",)),
    "a20-sep-line.csv": Labelling(label_column="label", positive=("relevant",)),
    "a26-labelstudio.json": Labelling(label_column="choice", positive=("Relevant",)),
    "a30-hf.parquet": Labelling(label_column="label", positive=("1",)),
    "a38-one-bad-byte.csv": Labelling(label_column="label", positive=("1",)),
}
EXPECTED = {
    "a02-crisislex-t26.csv": (67, 20, ["left out: 'Not applicable' (13)"]),
    "a04-crisismmd-informative.tsv": (80, 40, []),
    "a08-kaggle-conflicting.csv": (
        60,
        30,
        [
            "merged: 20 rows that repeat a text; its most frequent label holds",
            "conflicts: 20 of the repeated texts have both labels (line 2, line 3, line 4, line 5, "
            "line 6, …); left out for want of a majority: 20",
        ],
    ),
    "a13-empty-labels.csv": (
        72,
        40,
        [
            "a13-empty-labels.csv: left out: 8 rows with an empty 'label' (line 11, line 21, "
            "line 31, line 50, line 60, …)"
        ],
    ),
    "a17-semicolon.csv": (
        80,
        40,
        [
            "a17-semicolon.csv: not UTF-8; read as Windows-1252",
            "a17-semicolon.csv: fields are separated by semicolons",
        ],
    ),
    "a20-sep-line.csv": (80, 40, []),
    "a26-labelstudio.json": (80, 40, []),
    "a30-hf.parquet": (80, 40, []),
    "a38-one-bad-byte.csv": (
        100,
        52,
        [
            "a38-one-bad-byte.csv: UTF-8 but for bytes in line 2 (0xE9); only these are read as "
            "Windows-1252"
        ],
    ),
}


@pytest.mark.parametrize("name", LABELLINGS)
def test_real_files(name: str) -> None:
    dataset = read_dataset(CASES / name, LABELLINGS[name])
    rows, relevant, notes = EXPECTED[name]
    assert (len(dataset.texts), int(dataset.labels.sum())) == (rows, relevant)
    assert dataset.notes == notes
    assert not any("Ã" in text or "â€" in text for text in dataset.texts)


def test_one_bad_byte_spoils_nothing() -> None:
    name = "a38-one-bad-byte.csv"
    texts = read_dataset(CASES / name, LABELLINGS[name]).texts
    assert all(text.endswith("café “flood” 🔥") for text in texts)


def test_two_labels_of_a_text_are_named() -> None:
    with pytest.raises(DataError) as raised:
        read_dataset(
            CASES / "a23-doccano.csv", Labelling(label_column="label", positive=("relevant",))
        )
    assert "'relevant#urgent' is 2 labels of one text, joined by #" in str(raised.value)
    labelling = Labelling(label_column="label", positive=("relevant", "relevant#urgent"))
    assert read_dataset(CASES / "a23-doccano.csv", labelling).labels.sum() == 40


def sqlite(path: Path) -> bytes:
    with sqlite3.connect(path / "x.db") as database:
        TABLE.to_sql("tweets", database)
    database.close()
    return (path / "x.db").read_bytes()


NAMED: dict[str, tuple[bytes | Callable[[Path], bytes], str]] = {
    "old Excel": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is an Excel file that is old (.xls) or lo"),
    "pickle": (pickle.dumps(TABLE), "is a Python pickle"),
    "SQLite": (sqlite, "is an SQLite database"),
    "PDF": (b"%PDF-1.7\n", "is a PDF; export it as CSV"),
    "web page": (b"<!DOCTYPE html><html>sign in</html>", "is a web page; download the file itself"),
    "picture": (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "is a picture"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "run git lfs pull"),
    "bzip2": (bz2.compress(b"text,label\n"), "compressed by bzip2; unpack it first"),
    "xz": (lzma.compress(b"text,label\n"), "compressed by xz; unpack it first"),
    "ZIP of several": (zipped(a="text", b="text"), "a ZIP archive of 2 files; unpack it first"),
    "damaged ZIP": (b"PK\x03\x04 and no more", "a ZIP archive that cannot be read"),
    "OpenDocument": (zipped(mimetype="application/vnd.oasis", content=""), "save it as .xlsx"),
    "Word": (zipped(**{"word/document.xml": ""}), "is a Word document"),
    "damaged Excel": (zipped(**{"xl/workbook.xml": "<"}), "an Excel file that cannot be read"),
    "damaged Parquet": (b"PAR1 and no more", "a damaged Parquet or Arrow file"),
    "cut gzip": (gzip.compress(delimited().encode())[:-20], "is a damaged gzip file"),
    "empty": (b"", "is empty"),
    "empty gzip": (gzip.compress(b" \n"), "is empty"),
    "NUL": (b"text,label\na\0b,1\n", "is not a text file: it holds NUL characters"),
    "JSON of something else": (b'["secret text", "another"]', "not an array of objects"),
    "JSON of nothing": (b"[]", "not an array of objects"),
    "cut JSON": (label_studio()[:-50].encode(), "is JSON that cannot be read"),
}


@pytest.mark.parametrize(("content", "expected"), NAMED.values(), ids=NAMED.keys())
def test_what_is_not_read_is_named_in_a_short_line(
    tmp_path: Path, content: bytes | Callable[[Path], bytes], expected: str
) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(content(tmp_path) if callable(content) else content)
    with pytest.raises(DataError) as raised:
        read_dataset(path, YES)
    message = str(raised.value)
    assert message.startswith(f"{path} ")
    assert expected in message
    assert "\n" not in message
    assert len(message) < len(str(path)) + 100
    assert "secret" not in message


def test_saved_hugging_face_dataset_is_named(tmp_path: Path) -> None:
    (tmp_path / "dataset_info.json").write_text("{}")
    with pytest.raises(DataError, match=r"write it by Dataset\.to_parquet\(FILE\)"):
        read_dataset(tmp_path, YES)


KNOWN = {
    "Tweet Text,Informativeness": "it looks like CrisisLexT26: try --text-column 'Tweet Text'",
    "tweet id,tweet,label": "it looks like CrisisLexT6: try --text-column tweet",
    "tweet_id,tweet_text,class_label": "it looks like HumAID or CrisisBench",
    "id,keyword,location,text,target": "Kaggle's train.csv: try --label-column target --positive 1",
    "id,keyword,location,text": "Kaggle's test.csv, which has no labels: use train.csv",
    "annotation_id,annotator,choice,text,lead_time": "it looks like Label Studio",
    "text,label": "the columns are: 'text', 'label'; try --label-column label",
}


@pytest.mark.parametrize(("header", "expected"), KNOWN.items(), ids=KNOWN.keys())
def test_well_known_columns_are_recognised(tmp_path: Path, header: str, expected: str) -> None:
    path = tmp_path / "known.csv"
    path.write_text(f"{header}\n" + ",".join("x" for _ in header.split(",")) + "\n")
    with pytest.raises(DataError) as raised:
        read_dataset(path)
    assert expected in str(raised.value)


def test_no_text_of_a_file_without_header_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "bare.csv"
    path.write_text(delimited(header=False))
    with pytest.raises(DataError) as raised:
        read_dataset(path, YES)
    assert "the first row holds texts, expected names of columns" in str(raised.value)
    assert "Forest" not in str(raised.value)


def test_numbers_and_truth_values_of_typed_files_are_labels(tmp_path: Path) -> None:
    pairs: list[list[Any]] = [[1, 0], [1.0, 0.0], [True, False]]
    for number, values in enumerate(pairs):
        frame = pd.DataFrame({"text": TEXTS, "label": values * len(FIRE)})
        positive = "true" if values[0] is True else "1"
        for suffix, content in (
            ("parquet", arrow(parquet.write_table, pa.Table.from_pandas(frame))),
            ("xlsx", excel(frame)),
            ("jsonl", frame.to_json(orient="records", lines=True).encode()),
        ):
            path = tmp_path / f"{number}.{suffix}"
            path.write_bytes(content)
            dataset = read_dataset(path, Labelling(label_column="label", positive=(positive,)))
            assert dataset.labels.tolist() == [1, 0] * len(FIRE)


def test_names_of_hugging_face_labels_stand_for_their_numbers(tmp_path: Path) -> None:
    features = {"label": {"names": ["no", "yes"], "_type": "ClassLabel"}}
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    table = pa.table({"text": TEXTS, "label": [1, 0] * len(FIRE)}).replace_schema_metadata(metadata)
    path = tmp_path / "train.parquet"
    path.write_bytes(arrow(parquet.write_table, table))
    for positive in ("yes", "1"):
        dataset = read_dataset(path, Labelling(label_column="label", positive=(positive,)))
        assert dataset.labels.tolist() == [1, 0] * len(FIRE)


def test_errors_of_excel_are_no_texts(tmp_path: Path) -> None:
    frame = TABLE.copy()
    frame.loc[3, "text"] = "#NAME?"  # which a text that begins with "=" becomes
    (tmp_path / "own.xlsx").write_bytes(excel(frame))
    notes = read_dataset(tmp_path / "own.xlsx", YES).notes
    assert notes == ["own.xlsx: left out: 1 row with an empty 'text' (row 5)"]
    (tmp_path / "own.csv").write_text(frame.to_csv(index=False))
    with pytest.raises(DataError, match="line 5: an error of Excel instead of a text"):
        read_dataset(tmp_path / "own.csv", YES)


def test_several_files_are_one_data_set(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text(TABLE[:12].to_csv(index=False))
    other = TABLE[12:].rename(columns={"text": "tweet", "label": "class"})
    (tmp_path / "two.jsonl").write_text(other.to_json(orient="records", lines=True))
    files = [
        DataFile(tmp_path / "one.csv"),
        parse_data_file(f"{tmp_path / 'two.jsonl'}:text=tweet,label=class"),
    ]
    dataset = read_dataset(files, YES)
    assert dataset.name == "one.csv + two.jsonl"
    assert dataset.labelling == YES
    assert read_dataset(files[::-1], YES).labelling.text_column == "tweet"
    assert dataset.texts == TEXTS
    assert dataset.labels.tolist() == [int(label == "yes") for label in LABELS]


def test_header_of_files_that_were_put_together_is_no_record(tmp_path: Path) -> None:
    path = tmp_path / "both.csv"
    path.write_text(TABLE[:12].to_csv(index=False) + TABLE[12:].to_csv(index=False))
    dataset = read_dataset(path, YES)
    assert dataset.texts == TEXTS
    assert dataset.notes == ["both.csv: the header is repeated in line 14, and was skipped"]


def test_places_in_several_files_name_the_file(tmp_path: Path) -> None:
    for name in ("one.csv", "two.csv"):
        (tmp_path / name).write_text(TABLE.to_csv(index=False))
    other = TABLE.assign(label=["no", *LABELS[1:]])
    (tmp_path / "two.csv").write_text(other.to_csv(index=False))
    dataset = read_dataset([DataFile(tmp_path / "one.csv"), DataFile(tmp_path / "two.csv")], YES)
    assert dataset.notes == [
        "merged: 24 rows that repeat a text; its most frequent label holds",
        "conflicts: 1 of the repeated texts have both labels (one.csv line 2); left out for want "
        "of a majority: 1",
    ]


def test_columns_of_a_file_are_told_from_its_name(tmp_path: Path) -> None:
    path = tmp_path / "odd:text=a"
    assert parse_data_file("a:b.csv") == DataFile(Path("a:b.csv"))
    assert parse_data_file("a.csv:label=my class") == DataFile(Path("a.csv"), None, "my class")
    assert parse_data_file("a.csv:label=b,text=c") == DataFile(Path("a.csv"), "c", "b")
    path.write_text("x")
    assert parse_data_file(str(path)) == DataFile(path)

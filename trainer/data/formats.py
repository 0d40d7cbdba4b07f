"""Labelled files of many formats → a table. The content shows which format a file has.

CSV and its kin, JSON Lines, JSON, Parquet, Arrow and Excel are read, gzip and ZIP are unpacked.
Other files are named, with what to do.
"""

import gzip
import io
import json
import math
import re
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd

from shared.errors import DataError
from trainer.data.delimited import MOST_FAULTS, delimiter_name, read_delimited
from trainer.data.encodings import Decoded, decode

_EXPORT = "export it as CSV"
_NAMED = (
    (b"%PDF", "a PDF", _EXPORT),
    (b"\xd0\xcf\x11\xe0", "an Excel file that is old (.xls) or locked", "save it as .xlsx or CSV"),
    (b"SQLite format 3\0", "an SQLite database", "export the table as CSV"),
    (b"\x80\x03", "a Python pickle, which could run code", "write it by to_parquet or to_csv"),
    (b"\x80\x04", "a Python pickle, which could run code", "write it by to_parquet or to_csv"),
    (b"\x80\x05", "a Python pickle, which could run code", "write it by to_parquet or to_csv"),
    (b"\x93NUMPY", "a NumPy array", "write the texts and labels as CSV"),
    (b"\x89HDF", "an HDF5 file", _EXPORT),
    (b"Obj\x01", "an Avro file", "export it as JSON Lines or Parquet"),
    (b"ORC", "an ORC file", "export it as Parquet"),
    (b"BZh", "compressed by bzip2", "unpack it first"),
    (b"\xfd7zXZ", "compressed by xz", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed by Zstandard", "unpack it first"),
    (b"7z\xbc\xaf", "a 7-Zip archive", "unpack it first"),
    (b"Rar!", "a RAR archive", "unpack it first"),
    (b"\x89PNG", "a picture", _EXPORT),
    (b"\xff\xd8\xff", "a picture", _EXPORT),
    (b"GIF8", "a picture", _EXPORT),
    (b"{\\rtf", "an RTF document", _EXPORT),
    (b"version https://git-lfs", "a pointer to a file that Git LFS keeps", "run git lfs pull"),
    (b"<!DOCTYPE", "a web page", "download the file itself"),
    (b"<!doctype", "a web page", "download the file itself"),
    (b"<html", "a web page", "download the file itself"),
    (b"<?xml", "XML", _EXPORT),
)  # fmt: skip
"""How unsupported files begin: what they are, and what to do."""


_HALVES = re.compile("[\ud800-\udfff]")  # surrogates: JSON can contain lone ones


class Table(msgspec.Struct, frozen=True):
    """The content of a file.

    Attributes:
        frame: its columns, without blanks around their names. The index says where each row is, in
            the unit that the index is named by: `line`, `record` or `row`.
        delimiter: between the fields of a line; a comma if there is none.
        categories: column → the names of its numbers.
        faults: what is wrong with it, such as `line 7: …`. If there are any, `frame` is incomplete.
        notes: messages for the user about reading it.
        decoded: how the text was decoded, if it was text.
    """

    frame: pd.DataFrame
    delimiter: str = ","
    categories: dict[str, list[str]] = {}
    faults: list[str] = []
    notes: list[str] = []
    decoded: Decoded | None = None

    @property
    def names(self) -> list[str]:
        """The names of its columns."""
        return [str(name) for name in self.frame.columns]

    def column(self, name: str) -> list[str]:
        """Return the values of a column as text, with "" for missing ones."""
        # JSON may contain lone surrogates, which no encoding can write.
        values = [_HALVES.sub("\ufffd", as_text(value)) for value in self.frame[name]]
        if self.decoded and self.decoded.damaged_by:
            return [self.decoded.repair(value) for value in values]
        return values

    def where(self, row: int) -> str:
        """Return the row's location in its file, such as `line 7`."""
        return f"{self.frame.index.name} {self.frame.index[row]}"


def read_table(path: Path, wanted: Sequence[str]) -> Table:
    """Read a file of any format, by its content.

    Args:
        wanted: names of the columns that are expected.

    Raises:
        DataError: if it cannot be read, or its format is not supported.
    """
    try:
        content = path.read_bytes()
    except IsADirectoryError as error:
        what = f"cannot be read: {error.strerror}"
        if (path / "dataset_info.json").exists() or (path / "state.json").exists():
            what = "is a saved Hugging Face dataset; write it by Dataset.to_parquet(FILE)"
        raise DataError(f"{path} {what}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    try:
        return _table_of(content, wanted)
    except DataError as error:
        raise DataError(f"{path} {error}") from error


def _table_of(content: bytes, wanted: Sequence[str]) -> Table:
    if content.startswith(b"\x1f\x8b"):
        try:
            return _table_of(gzip.decompress(content), wanted)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"is a damaged gzip file: {error}") from error
    if content.startswith(b"PK\x03\x04"):
        return _unzip(content, wanted)
    if content.startswith((b"PAR1", b"ARROW1", b"\xff\xff\xff\xff")):
        return _read_arrow(content)
    for beginning, what, remedy in _NAMED:
        if content.startswith(beginning):
            raise DataError(f"is {what}; {remedy}")
    if content[257:262] == b"ustar":
        raise DataError("is a tar archive; unpack it first")
    decoded = decode(content)
    text = decoded.text.lstrip("\ufeff")
    if not text.strip():
        raise DataError("is empty")
    if text.lstrip()[0] in "[{":
        table = _read_json(text)
    else:
        records = read_delimited(text, wanted)
        notes = list(records.notes)
        if records.delimiter not in ",\t":
            notes.append(f"fields are separated by {delimiter_name(records.delimiter)}")
        table = Table(records.table(), records.delimiter, {}, records.faults, notes)
    return msgspec.structs.replace(table, notes=decoded.notes + table.notes, decoded=decoded)


def _unzip(content: bytes, wanted: Sequence[str]) -> Table:
    """Read an Excel file, or the only file of an archive."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = [n for n in archive.namelist() if not n.endswith("/") and "__MACOSX" not in n]
            if "xl/workbook.xml" in names:
                return _read_excel(content, wanted)
            if "word/document.xml" in names:
                raise DataError(f"is a Word document; {_EXPORT}")
            if names[:1] == ["mimetype"]:
                raise DataError("is an OpenDocument file; save it as .xlsx or CSV")
            if len(names) != 1:
                raise DataError(f"is a ZIP archive of {len(names)} files; unpack it first")
            return _table_of(archive.read(names[0]), wanted)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise DataError(f"is a ZIP archive that cannot be read: {error}") from error


def _read_excel(content: bytes, wanted: Sequence[str]) -> Table:
    """Read the sheet that holds the wanted columns, or the first one."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about styles and the like, which are not read
            sheets = pd.read_excel(
                io.BytesIO(content),
                sheet_name=None,
                dtype=object,
                keep_default_na=False,
                engine="openpyxl",
            )
    except Exception as error:  # openpyxl raises errors of many classes
        raise DataError(f"is an Excel file that cannot be read: {type(error).__name__}") from error
    for frame in sheets.values():
        frame.columns = pd.Index([str(name).strip() for name in frame.columns])
        frame.index = pd.Index(range(2, len(frame) + 2), name="row")
    name, frame = max(sheets.items(), key=lambda item: len(set(wanted) & set(item[1].columns)))
    notes = [f"{len(sheets)} sheets; {name!r} is read"] if len(sheets) > 1 else []
    return Table(frame, notes=notes)


def _read_arrow(content: bytes) -> Table:
    """Read Parquet and the two formats of Arrow (Feather, and what `datasets` saves)."""
    import pyarrow as pa
    from pyarrow import ipc, parquet

    source = pa.BufferReader(content)
    try:
        if content.startswith(b"PAR1"):
            table = parquet.read_table(source)
        elif content.startswith(b"ARROW1"):
            table = ipc.open_file(source).read_all()
        else:
            table = ipc.open_stream(source).read_all()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"is a damaged Parquet or Arrow file: {type(error).__name__}") from error
    frame = table.to_pandas()
    if frame.index.name is not None or frame.index.nlevels > 1:
        frame = frame.reset_index()
    frame.columns = pd.Index([str(name).strip() for name in frame.columns])
    frame.index = pd.Index(range(1, len(frame) + 1), name="row")
    return Table(frame, categories=_categories((table.schema.metadata or {}).get(b"huggingface")))


def _categories(metadata: bytes | None) -> dict[str, list[str]]:
    """Return the label names that the package `datasets` stores in the schema (`ClassLabel`)."""
    try:
        features = json.loads(metadata or b"{}")["info"]["features"]
        return {name: list(kind["names"]) for name, kind in features.items() if "names" in kind}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _read_json(text: str) -> Table:
    """Read JSON Lines, an array of objects, or an object that holds one."""
    try:
        records, unit = _records_of(json.loads(text)), "record"
        faults: list[str] = []
    except ValueError:  # more than one value
        unit = "line"
        records, faults = _read_json_lines(text)
    except RecursionError as error:
        raise DataError("is JSON that is nested too deeply") from error
    except (AttributeError, KeyError, TypeError) as error:
        raise DataError("is JSON of an unknown form; export it as CSV or JSON Lines") from error
    places = [where for where, _ in records]
    if not records and not faults:
        raise DataError("is JSON without any record; expected objects with a text and a label")
    objects = [record for _, record in records]
    frame = pd.json_normalize(objects) if objects else pd.DataFrame()
    frame.columns = pd.Index([str(name).strip() for name in frame.columns])
    frame.index = pd.Index(places, name=unit)
    return Table(frame, faults=faults)


def _read_json_lines(text: str) -> tuple[list[tuple[int, dict[str, Any]]], list[str]]:
    records: list[tuple[int, dict[str, Any]]] = []
    faults: list[str] = []
    for number, line in enumerate(io.StringIO(text), 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            faults.append(f"line {number}: not JSON")
        else:
            if isinstance(found, dict):
                records += [(number, record) for record in _flatten(found)]
            else:
                faults.append(f"line {number}: JSON, but not an object")
        if len(faults) == MOST_FAULTS:
            break
    if not records:
        raise DataError("is JSON that cannot be read; expected one object a line, or an array")
    return records, faults


def _records_of(found: Any) -> list[tuple[int, dict[str, Any]]]:
    """Return the objects of a JSON document, each with its number from 1."""
    if isinstance(found, dict):
        lists = [value for value in found.values() if _is_objects(value)]
        if len(lists) == 1:  # {"data": […]}, or {"rows": […]} of the Hugging Face viewer
            found = lists[0]
        elif found and all(isinstance(value, dict) for value in found.values()):
            found = pd.DataFrame(found).to_dict("records")  # pandas' to_json
        elif found and all(isinstance(value, list) for value in found.values()):
            found = _transpose(found)
        else:
            found = [found]
    if not _is_objects(found):
        raise DataError("is JSON, but not an array of objects; export it as CSV or JSON Lines")
    return [(number, record) for number, one in enumerate(found, 1) for record in _flatten(one)]


def _transpose(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    if len({len(values) for values in columns.values()}) != 1:
        raise DataError("is JSON whose lists differ in length; export it as CSV or JSON Lines")
    rows = zip(*columns.values(), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _is_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) for v in value)


def _flatten(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of a record. A Label Studio task has one for each annotation."""
    data, annotations = record.get("data"), record.get("annotations", record.get("completions"))
    if isinstance(data, dict) and isinstance(annotations, list):
        labels = [_choices(one) for one in annotations if not one.get("was_cancelled")]
        return [{**data, **one} for one in labels or [{}]]
    if "_input_hash" in record:
        return [_answered(record)]
    if set(record) >= {"row_idx", "row"} and isinstance(record["row"], dict):
        return [record["row"]]
    return [record]


def _answered(record: dict[str, Any]) -> dict[str, Any]:
    """Apply Prodigy's answer to a record: a rejected label is "not …", an ignored text has none."""
    answer = record.get("answer")
    if answer == "accept":
        return record
    rejected = answer == "reject" and isinstance(record.get("label"), str)
    label = f"not {record['label']}" if rejected else None
    return {**record, "label": label, "accept": None}


def _choices(annotation: dict[str, Any]) -> dict[str, Any]:
    """Return the annotator's choices by the name of the control (`from_name`)."""
    return {
        result["from_name"]: result["value"]["choices"]
        for result in annotation.get("result", ())
        if "choices" in result.get("value", {})
    }


def as_text(value: Any) -> str:
    """Return a table's value as text. Join several by `#`, like doccano."""
    if isinstance(value, str):
        return value
    if value is None or value is pd.NA or value is pd.NaT:
        return ""
    if isinstance(value, float):
        if math.isnan(value):
            return ""
        return str(int(value)) if value.is_integer() else str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, dict):
        return as_text(value["choices"]) if set(value) == {"choices"} else json.dumps(value)
    if hasattr(value, "tolist"):  # of NumPy
        return as_text(value.tolist())
    if isinstance(value, list | tuple):
        return "#".join(map(as_text, value))
    return str(value).lower() if isinstance(value, bool) else str(value)

"""CSV, TSV and similar: text → records with their lines, or the faults with their lines.

Python's `csv` reads the records: unlike pandas, it is strict about quotes and knows the line.
"""

import csv
import io
import re
from collections.abc import Iterator, Sequence

import msgspec
import pandas as pd

MOST_FAULTS = 10
"""Most faults that are reported for a file."""

_DELIMITERS = (",", ";", "\t", "|")
_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_SEP_LINE = re.compile(r'"?sep=(.)"?', re.IGNORECASE)  # written for Excel
_LONGEST = 131_072  # characters of a field; `csv` has a lower limit by default


class Records(msgspec.Struct, frozen=True):
    """The records of a file.

    Attributes:
        header: names of the columns, without blanks around them.
        rows: the fields of each record, as many as the header has.
        lines: the line that each record begins in, from 1.
        faults: what is wrong, such as `line 7: …`. If there are any, `rows` is incomplete.
        delimiter: between the fields.
        notes: messages for the user about reading the file.
    """

    header: list[str]
    rows: list[list[str]]
    lines: list[int]
    faults: list[str]
    delimiter: str
    notes: list[str] = []

    def table(self) -> pd.DataFrame:
        """Return the records as a table of strings, whose index is `lines`."""
        return pd.DataFrame(
            self.rows,
            index=pd.Index(self.lines, name="line"),
            columns=pd.Index(self.header),
            dtype=object,
        )


def read_delimited(text: str, wanted: Sequence[str]) -> Records:
    r"""Read the records of a file with any delimiter.

    The delimiter is the one with which the first line has the wanted columns, or the most columns.
    A file that is not well-formed by RFC 4180 is read by the rules of other programs, if it is
    well-formed by these: blanks before a quote, `\"` for a quote, TSV without quoting.

    Args:
        wanted: names of expected columns. Columns after the last of them may be missing.
    """
    lines = list(io.StringIO(text, newline=""))  # split only at line ends, which are kept
    skipped = 0
    delimiters: Sequence[str] = _DELIMITERS
    if lines and (found := _SEP_LINE.fullmatch(lines[0].strip("\r\n"))):
        delimiters, skipped = (found[1],), 1
    delimiter = max(delimiters, key=lambda d: _fit(lines[skipped:], d, wanted))
    records = _read(lines, skipped, delimiter, wanted)
    if not records.faults:
        return records
    for note, (others, options) in _others(lines, delimiter).items():
        other = _read(others, skipped, delimiter, wanted, **options)
        if not other.faults:
            return msgspec.structs.replace(other, notes=[note, *other.notes])
    return records


def _others(lines: list[str], delimiter: str) -> dict[str, tuple[list[str], dict[str, bool | int]]]:
    """Return other ways to read the lines, by the note that each needs."""
    ways: dict[str, tuple[list[str], dict[str, bool | int]]] = {
        "blanks between a delimiter and a quote are ignored": (lines, {"skipinitialspace": True})
    }
    if any('\\"' in line for line in lines):
        escaped = [line.replace('\\"', '""') for line in lines]
        ways['\\" is read as a quote within a text'] = (escaped, {})
    if delimiter == "\t":
        ways["quotes are read as part of the text"] = (lines, {"quoting": csv.QUOTE_NONE})
    return ways


def _fit(lines: list[str], delimiter: str, wanted: Sequence[str]) -> tuple[int, int]:
    """Count the wanted columns, and all columns, in the first line with this delimiter."""
    header = _strip(next((r for r in csv.reader(lines[:100], delimiter=delimiter) if r), []))
    return len(set(wanted) & set(header)), len(header)


def _strip(fields: Sequence[str]) -> list[str]:
    return [field.strip() for field in fields]


def _read(
    lines: list[str],
    skipped: int,
    delimiter: str,
    wanted: Sequence[str],
    **options: bool | int,
) -> Records:
    """Read all records. After a bad one, continue with the next line."""
    header: list[str] = []
    needed = 0
    rows, numbers, faults, notes = [], [], [], []
    for start, stop, record in _records(lines, skipped, delimiter, options):
        if isinstance(record, str):
            faults.append(f"line {start}: {record}")
        elif not header:
            header = _strip(record)
            while header and not header[-1]:  # lines may end with a delimiter
                header.pop()
            needed = 1 + max((header.index(name) for name in wanted if name in header), default=-1)
        elif _strip(record)[: len(header)] == header:  # of concatenated files
            notes.append(f"the header is repeated in line {start}, and was skipped")
        elif fault := _fault(record, header, needed, start, stop):
            faults.append(f"line {start}: {fault}")
        else:
            rows.append((record + [""] * len(header))[: len(header)])
            numbers.append(start)
        if len(faults) == MOST_FAULTS:
            break
    return Records(header, rows, numbers, faults, delimiter, notes)


def _fault(record: list[str], header: list[str], needed: int, start: int, stop: int) -> str | None:
    """Return what is wrong with the fields of a record, or None."""
    count = len(record)
    while count > len(header) and not record[count - 1].strip():
        count -= 1
    where = "" if stop == start else f", to line {stop},"
    if count > len(header):
        return f"{count} fields{where} where the header has {len(header)}; is a text not quoted?"
    if len(record) < needed:
        return (
            f"{len(record)} field{'s' * (len(record) != 1)}{where} where the header has "
            f"{len(header)}; is a line break not quoted?"
        )
    if any(field.startswith(' "') and field.endswith('"') for field in record):
        return "a blank stands before a quote"
    return None


def _records(
    lines: list[str], skipped: int, delimiter: str, options: dict[str, bool | int]
) -> Iterator[tuple[int, int, list[str] | str]]:
    """Yield first and last line, from 1, and fields of each record, or what is wrong with it."""
    at = skipped

    def read_on() -> Iterator[str]:
        nonlocal at
        while at < len(lines):
            at += 1
            yield lines[at - 1]

    while at < len(lines):
        start = at + 1
        reader = csv.reader(read_on(), delimiter=delimiter, strict=True, **options)  # type: ignore[arg-type]
        try:
            for record in reader:
                if record and (len(record) > 1 or record[0].strip()):
                    yield start, at, record
                start = at + 1
        except csv.Error as error:
            yield start, at, _explain(lines[start - 1 : at], start, at, str(error))
            at = start  # the next line may begin a record


def _explain(lines: list[str], start: int, stop: int, error: str) -> str:
    """Return what is wrong with the quotes of these lines, given the error of `csv`."""
    if '\\"' in lines[-1] and stop == start:
        return '\\" does not escape a quote in CSV; write ""'
    if sum(map(len, lines)) > _LONGEST:
        return f"a field of more than {_LONGEST} characters; is a quote not closed?"
    if error == "unexpected end of data":
        return "a quote opens a field that never ends; write a quote within a text twice"
    if stop > start:
        return (
            f"a quote opens a field that goes on to line {stop}; write a quote within a text twice"
        )
    return "a quote ends a field that goes on; write a quote within a text twice"


def delimiter_name(delimiter: str) -> str:
    """Return the delimiter in words."""
    return _NAMES.get(delimiter, repr(delimiter))

"""Ingest: publish the records of files into the input topic, and continue interrupted runs.

    file ─decompress─▶ lines ─chunk─▶ one transaction each ─▶ input topic
                                 └─▶ position file

The position file is written after its chunk is committed. After a kill between the two, the next
run sends that one chunk again; no record is ever lost. Standard input has no position.
"""

import bz2
import gzip
import hashlib
import io
import lzma
import os
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol, cast

import msgspec
import zstandard

from shared.errors import DataError
from worker.kafka.publisher import Publisher
from worker.kafka.records import Message
from worker.settings import Settings

STANDARD_INPUT = Path("-")
MAX_BYTES = 1_000_000
"""Largest record, with room for Kafka's overhead: by default, brokers take messages of 1 MiB."""
_CHUNK_RECORDS = 1000
_CHUNK_BYTES = 4 << 20
_CHUNKS_A_SECOND = 10
"""Chunks per second if there is a rate, so that records are spread over the second."""
_FINGERPRINT_BYTES = 1 << 16
_ARCHIVE_BYTES = 1 << 30
"""The largest JSON array in bytes. It is parsed as a whole."""
_DAMAGE = (EOFError, OSError, zlib.error, lzma.LZMAError, zstandard.ZstdError)
"""The errors of the decompressors."""


class Counts(msgspec.Struct):
    """The outcome of a file's lines.

    Attributes:
        sent: records that this run published.
        before: lines that an earlier run has sent.
        blank: lines without content.
        too_large: numbers of lines that are longer than `MAX_BYTES`.
    """

    sent: int = 0
    before: int = 0
    blank: int = 0
    too_large: list[int] = []


class Position(msgspec.Struct, frozen=True):
    """How much of a file has been sent.

    Attributes:
        file: its absolute path, for people.
        fingerprint: SHA-256 of its beginning, to recognise another file with this name.
        fingerprint_bytes: the size of this beginning.
        lines: that were sent.
    """

    file: str
    fingerprint: str
    fingerprint_bytes: int
    lines: int


class Publishes(Protocol):
    """The part of `worker.kafka.publisher.Publisher` that ingesting needs."""

    def publish(self, messages: Iterable[Message]) -> object:
        """Publish messages, and wait until Kafka has them."""


class Pace:
    """Limits the rate.

    Args:
        rate: records per second; None: as fast as possible.
    """

    def __init__(
        self,
        rate: float | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate, self._clock, self._sleep = rate, clock, sleep
        self._due = clock()
        share = _CHUNK_RECORDS if rate is None else int(rate / _CHUNKS_A_SECOND)
        self.chunk_records = max(1, min(_CHUNK_RECORDS, share))

    def wait(self, records: int) -> None:
        """Wait until this many records may be sent. After a delay there is no burst."""
        if self._rate is None:
            return
        now = self._clock()
        if self._due > now:
            self._sleep(self._due - now)
        self._due = max(self._due, now) + records / self._rate


def ingest(
    settings: Settings,
    path: Path,
    pace: Pace,
    *,
    restart: bool,
    progress: Callable[[int, int | None, int], None],
) -> Counts:
    """Publish the records of one file.

    Args:
        path: JSON Lines, a JSON array or a file of X's archive, perhaps compressed with gzip, zstd,
            bzip2 or xz; `-` for standard input.
        restart: send all of it again.
        progress: called with the bytes that were read, the file's size (None if unknown), and the
            records that were sent.

    Raises:
        DataError: if the file cannot be read, or is damaged. The records before the damage are
            sent.
        DependencyError: from Kafka.
    """
    name = _name_of(settings, path)
    transactions = settings.delivery == "exactly-once"
    transactional_id = f"{settings.group_id}-ingest-{name}" if transactions else None
    with (
        _opened(path) as raw,
        closing(Publisher(settings, transactional_id)) as publisher,
    ):
        position_file = Path(settings.cache).expanduser() / "ingest" / f"{name}.json"
        return ingest_file(
            path, raw, publisher, settings, pace, position_file, restart=restart, progress=progress
        )


def ingest_file(
    path: Path,
    raw: io.BufferedReader,
    publisher: Publishes,
    settings: Settings,
    pace: Pace,
    position_file: Path,
    *,
    restart: bool,
    progress: Callable[[int, int | None, int], None],
) -> Counts:
    """Publish the records of an open file; see `ingest`."""
    counts = Counts()
    is_file = path != STANDARD_INPUT
    size = os.fstat(raw.fileno()).st_size if is_file else None
    fingerprint, fingerprint_bytes = _fingerprint(raw) if is_file else ("", 0)
    if is_file and not restart:
        counts.before = _lines_before(position_file, raw)
    number = 0
    for lines in _chunks(_lines(path, raw, settings.input_format != "text"), pace.chunk_records):
        values = []
        for number, line in lines:
            if number <= counts.before:
                continue
            if line is None:
                counts.too_large.append(number)
            elif line:
                values.append(line)
            else:
                counts.blank += 1
        if values:
            pace.wait(len(values))
            publisher.publish(Message(settings.input_topic, None, value, []) for value in values)
            counts.sent += len(values)
        if is_file and number > counts.before:
            _save(
                position_file,
                Position(str(path.absolute()), fingerprint, fingerprint_bytes, number),
            )
        progress(raw.tell() if is_file else 0, size, counts.sent)
    return counts


def report(settings: Settings, path: Path, counts: Counts) -> str:
    """Describe the outcome of a file in a line."""
    name = "standard input" if path == STANDARD_INPUT else str(path)
    parts = [f"{name}: {counts.sent:,} records sent to {settings.input_topic}"]
    if counts.before:
        parts.append(f"{counts.before:,} lines were sent before (--restart sends them again)")
    if counts.blank:
        parts.append(f"{counts.blank:,} blank lines")
    if counts.too_large:
        shown = ", ".join(map(str, counts.too_large[:5])) + (", …" * (len(counts.too_large) > 5))
        many = len(counts.too_large)
        parts.append(f"{many:,} lines of more than {MAX_BYTES:,} bytes were left out: {shown}")
    return "; ".join(parts)


def _name_of(settings: Settings, path: Path) -> str:
    """Return a name for a file and this topic, for its position and its transactional id."""
    if path == STANDARD_INPUT:
        return f"stdin-{os.getpid()}"
    where = f"{path.absolute()}\n{settings.kafka_bootstrap_servers}\n{settings.input_topic}"
    return hashlib.sha256(where.encode("utf-8", "surrogateescape")).hexdigest()[:16]


@contextmanager
def _opened(path: Path) -> Iterator[io.BufferedReader]:
    if path == STANDARD_INPUT:
        yield cast(io.BufferedReader, sys.stdin.buffer)
        return
    try:
        file = path.open("rb")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    with file:
        yield file


def _fingerprint(raw: io.BufferedReader, size: int = _FINGERPRINT_BYTES) -> tuple[str, int]:
    """Identify a file by its beginning, which stays the same when lines are appended."""
    raw.seek(0)
    start = raw.read(size)
    raw.seek(0)
    return hashlib.sha256(start).hexdigest(), len(start)


def _lines_before(position_file: Path, raw: io.BufferedReader) -> int:
    try:
        position = msgspec.json.decode(position_file.read_bytes(), type=Position)
    except (OSError, msgspec.DecodeError):
        return 0
    same = _fingerprint(raw, position.fingerprint_bytes)
    return position.lines if same == (position.fingerprint, position.fingerprint_bytes) else 0


def _save(position_file: Path, position: Position) -> None:
    position_file.parent.mkdir(parents=True, exist_ok=True)
    new = position_file.with_suffix(".new")
    new.write_bytes(msgspec.json.encode(position))
    new.replace(position_file)


def _chunks(
    lines: Iterator[tuple[int, bytes | None]], records: int
) -> Iterator[list[tuple[int, bytes | None]]]:
    chunk: list[tuple[int, bytes | None]] = []
    size = 0
    try:
        for number, line in lines:
            chunk.append((number, line))
            size += len(line or b"")
            if len(chunk) == records or size >= _CHUNK_BYTES:
                yield chunk
                chunk, size = [], 0
    except DataError:
        if chunk:
            yield chunk
        raise
    if chunk:
        yield chunk


def _lines(
    path: Path, raw: io.BufferedReader, expect_json: bool
) -> Iterator[tuple[int, bytes | None]]:
    """Read the lines of a file, or the elements of its JSON array.

    Yields:
        The number of a line, from 1, and its content without surrounding white space. The content
        is None if the line is too long.
    """
    number = 0
    try:
        file = _decompressed(raw)
        start = file.peek(64)[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
        if start.startswith((b"[", b"window.YTD.")):
            yield from enumerate(_elements(path, file), 1)
            return
        while line := file.readline(MAX_BYTES + 1):
            number += 1
            if len(line) > MAX_BYTES and not line.endswith(b"\n"):
                while (rest := file.readline(MAX_BYTES)) and not rest.endswith(b"\n"):
                    pass
                yield number, None
                continue
            content = line.strip()
            if number == 1:
                content = content.removeprefix(b"\xef\xbb\xbf")
                if expect_json and content and content[:1] not in b'{["':
                    raise DataError(
                        f"{path}: line 1 is no JSON; expected JSON Lines, or "
                        "TRIAGE_INPUT_FORMAT=text for a text a line"
                    )
            yield number, content
    except _DAMAGE as error:
        raise DataError(f"{path} is damaged after line {number}: {error}") from error


def _elements(path: Path, file: io.BufferedReader) -> list[bytes | None]:
    """Read a JSON array, which a script in X's archive assigns to a variable."""
    content = file.read(_ARCHIVE_BYTES + 1)
    if len(content) > _ARCHIVE_BYTES:
        raise DataError(f"{path} is one JSON array of more than a gigabyte; expected JSON Lines")
    try:
        elements = msgspec.json.decode(
            content[content.index(b"[") :].rstrip(b" \t\r\n;"), type=list[msgspec.Raw]
        )
    except (msgspec.DecodeError, ValueError) as error:
        raise DataError(f"{path} begins like a JSON array but is not one: {error}") from error
    values = (bytes(element) for element in elements)
    return [value if len(value) <= MAX_BYTES else None for value in values]


def _decompressed(raw: io.BufferedReader) -> io.BufferedReader:
    """Return a reader that decompresses a file by its first bytes, and never closes it."""
    start = raw.peek(8)[:8]
    reader: Any = raw
    if start.startswith(b"\x1f\x8b"):
        reader = gzip.GzipFile(fileobj=raw)
    elif start.startswith(b"\x28\xb5\x2f\xfd"):
        decompressor = zstandard.ZstdDecompressor()
        stream = decompressor.stream_reader(raw, read_across_frames=True, closefd=False)
        reader = io.BufferedReader(cast(io.RawIOBase, stream), 1 << 20)
    elif start.startswith(b"BZh"):
        reader = bz2.BZ2File(raw)
    elif start.startswith(b"\xfd7zXZ\0"):
        reader = lzma.LZMAFile(raw)  # noqa: SIM115  # the caller closes the file
    return cast(io.BufferedReader, reader)

"""Files become records, whatever they are compressed with, each line once over several runs."""

import bz2
import gzip
import io
import json
import lzma
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard

from shared.errors import DataError, UnavailableError
from worker.ingest import MAX_BYTES, Counts, Pace, ingest_file, report
from worker.kafka.records import Message
from worker.settings import Settings

LINES = [json.dumps({"id": n, "text": f"flood {n}"}).encode() for n in range(2500)]
SETTINGS = Settings()


class Topic:
    """Takes records, until it has taken so many chunks."""

    def __init__(self, chunks: int = 1_000_000) -> None:
        self.values: list[bytes | None] = []
        self.chunks = chunks

    def publish(self, messages: Iterable[Message]) -> None:
        if not self.chunks:
            raise UnavailableError("Kafka is away")
        self.chunks -= 1
        self.values += [message.value for message in messages]


def run(
    path: Path,
    topic: Topic,
    *,
    restart: bool = False,
    settings: Settings = SETTINGS,
    progress: Callable[[int, int | None, int], None] = lambda *_: None,
) -> Counts:
    with path.open("rb") as raw:
        return ingest_file(
            path,
            raw,
            topic,
            settings,
            Pace(None),
            path.parent / "ingest" / "position.json",
            restart=restart,
            progress=progress,
        )


@pytest.mark.parametrize(
    "compress",
    [bytes, gzip.compress, zstandard.ZstdCompressor().compress, bz2.compress, lzma.compress],
    ids=["plain", "gzip", "zstd", "bzip2", "xz"],
)
def test_lines_become_records(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "archive"
    path.write_bytes(compress(b"\xef\xbb\xbf" + b"\r\n".join([*LINES[:5], b"", *LINES[5:]])))
    topic = Topic()
    seen: list[tuple[int, int | None, int]] = []
    counts = run(path, topic, progress=lambda *figures: seen.append(figures))
    assert topic.values == LINES
    assert counts == Counts(sent=2500, blank=1)
    size = path.stat().st_size
    assert seen[-1] == (size, size, 2500)
    assert [sent for _, _, sent in seen] == [999, 1999, 2500]


def test_compressed_parts_one_behind_the_other(tmp_path: Path) -> None:
    path = tmp_path / "archive"
    for compress in (gzip.compress, zstandard.ZstdCompressor().compress):
        parts = (b"\n".join(LINES[:10]) + b"\n", b"\n".join(LINES[10:20]))
        path.write_bytes(b"".join(map(compress, parts)))
        topic = Topic()
        run(path, topic, restart=True)
        assert topic.values == LINES[:20]


@pytest.mark.parametrize("before", [b"", b"window.YTD.tweets.part0 = "])
def test_the_elements_of_an_array_become_records(tmp_path: Path, before: bytes) -> None:
    path = tmp_path / "tweets.js"
    path.write_bytes(before + b"[\n  " + b",\n  ".join(LINES[:7]) + b"\n]" + b";" * bool(before))
    topic = Topic()
    run(path, topic)
    assert topic.values == LINES[:7]


def test_a_run_continues_where_the_last_one_ended(tmp_path: Path) -> None:
    path = tmp_path / "archive.gz"
    path.write_bytes(gzip.compress(b"\n".join(LINES)))
    topic = Topic(chunks=2)
    with pytest.raises(UnavailableError):
        run(path, topic)
    topic.chunks = 100
    assert run(path, topic) == Counts(sent=500, before=2000)
    assert topic.values == LINES
    assert run(path, topic) == Counts(before=2500)
    assert run(path, topic, restart=True) == Counts(sent=2500)


def test_lines_that_were_appended_are_sent_and_another_file_starts_anew(tmp_path: Path) -> None:
    path = tmp_path / "archive"
    path.write_bytes(b"\n".join(LINES[:5]) + b"\n")
    topic = Topic()
    run(path, topic)
    path.write_bytes(b"\n".join(LINES[:8]) + b"\n")
    assert run(path, topic) == Counts(sent=3, before=5)
    assert topic.values == LINES[:8]
    path.write_bytes(b"\n".join(LINES[10:14]))
    assert run(path, topic) == Counts(sent=4)


def test_a_line_that_is_too_long_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "archive"
    long = json.dumps({"text": "x" * 3 * MAX_BYTES}).encode()
    path.write_bytes(b"\n".join([LINES[0], long, LINES[1], long]))
    topic = Topic()
    counts = run(path, topic)
    assert topic.values == LINES[:2]
    assert counts == Counts(sent=2, too_large=[2, 4])
    assert report(SETTINGS, path, counts) == (
        f"{path}: 2 records sent to tweets.raw; "
        "2 lines of more than 1,000,000 bytes were left out: 2, 4"
    )


def test_a_damaged_file_is_sent_up_to_the_damage(tmp_path: Path) -> None:
    path = tmp_path / "archive.gz"
    path.write_bytes(gzip.compress(b"\n".join(LINES))[:-5000])
    topic = Topic()
    with pytest.raises(DataError, match=r"is damaged after line \d+"):
        run(path, topic)
    assert 0 < len(topic.values) < 2500
    assert topic.values == LINES[: len(topic.values)]


@pytest.mark.parametrize("start", [b"id,text\n1,flood\n", b"PAR1\x15", b"flood in La Ronge\n"])
def test_what_is_no_json_is_refused(tmp_path: Path, start: bytes) -> None:
    path = tmp_path / "archive"
    path.write_bytes(start)
    with pytest.raises(DataError, match="line 1 is no JSON"):
        run(path, Topic())
    topic = Topic()
    run(path, topic, settings=msgspec.structs.replace(SETTINGS, input_format="text"))
    assert topic.values == start.strip().split(b"\n")


def test_a_broken_array_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "archive"
    path.write_bytes(b'[{"text": "a"}, ')
    with pytest.raises(DataError, match="begins like a JSON array"):
        run(path, Topic())


def test_a_rate_spreads_records_over_time() -> None:
    now = 100.0
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        nonlocal now
        slept.append(seconds)
        now += seconds

    pace = Pace(50, lambda: now, sleep)
    assert pace.chunk_records == 5
    for _ in range(20):
        pace.wait(5)
    assert sum(slept) == pytest.approx(1.9)
    now += 60  # Kafka was away
    slept.clear()
    for _ in range(10):
        pace.wait(5)
    assert sum(slept) == pytest.approx(0.9)
    assert Pace(1e9).chunk_records == 1000
    assert Pace(0.1).chunk_records == 1


def test_a_stream_has_no_position(tmp_path: Path) -> None:
    topic = Topic()
    raw: Any = io.BufferedReader(io.BytesIO(b"\n".join(LINES[:5])))
    position = tmp_path / "position.json"
    for _ in range(2):
        raw.seek(0)
        counts = ingest_file(
            Path("-"),
            raw,
            topic,
            SETTINGS,
            Pace(None),
            position,
            restart=False,
            progress=lambda *_: None,
        )
        assert counts == Counts(sent=5)
    assert not position.exists()

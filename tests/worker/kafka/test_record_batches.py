"""Record batches: read and written as kafka-python does it."""

import struct
import tracemalloc
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import TopicPartition
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError
from kafka.record import MemoryRecords, MemoryRecordsBuilder
from kafka.record.default_records import DefaultRecordBatch

from worker.kafka.record_batches import PartitionRecords, pack, unpack
from worker.kafka.records import Message

PLACE = TopicPartition("tweets.raw", 3)
NAMES = ("topic", "partition", "offset", "timestamp", "key", "value", "headers")
LENGTH = 8
ATTRIBUTES = 21
LOG_APPEND_TIME = 8

maybe_bytes = st.none() | st.binary(max_size=300)
headers = st.lists(st.tuples(st.text(max_size=5), maybe_bytes), max_size=3)
timestamps = st.integers(-1, 2**60)
records = st.lists(st.tuples(timestamps, maybe_bytes, maybe_bytes, headers), min_size=1, max_size=9)
messages = st.lists(
    st.builds(
        Message,
        topic=st.just("a"),
        key=maybe_bytes,
        value=maybe_bytes,
        headers=st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=9)), max_size=2),
        added=st.sampled_from([[], [("triage-schema-version", b"1")]]),
    )
)


def batch_of(some: Sequence[Any], version: int = 2, compression: int = 0) -> bytes:
    builder = MemoryRecordsBuilder(version, compression, 1 << 20)
    for record in some:
        builder.append(*record)
    builder.close()
    return bytes(builder.buffer())


def told(record: Any) -> tuple[Any, ...]:
    values = [getattr(record, name) for name in NAMES]
    if record.timestamp is None:  # of Kafka's oldest messages, for which ours is -1
        values[NAMES.index("timestamp")] = -1
    return tuple(values)


def steps(kind: Any, content: bytes, first: int, most: int, **options: Any) -> list[Any]:
    """What is taken, so many records at a time, and where the next fetch is to begin."""
    part = kind(first, PLACE, MemoryRecords(content), **options)
    found: list[Any] = []
    while part:
        found.append(([told(record) for record in part.take(most)], part.next_fetch_offset))
    return found


@given(st.lists(records, min_size=1, max_size=3), st.integers(0, 4), st.integers(0, 5), st.data())
def test_records_are_those_that_kafka_python_reads(
    batches: list[Any], compression: int, first: int, data: st.DataObject
) -> None:
    content = b""
    for number, batch in enumerate(batches):
        one = bytearray(batch_of(batch, compression=compression))
        struct.pack_into(">q", one, 0, 100 * number)
        content += one
    most = data.draw(st.integers(1, 10))
    found = steps(PartitionRecords, content, first, most)
    assert found == steps(Fetcher.PartitionRecords, content, first, most)
    count = sum(len(some) for some, _ in found)
    assert count == sum(map(len, batches)) - min(first, len(batches[0]))


@pytest.mark.parametrize("version", [0, 1])
def test_old_batches_are_read_too(version: int) -> None:
    content = batch_of([(5, b"key", b"value"), (6, None, b"more")], version)
    found = steps(PartitionRecords, content, 0, 9)
    assert found == steps(Fetcher.PartitionRecords, content, 0, 9)
    assert [record[5] for record in found[0][0]] == [b"value", b"more"]


def test_records_have_the_brokers_time_if_it_gives_one() -> None:
    content = bytearray(batch_of([(5, None, b"a", []), (9, None, b"b", [])]))
    content[ATTRIBUTES + 1] |= LOG_APPEND_TIME
    found = steps(PartitionRecords, bytes(content), 0, 9, check_crcs=False)
    assert found == steps(Fetcher.PartitionRecords, bytes(content), 0, 9, check_crcs=False)
    assert [record[3] for record in found[0][0]] == [9, 9]


def test_a_wrong_checksum_is_told() -> None:
    content = bytearray(batch_of([(5, None, b"a", [])]))
    content[-1] ^= 1
    with pytest.raises(CorruptRecordError, match="the batch at offset 0 has a wrong checksum"):
        steps(PartitionRecords, bytes(content), 0, 9)


@given(records, st.data())
def test_a_broken_record_is_told_as_such(some: Any, data: st.DataObject) -> None:
    """Whatever is broken: no other error, and no record that lies outside of its batch."""
    content = bytearray(batch_of(some))
    place = data.draw(st.integers(DefaultRecordBatch.HEADER_STRUCT.size, len(content) - 1))
    content[place] = data.draw(st.integers(0, 255))
    try:
        found = list(unpack(DefaultRecordBatch(bytes(content)), *PLACE))
    except CorruptRecordError:
        return
    assert len(found) == len(some)
    assert sum(len(each.value or b"") + len(each.key or b"") for each in found) <= len(content)


@given(records, st.data())
def test_a_batch_that_is_cut_off_or_goes_on_is_told(some: Any, data: st.DataObject) -> None:
    content = batch_of(some)
    most = len(content) - DefaultRecordBatch.HEADER_STRUCT.size
    cut = data.draw(st.integers(1, most))
    for broken in (content[:-cut], content + b"\0"):
        with pytest.raises(CorruptRecordError):
            list(unpack(DefaultRecordBatch(broken), *PLACE))


@pytest.mark.parametrize(
    "body",
    [
        b"\0\0\0\x03\x01\0",  # a key of length -2
        b"\0\0\0\x01\x01\x01",  # -1 headers
        b"\0\0\0\x01\x01\x02\x01\x01",  # a header without a name
        b"\0\0\0\x01\x01\x02\x02\xff\x01",  # a header whose name is no UTF-8
    ],
)
def test_lengths_that_cannot_be_are_told(body: bytes) -> None:
    header = batch_of([(0, None, b"", [])])[: DefaultRecordBatch.HEADER_STRUCT.size]
    content = header + bytes([2 * len(body)]) + body
    with pytest.raises(CorruptRecordError):
        list(unpack(DefaultRecordBatch(content), *PLACE))


@pytest.mark.parametrize("isolation_level", [0, 1])
def test_what_is_aborted_is_left_out_for_who_reads_what_is_committed(isolation_level: int) -> None:
    def marked(kind: int, number: int, producer: int, some: Any) -> bytes:
        content = bytearray(batch_of(some))
        struct.pack_into(">q", content, 0, number)
        struct.pack_into(">h", content, ATTRIBUTES, kind)
        struct.pack_into(">q", content, ATTRIBUTES + 22, producer)
        return bytes(content)

    transactional, control = 16, 16 | 32
    abort: list[Any] = [(0, struct.pack(">hh", 0, 0), b"\0" * 6, [])]
    commit: list[Any] = [(0, struct.pack(">hh", 0, 1), b"\0" * 6, [])]
    content = b"".join(
        [
            marked(transactional, 0, 7, [(0, None, b"aborted", [])]),
            marked(transactional, 1, 8, [(0, None, b"of another", [])]),
            marked(control, 2, 7, abort),
            marked(transactional, 3, 7, [(0, None, b"committed", [])]),
            marked(control, 4, 7, commit),
            marked(control, 5, 8, commit),
        ]
    )
    options = {
        "check_crcs": False,
        "isolation_level": isolation_level,
        "aborted_transactions": [SimpleNamespace(producer_id=7, first_offset=0)],
    }
    found = steps(PartitionRecords, content, 0, 9, **options)
    assert found == steps(Fetcher.PartitionRecords, content, 0, 9, **options)
    ((taken, behind),) = found
    kept = [b"of another", b"committed"]
    assert [record[5] for record in taken] == ([b"aborted"] if not isolation_level else []) + kept
    assert behind == 6


def test_a_mark_of_which_compaction_left_nothing_is_left_out() -> None:
    content = bytearray(batch_of([(0, None, b"", [])])[: DefaultRecordBatch.HEADER_STRUCT.size])
    struct.pack_into(">i", content, LENGTH, len(content) - LENGTH - 4)
    struct.pack_into(">h", content, ATTRIBUTES, 16 | 32)  # transactional, control
    struct.pack_into(">q", content, ATTRIBUTES + 22, 7)
    struct.pack_into(">i", content, len(content) - 4, 0)  # records
    options = {"check_crcs": False, "isolation_level": 1}
    behind = batch_of([(5, None, b"a", [])])
    part = PartitionRecords(0, PLACE, MemoryRecords(bytes(content) + behind), **options)
    assert [record.value for record in part.take(9)] == [b"a"]


def test_a_fetcher_learns_that_something_was_read() -> None:
    """By which it lets another partition come first."""
    content = batch_of([(5, None, b"a", [])])
    found = []
    for kind in (PartitionRecords, Fetcher.PartitionRecords):
        part = kind(0, PLACE, MemoryRecords(content), on_drain=lambda it: found.append(it))
        while part:
            part.take(9)
    assert all(part.bytes_read > 0 for part in found)
    assert len(found) == 2


def test_headers_of_a_record_are_not_kept() -> None:
    def packed(number: int) -> None:
        own = [("baggage", number.to_bytes(4) * (1 << 18))]
        ((_, builder),) = pack([Message("a", b"", b"", own, [("x", b"y")])], 0, 1 << 30)
        assert builder.size_in_bytes() > 1 << 20

    packed(0)
    tracemalloc.start()
    try:
        for number in range(1, 9):
            packed(number)
        assert tracemalloc.get_traced_memory()[0] < 1 << 20
    finally:
        tracemalloc.stop()


@given(messages, st.integers(0, 4), st.integers(1, 2000))
def test_kafka_python_reads_what_is_packed(
    some: list[Message], compression: int, most: int
) -> None:
    read: list[Any] = []
    for first, builder in pack(some, compression, most):
        assert first == len(read)
        size = builder.size_in_bytes() - DefaultRecordBatch.HEADER_STRUCT.size
        assert size <= most or builder.next_offset() == 1
        builder.close()
        (batch,) = MemoryRecords(builder.buffer())
        assert batch.validate_crc()
        found = list(batch)
        assert [record.offset for record in found] == list(range(builder.next_offset()))
        assert {record.timestamp for record in found} == {batch.max_timestamp}
        read += [(record.key, record.value, record.headers) for record in found]
    assert read == [(m.key, m.value, m.headers + m.added) for m in some]

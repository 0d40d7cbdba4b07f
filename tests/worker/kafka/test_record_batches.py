"""Record batches are, byte for byte, those that kafka-python writes."""

import logging
import tracemalloc
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.errors import IllegalStateError
from kafka.record import MemoryRecords, MemoryRecordsBuilder
from kafka.record.default_records import DefaultRecordBatch

from worker.kafka.record_batches import PackedRecords, pack, packed_writer
from worker.kafka.records import Message

HEADER = DefaultRecordBatch.HEADER_STRUCT.size
LZ4 = 3

maybe_bytes = st.none() | st.binary(max_size=300) | st.integers(1, 3000).map(bytes)
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
states = st.none() | st.tuples(
    st.integers(0, 2**62), st.integers(0, 2**15 - 1), st.integers(0, 2**31 - 1), st.booleans()
)


def written_by_kafka_python(
    some: list[Message], now: int, state: tuple[int, int, int, bool] | None
) -> bytes:
    builder = MemoryRecordsBuilder(2, LZ4, 1 << 30)
    for message in some:
        builder.append(now, message.key, message.value, message.headers + message.added)
    if state is not None:
        builder.set_producer_state(*state)
    builder.close()
    return bytes(builder.buffer())


@given(messages, st.integers(1, 2000), states)
def test_batches_equal_those_of_kafka_python(
    some: list[Message], most: int, state: tuple[int, int, int, bool] | None
) -> None:
    first = 0
    for records in pack(some, most):
        own = some[first : first + records.next_offset()]
        if state is not None:
            records.set_producer_state(*state)
        size = records.size_in_bytes()
        records.close()
        content = bytes(records.buffer())
        assert records.size_in_bytes() == size == len(content)
        (batch,) = MemoryRecords(content)
        assert content == written_by_kafka_python(own, batch.max_timestamp, state)
        first += len(own)
    assert first == len(some)


@given(messages, st.integers(1, 2000))
def test_a_batch_has_so_many_bytes_at_most_or_one_message(some: list[Message], most: int) -> None:
    for records in pack(some, most):
        records.close()
        (batch,) = MemoryRecords(bytes(records.buffer()))
        iter(batch)  # decompresses
        assert len(batch._buffer) - HEADER <= most or records.next_offset() == 1


def test_a_closed_batch_does_not_change() -> None:
    (records,) = pack([Message("a", b"key", b"value", [])])
    assert records.is_full()
    assert records.append(0, b"key", b"another", []) is None  # type: ignore[func-returns-value]
    records.set_producer_state(7, 1, 42, True)
    records.close()
    content = bytes(records.buffer())
    records.close()
    assert bytes(records.buffer()) == content
    with pytest.raises(IllegalStateError):
        records.set_producer_state(7, 1, 43, True)
    (batch,) = MemoryRecords(content)
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (7, 1, 42)
    assert batch.is_transactional


def test_headers_of_a_record_are_not_kept() -> None:
    def packed(number: int) -> None:
        own = [("baggage", number.to_bytes(4) * (1 << 18))]
        (records,) = pack([Message("a", b"", b"", own, [("x", b"y")])], 1 << 30)
        assert isinstance(records, PackedRecords)

    packed(0)
    tracemalloc.start()
    try:
        for number in range(1, 9):
            packed(number)
        assert tracemalloc.get_traced_memory()[0] < 1 << 20
    finally:
        tracemalloc.stop()


def test_another_kafka_python_switches_it_off(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "triage"):
        assert packed_writer(SimpleNamespace(_partition=None)) is None
    assert caplog.messages == [
        "messages are sent one by one, which is slower: "
        "'types.SimpleNamespace' object has no attribute '_transaction_manager'"
    ]

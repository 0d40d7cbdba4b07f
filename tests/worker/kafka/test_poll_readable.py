"""What stands for records that cannot be unpacked, by what kafka-python was unpacking."""

import struct
from typing import Any

import pytest
from kafka import TopicPartition
from kafka.consumer.fetcher import Fetcher
from kafka.record import MemoryRecords, MemoryRecordsBuilder, default_records

from shared.errors import UnavailableError
from worker.kafka.records import Record
from worker.kafka.unpack import MOST_BYTES, bound_decompression, one_allowance
from worker.kafka.workarounds import poll_readable

PARTITION = TopicPartition("tweets.raw", 3)
GZIP = 1

bound_decompression()


def batch_of(*values: bytes, version: int = 2, offset: int = 0) -> bytearray:
    builder = MemoryRecordsBuilder(version, GZIP, 1 << 30)
    for value in values:
        builder.append(1, None, value)
    builder.close()
    content = bytearray(builder.buffer())
    struct.pack_into(">q", content, 0, offset)
    return content


class Consumer:
    """A consumer that holds what was fetched of a partition, and fetches again after a seek."""

    def __init__(self, content: bytes, position: int) -> None:
        self._content = content
        self.seek(PARTITION, position)

    def seek(self, partition: Any, position: int) -> None:
        assert partition == PARTITION
        self.position = position
        self.records = Fetcher.PartitionRecords(position, partition, MemoryRecords(self._content))

    def poll(self, timeout_ms: int, max_records: int) -> dict[Any, list[Any]]:
        assert timeout_ms == 9
        return {PARTITION: self.records.take(max_records)}

    def read(self, most: int) -> list[Record]:
        with one_allowance():
            return poll_readable(self, 9, most)


def test_a_broken_batch_behind_a_gap_is_one_record() -> None:
    content = batch_of(b"fire", offset=50)
    content[-1] ^= 1
    consumer = Consumer(bytes(content), 10)
    (found,) = consumer.read(5)
    assert (found.topic, found.partition, found.offset) == ("tweets.raw", 3, 50)
    assert found.error is not None
    assert found.error.startswith("CorruptRecordError: Record batch for partition")
    assert consumer.position == 51


@pytest.mark.parametrize(("version", "offset"), [(1, 2), (2, 0)])  # the last one's, the first one's
def test_a_batch_that_is_too_large_is_as_many_records_as_it_holds(
    version: int, offset: int
) -> None:
    content = batch_of(b"", b"", bytes(MOST_BYTES), version=version, offset=offset)
    assert len(content) < 1 << 20
    consumer = Consumer(bytes(content), 1)
    found = consumer.read(5)
    assert [record.offset for record in found] == [1, 2]
    assert {record.error for record in found} == {
        f"TooLargeError: the batch unpacks to more than {MOST_BYTES} bytes"
    }
    assert consumer.position == 3


def test_records_for_which_there_is_no_memory_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_memory(_: bytes) -> bytes:
        raise MemoryError

    consumer = Consumer(bytes(batch_of(100 * b"fire")), 0)
    with monkeypatch.context() as without:
        without.setattr(default_records, "gzip_decode", out_of_memory)
        with pytest.raises(UnavailableError, match="no memory to unpack"):
            consumer.read(5)
    assert not consumer.records, "a fetcher fetches again what is drained"
    consumer.seek(PARTITION, consumer.position)
    assert [record.value for record in consumer.read(5)] == [100 * b"fire"]


def test_another_error_is_raised() -> None:
    consumer = Consumer(b"", 0)
    with pytest.raises(AssertionError):
        poll_readable(consumer, 8, 5)

"""What stands for records that cannot be unpacked, by what kafka-python was unpacking."""

import struct
from typing import Any

import pytest
from kafka import TopicPartition
from kafka.record import MemoryRecords, MemoryRecordsBuilder, default_records

from shared.errors import UnavailableError
from worker.kafka.record_batches import PartitionRecords
from worker.kafka.unpack import MOST_BYTES, one_allowance
from worker.kafka.unreadable import unpacked_or_unreadable

PLACE = TopicPartition("tweets.raw", 3)
GZIP = 1


def batch_of(*values: bytes, version: int = 2, offset: int = 0) -> bytearray:
    builder = MemoryRecordsBuilder(version, GZIP, 1 << 30)
    for value in values:
        builder.append(1, None, value)
    builder.close()
    content = bytearray(builder.buffer())
    struct.pack_into(">q", content, 0, offset)
    return content


class Partition:
    """What was fetched of a partition, fetched anew when its position moves."""

    def __init__(self, content: bytes, position: int) -> None:
        self.content = content
        self.seek(PLACE, position)

    def seek(self, place: Any, position: int) -> None:
        assert place == PLACE
        self.position = position
        self.records = PartitionRecords(position, place, MemoryRecords(self.content))

    def read(self, most: int) -> list[Any]:
        with one_allowance():
            return unpacked_or_unreadable(lambda: {PLACE: self.records.take(most)}, self.seek, most)


def test_a_broken_batch_behind_a_gap_is_one_record() -> None:
    content = batch_of(b"fire", offset=50)
    content[-1] ^= 1
    partition = Partition(bytes(content), 10)
    (found,) = partition.read(5)
    assert found.offset == 50
    assert found.error.startswith("CorruptRecordError: the batch at offset 50")
    assert partition.position == 51


@pytest.mark.parametrize(("version", "offset"), [(1, 2), (2, 0)])  # the last one's, the first one's
def test_a_batch_that_is_too_large_is_as_many_records_as_it_holds(
    version: int, offset: int
) -> None:
    content = batch_of(b"", b"", bytes(MOST_BYTES), version=version, offset=offset)
    assert len(content) < 1 << 20
    partition = Partition(bytes(content), 1)
    found = partition.read(5)
    assert [record.offset for record in found] == [1, 2]
    assert {record.error for record in found} == {
        f"TooLargeError: the batch unpacks to more than {MOST_BYTES} bytes"
    }
    assert partition.position == 3


def test_records_for_which_there_is_no_memory_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_memory(_: bytes) -> bytes:
        raise MemoryError

    partition = Partition(bytes(batch_of(100 * b"fire")), 0)
    with monkeypatch.context() as without:
        without.setattr(default_records, "gzip_decode", out_of_memory)
        with pytest.raises(UnavailableError, match="no memory to unpack"):
            partition.read(5)
    assert not partition.records, "which a fetcher then fetches again"
    partition.seek(PLACE, partition.position)
    assert [record.value for record in partition.read(5)] == [100 * b"fire"]

"""Record batches → records, and messages → record batches, in a part of kafka-python's time.

Of each record that it reads, kafka-python makes two objects, for which it asks the batch for what
they have in common; of each that it writes a future with two callbacks. Source of the format:
*Record Batch* and *Record* in Kafka's documentation of its message format, version 2.
"""

import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from kafka.consumer.fetcher import Fetcher, IsolationLevel
from kafka.errors import CorruptRecordError
from kafka.record import MemoryRecordsBuilder
from kafka.record.util import decode_varint, encode_varint

from worker.kafka.records import Message, Record

RECORD_BATCH = 2
"""The version of batches since Kafka 0.11; before, a message was a batch of its own, or of those
that it held compressed."""
_NULL = 1
"""The byte for a length of -1."""
_NO_BYTES, _NO_ATTRIBUTES_NOR_AGE = bytes([_NULL]), b"\0\0"


class PartitionRecords(Fetcher.PartitionRecords):  # type: ignore[misc]  # kafka-python: no types
    """What has been fetched of a partition; takes the place of kafka-python's class in a fetcher.

    Which batches count, and which are broken, is as there. Of its metrics, which are off, only the
    bytes are counted, and by batches: a fetcher that has read any puts another partition first.
    """

    def _unpack_records(
        self, partition: Any, records: Any, _key: None, _value: None
    ) -> Iterator[Record]:
        topic, number = partition
        while (batch := records.next_batch()) is not None:
            if self.check_crcs and not batch.validate_crc():
                raise CorruptRecordError(
                    f"the batch at offset {batch.base_offset} has a wrong checksum"
                )
            if batch.magic == RECORD_BATCH:
                self.leader_epoch = batch.leader_epoch
                unpacked = () if self._is_left_out(batch) else unpack(batch, topic, number)
            else:
                unpacked = _unpack_old(batch, topic, number, self.check_crcs)
            for record in unpacked:
                self.next_fetch_offset = record.offset + 1
                yield record
            self.bytes_read += batch.size_in_bytes
            if batch.magic == RECORD_BATCH:  # its last records may be gone
                self.next_fetch_offset = batch.next_offset
        self.drain()

    def _is_left_out(self, batch: Any) -> bool:
        """Whether a batch is of an aborted transaction, or the mark of a transaction's end."""
        if self.isolation_level == IsolationLevel.READ_COMMITTED and batch.has_producer_id():
            self._consume_aborted_transactions_up_to(batch.last_offset)
            # Compaction may have left nothing of a mark, which then says nothing.
            if batch.records_count and self._contains_abort_marker(batch):
                self.aborted_producer_ids.discard(batch.producer_id)
            elif self._is_batch_aborted(batch):
                return True
        return bool(batch.is_control_batch)


def unpack(batch: Any, topic: str, partition: int) -> Iterator[Record]:
    """The records of a batch, of version 2, of kafka-python's.

    Raises:
        CorruptRecordError: if it does not hold what it says; the records before are given.
        Exception: of any class, from what decompresses.
    """
    iter(batch)  # decompresses
    buffer, place = bytes(batch._buffer), batch._pos
    base, first, last = batch.base_offset, batch.first_timestamp, None
    if batch.timestamp_type == batch.LOG_APPEND_TIME:
        last = batch.max_timestamp
    try:
        for _ in range(batch.records_count):
            length, place = _number(buffer, place)
            end = place + length
            delta, place = _number(buffer, place + 1)  # behind the attributes, which say nothing
            offset, place = _number(buffer, place)
            key, place = _bytes(buffer, place)
            value, place = _bytes(buffer, place)
            count, place = _number(buffer, place)
            headers = list[tuple[str, bytes | None]]()
            for _ in range(count):
                name, place = _bytes(buffer, place)
                content, place = _bytes(buffer, place)
                if name is None:
                    raise ValueError("a header without a name")
                headers.append((name.decode(), content))
            if count < 0:
                raise ValueError(f"{count} headers")
            if place != end or end > len(buffer):
                read, there = length - (end - place), length - (end - len(buffer))
                raise ValueError(f"expected {length} bytes, got {min(read, there)}")
            timestamp = first + delta if last is None else last
            yield Record(topic, partition, base + offset, timestamp, key, value, headers)
    except (ValueError, IndexError) as error:
        raise CorruptRecordError(f"a record is not what it says: {error!r}") from error
    if place != len(buffer):
        raise CorruptRecordError(f"{len(buffer) - place} bytes behind the last record")


def _unpack_old(batch: Any, topic: str, partition: int, check_crcs: bool) -> Iterator[Record]:
    """The records of a batch of version 0 or 1, by kafka-python's own way."""
    for record in batch:
        if check_crcs and not record.validate_crc():
            raise CorruptRecordError(f"the record at offset {record.offset} has a wrong checksum")
        yield Record(
            *(topic, partition, record.offset),
            -1 if record.timestamp is None else record.timestamp,
            *(record.key, record.value, record.headers),
        )


def _number(buffer: bytes, place: int) -> tuple[int, int]:
    """A signed number of variable length, and the place behind it."""
    low = buffer[place]
    if low < 0x80:
        return (low >> 1) ^ -(low & 1), place + 1
    high = buffer[place + 1]
    if high < 0x80:
        value = (low & 0x7F) | (high << 7)
        return (value >> 1) ^ -(value & 1), place + 2
    number: tuple[int, int] = decode_varint(buffer, place)
    return number


def _bytes(buffer: bytes, place: int) -> tuple[bytes | None, int]:
    if buffer[place] == _NULL:
        return None, place + 1
    length, place = _number(buffer, place)
    if length < 0:
        raise ValueError(f"a length of {length}")
    return buffer[place : place + length], place + length


def pack(
    messages: Sequence[Message], compression: int, most: int
) -> Iterator[tuple[int, MemoryRecordsBuilder]]:
    """Batches of messages in kafka-python's form, each with the number of its first message.

    Args:
        compression: kafka-python's number for it.
        most: bytes of a batch before it is compressed, unless a single message has more.
    """
    first, records, size = 0, list[bytes](), 0
    for number, message in enumerate(messages):
        record = _record(number - first, message)
        if records and size + len(record) > most:
            yield first, _batch(records, compression, most)
            first, records, size = number, [], 0
            record = _record(0, message)
        records.append(record)
        size += len(record)
    if records:
        yield first, _batch(records, compression, most)


def _batch(records: list[bytes], compression: int, most: int) -> MemoryRecordsBuilder:
    batch = MemoryRecordsBuilder(RECORD_BATCH, compression, most)
    builder = batch._builder
    builder._buffer += b"".join(records)
    builder._first_timestamp = builder._max_timestamp = int(time.time() * 1000)
    builder._num_records = batch._next_offset = len(records)
    builder._last_offset = len(records) - 1
    return batch


def _record(offset: int, message: Message) -> bytes:
    """A record as old as its batch."""
    key = value = _NO_BYTES
    if message.key is not None:
        key = _varint(len(message.key)) + message.key
    if message.value is not None:
        value = _varint(len(message.value)) + message.value
    count = _varint(len(message.headers) + len(message.added))
    own, added = b"".join(map(_header, message.headers)), _packed(tuple(message.added))
    record = b"".join((_NO_ATTRIBUTES_NOR_AGE, _varint(offset), key, value, count, own, added))
    return _varint(len(record)) + record


@lru_cache(256)
def _packed(added: tuple[tuple[str, bytes], ...]) -> bytes:
    """All alerts of a model have the same. A record's own headers may be of any size."""
    return b"".join(map(_header, added))


def _header(header: tuple[str, bytes]) -> bytes:
    name, content = header[0].encode(), header[1]
    return b"".join((_varint(len(name)), name, _varint(len(content)), content))


@lru_cache(8192)
def _varint(number: int) -> bytes:
    packed = bytearray()
    encode_varint(number, packed.append)
    return bytes(packed)

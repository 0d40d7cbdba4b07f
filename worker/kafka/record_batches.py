"""Record batches: write messages as Kafka's record batches, five times as fast as kafka-python.

kafka-python makes a future with two callbacks for each message. A packed batch has one future for
all its messages. Format: *Record Batch* and *Record* in Kafka's documentation of its message
format, version 2. Written for kafka-python 3.0.12. If an attribute that this module needs is
missing, `packed_writer` logs a warning and messages are sent one by one.
"""

import logging
import struct
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from kafka import TopicPartition
from kafka.codec import lz4_encode
from kafka.errors import IllegalStateError, MessageSizeTooLargeError
from kafka.future import Future
from kafka.producer.future import FutureRecordMetadata
from kafka.producer.producer_batch import ProducerBatch
from kafka.record.util import calc_crc32c, encode_varint

from worker.kafka.records import Message

log = logging.getLogger("triage")

_HEADER = struct.Struct(">qiibIhiqqqhii")
"""baseOffset, batchLength, partitionLeaderEpoch, magic, crc, attributes, lastOffsetDelta,
baseTimestamp, maxTimestamp, producerId, producerEpoch, baseSequence, recordCount."""
_LENGTH_END, _CRC, _ATTRIBUTES = 12, 17, 21
"""Offsets in the header: after batchLength, of crc, and of attributes, where the checksummed part
starts."""
_VERSION, _LZ4, _TRANSACTIONAL = 2, 3, 16
_NULL = b"\x01"
"""A length of -1."""
_LARGEST_BATCH = 512 << 10
"""Bytes of a batch before compression. By default, topics take 1 MiB."""
LARGEST_REQUEST = 16 << 20
"""Bytes of a request. The topic's own limit decides, not kafka-python's default of 1 MiB."""
_TURN = 1000
"""Messages without a key that go to one partition before the next one. Each partition of a
transaction costs a request and a marker."""


class PackedRecords:
    """A record batch in the place of kafka-python's `MemoryRecordsBuilder`.

    Args:
        records: encoded records.
        now: their timestamp, in milliseconds since 1970.
    """

    producer_id = -1
    producer_epoch = -1
    base_sequence = -1

    def __init__(self, records: Sequence[bytes], now: int) -> None:
        body = b"".join(records)
        packed = lz4_encode(body)
        self._attributes = _LZ4 if len(packed) < len(body) else 0
        self._buffer = bytearray(_HEADER.size) + (packed if self._attributes else body)
        self._count = len(records)
        self._now = now
        self._closed = False

    def append(self, *_: object, **__: object) -> None:
        """Return None, which tells kafka-python that the batch is full and to start another one."""

    def set_producer_state(
        self, producer_id: int, producer_epoch: int, base_sequence: int, is_transactional: bool
    ) -> None:
        """Set what makes the batch idempotent, and part of a transaction.

        Raises:
            IllegalStateError: if the batch is closed, because another sequence could publish it
                twice.
        """
        if self._closed:
            raise IllegalStateError("the batch is closed: its producer state cannot change")
        self.producer_id, self.producer_epoch = producer_id, producer_epoch
        self.base_sequence = base_sequence
        self._attributes |= _TRANSACTIONAL if is_transactional else 0

    def close(self) -> None:
        """Write the header. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        buffer, last = self._buffer, self._count - 1
        length = len(buffer) - _LENGTH_END
        state = self.producer_id, self.producer_epoch, self.base_sequence
        times = self._now, self._now
        _HEADER.pack_into(
            *(buffer, 0, 0, length, 0, _VERSION, 0, self._attributes, last, *times, *state),
            self._count,
        )
        struct.pack_into(">I", buffer, _CRC, calc_crc32c(memoryview(buffer)[_ATTRIBUTES:]))

    def size_in_bytes(self) -> int:
        """Return the compressed size."""
        return len(self._buffer)

    def is_full(self) -> bool:
        """Return True, so that the batch does not wait for more messages."""
        return True

    def next_offset(self) -> int:
        """Return the number of records, by which kafka-python counts the next sequence."""
        return self._count

    def buffer(self) -> bytearray:
        """Return the bytes of the batch."""
        return self._buffer


class PackedBatch(ProducerBatch):  # type: ignore[misc]  # kafka-python ships no types
    """A batch of the producer's queue that is never split.

    If a topic refuses a batch of several records as too large, kafka-python splits it and moves the
    futures of its records. A packed batch has no such futures, and would never complete.
    """

    record_count = 1


def pack(messages: Sequence[Message], most: int = _LARGEST_BATCH) -> Iterator[PackedRecords]:
    """Encode messages as record batches.

    Args:
        most: bytes of a batch before compression. A larger message gets its own batch.
    """
    now = int(time.time() * 1000)
    records, size = list[bytes](), 0
    for message in messages:
        record = _record(len(records), message)
        if records and size + len(record) > most:
            yield PackedRecords(records, now)
            records, size = [], 0
            record = _record(0, message)
        records.append(record)
        size += len(record)
    if records:
        yield PackedRecords(records, now)


class PackedWriter:
    """Appends messages to a producer's queue as packed batches.

    Raises:
        AttributeError: if kafka-python lacks a place that this class hooks in.
    """

    def __init__(self, producer: Any) -> None:
        self._producer = producer
        self._choose_partition = producer._partition
        self._transactions = producer._transaction_manager
        self._accumulator = producer._accumulator
        self._appends = self._accumulator._appends_in_progress
        self._lock = self._accumulator._tp_lock
        self._queues = self._accumulator._batches
        self._incomplete = self._accumulator._incomplete

    def write(self, messages: Sequence[Message]) -> Iterator[tuple[int, Any]]:
        """Append messages without waiting.

        Yields:
            The index of a batch's first message, and the batch's future. If it fails, it does not
            tell which message is the cause.

        Raises:
            KafkaError: if the transaction has failed, or the producer is closed.
        """
        partitions: dict[tuple[str, bytes | None, int | None], TopicPartition] = {}
        indices: dict[TopicPartition, list[int]] = {}
        for index, message in enumerate(messages):
            if index % _TURN == 0:
                partitions.clear()
            target = message.topic, message.key, message.partition
            if (partition := partitions.get(target)) is None:
                partition = partitions[target] = self._begin_partition(*target)
                indices.setdefault(partition, [])
            indices[partition].append(index)
        for partition, some in indices.items():
            first = 0
            for records in pack([messages[index] for index in some]):
                yield some[first], self._append(partition, records)
                first += records.next_offset()

    def _begin_partition(self, topic: str, key: bytes | None, number: int | None) -> TopicPartition:
        """Choose the partition as `send` does, and add it to the transaction."""
        self._producer.partitions_for(topic)  # waits for the metadata
        number = self._choose_partition(topic, number, key, b"", key, b"")
        partition = TopicPartition(topic, number)
        if self._transactions.is_transactional():
            self._transactions.maybe_add_partition_to_transaction(partition)
        return partition

    def _append(self, partition: TopicPartition, records: PackedRecords) -> Any:
        """Do what the accumulator's `append` does, for a batch instead of a message."""
        if records.size_in_bytes() > LARGEST_REQUEST:
            return Future().failure(MessageSizeTooLargeError())
        batch = PackedBatch(partition, records)
        self._appends.increment()  # `close` waits for this, and fails the batch with the others
        try:
            with self._lock(partition):
                if self._accumulator._closed:
                    raise IllegalStateError("the producer is closed")
                self._queues[partition].append(batch)
                self._incomplete.add(batch)
        finally:
            self._appends.decrement()
        return FutureRecordMetadata(batch.produce_future, 0, -1, None, -1, -1, -1)


def packed_writer(producer: Any) -> PackedWriter | None:
    """Return a writer for a producer, or None, with a warning, if kafka-python has changed."""
    try:
        return PackedWriter(producer)
    except AttributeError as error:
        log.warning("messages are sent one by one, which is slower: %s", error)
        return None


def _record(offset: int, message: Message) -> bytes:
    """Encode a record that is as old as its batch."""
    count = _varint(len(message.headers) + len(message.added))
    own, added = b"".join(map(_header, message.headers)), _headers(tuple(message.added))
    key, value = _sized(message.key), _sized(message.value)
    record = b"".join((b"\0\0", _varint(offset), key, value, count, own, added))
    return _varint(len(record)) + record


def _sized(content: bytes | None) -> bytes:
    return _NULL if content is None else _varint(len(content)) + content


@lru_cache(256)
def _headers(added: tuple[tuple[str, bytes], ...]) -> bytes:
    """Encode headers that many messages share. A record's own may be large: not cached."""
    return b"".join(map(_header, added))


def _header(header: tuple[str, bytes]) -> bytes:
    return _sized(header[0].encode()) + _sized(header[1])


@lru_cache(8192)
def _varint(number: int) -> bytes:
    encoded = bytearray()
    encode_varint(number, encoded.append)
    return bytes(encoded)

"""Unreadable records: what stands for those that cannot be unpacked."""

import traceback
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from kafka.errors import KafkaError

from shared.errors import UnavailableError
from worker.kafka.record_batches import RECORD_BATCH
from worker.kafka.records import Record, flat
from worker.kafka.unpack import EnoughError, TooLargeError


def unpacked_or_unreadable(
    poll: Callable[[], Mapping[Any, list[Record]]],
    seek: Callable[[Any, int], object],
    max_records: int,
) -> list[Record]:
    """What a poll gives; a record that cannot be unpacked is its place, and the error.

    A poll that fails so has taken nothing, and the next one would never return: kafka-python keeps
    the records that it was unpacking and asks them again and again. It lets go of them when the
    partition's position has moved.

    Args:
        poll: gives records by partition, of which it unpacks some.
        seek: moves a partition's position.
        max_records: how many are polled.

    Raises:
        UnavailableError: if memory ran out; the records will be fetched again.
        Exception: whatever else a poll raises.
    """
    try:
        return flat(poll())
    except Exception as error:
        if (unpacked := _unpacked(error)) is None:
            raise
        records, batch = unpacked.records, unpacked.batch
        if isinstance(error, EnoughError | MemoryError):
            records.drain()  # so that they are fetched again
            if isinstance(error, MemoryError):
                raise UnavailableError("no memory to unpack records") from error
            return []
        # Where this fetch began, or behind what was unpacked of it.
        offset = max(records.fetch_offset, records.next_fetch_offset)
        if _is_record_batch(batch):
            offset = max(offset, batch.base_offset)  # there may be a gap before it
        behind = offset + 1
        # Of a batch with a wrong checksum only the first offset can be relied on, but here the
        # checksum was right: there is no need to unpack it once for each of its records.
        if isinstance(error, TooLargeError):
            last = batch.last_offset if _is_record_batch(batch) else batch.base_offset
            behind = min(last + 1, offset + max_records)
        what = error.args[0] if isinstance(error, KafkaError) and error.args else error
        partition, told = records.topic_partition, f"{type(error).__name__}: {what}"
        seek(partition, behind)
        return [
            Record(partition.topic, partition.partition, place, error=told)
            for place in range(offset, behind)
        ]


class _Unpacking(msgspec.Struct, frozen=True):
    """What kafka-python was unpacking: a partition's records, and of them a producer's batch."""

    records: Any
    batch: Any


def _is_record_batch(batch: Any) -> bool:
    """Or else an older one, of compressed messages, which has the offset of the last of them."""
    return batch is not None and batch.magic >= RECORD_BATCH


def _unpacked(error: Exception) -> _Unpacking | None:
    """What kafka-python was unpacking when it raised, or None.

    The error itself says neither the partition nor the offset, and is of any class that a decoder
    may raise.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name == "_unpack_records":
            return _Unpacking(frame.f_locals["self"], frame.f_locals.get("batch"))
    return None

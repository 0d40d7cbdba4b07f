"""Records that are read, messages that are published, and batches of records."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

Headers = list[tuple[str, bytes]]
RecordHeaders = Sequence[tuple[str, bytes | None]]
"""Kafka allows null as the value of a record's header."""


class Record(msgspec.Struct, gc=False):
    """A record in Kafka, or the offset of one that cannot be unpacked.

    A record cannot be unpacked if its producer's batch has a wrong checksum or invalid compression,
    or takes too much memory, or if a header's name is not UTF-8. The records after it in that batch
    cannot be unpacked either.

    Attributes:
        timestamp: milliseconds since 1970, or -1.
        error: why it cannot be unpacked. If set, only topic, partition and offset are known.
        leader_epoch: epoch of the partition's leader when it was written, or -1.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int = -1
    key: bytes | None = None
    value: bytes | None = None
    headers: RecordHeaders = []
    error: str | None = None
    leader_epoch: int = -1


class Message(msgspec.Struct, frozen=True):
    """A message to publish.

    Attributes:
        headers: of the record that it was made from.
        added: further headers, which `truncate` never removes.
        partition: None chooses it by the key.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    added: Headers = []
    partition: int | None = None


class Batch(msgspec.Struct, frozen=True):
    """Records that were received together.

    Attributes:
        records: in order of their offsets within each partition.
        membership: the group's metadata at the time of the poll. Kafka uses it to refuse the commit
            of a member that has since lost its partitions.
        topic_life: cluster and id of the topic, as `workarounds.topic_life` returns them.
    """

    records: list[Record]
    membership: Any
    topic_life: str = ""


class Lag(msgspec.Struct, frozen=True):
    """How far a partition's reader is behind.

    Attributes:
        records: offsets up to the end of the partition.
        held_back: how many of them cannot be read yet, because a producer's transaction is open.
    """

    records: int
    held_back: int = 0

    @property
    def readable(self) -> int:
        """The number of offsets that the reader can read now."""
        return self.records - self.held_back


class PositionReset(msgspec.Struct, frozen=True):
    """A position that Kafka does not have, and its replacement.

    Attributes:
        cause: `expired` if records were deleted unread, `truncated` if the log has lost its end,
            `recreated` if the topic was deleted and created again, `uncommitted` if the group has
            no commit.
        old, new: offsets of the next record to read; old is None without a commit.
    """

    cause: Literal["expired", "truncated", "recreated", "uncommitted"]
    topic: str
    partition: int
    old: int | None
    new: int

    @property
    def skipped(self) -> int:
        """The number of skipped offsets, which is at least the number of skipped records."""
        return (
            max(0, self.new - self.old) if self.cause == "expired" and self.old is not None else 0
        )


def records_of(polled: Mapping[Any, Sequence[Any]]) -> list[Record]:
    """Convert what kafka-python's `poll` returns, in its order."""
    return [
        Record(
            r.topic,
            r.partition,
            r.offset,
            -1 if r.timestamp is None else r.timestamp,
            r.key,
            r.value,
            r.headers,
            None,
            r.leader_epoch,
        )
        for records in polled.values()
        for r in records
    ]

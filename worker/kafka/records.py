"""Records as they are read, messages as they are published, and batches between the two."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

Headers = list[tuple[str, bytes]]
RecordHeaders = Sequence[tuple[str, bytes | None]]
"""Kafka allows values of null in them."""


class Record(msgspec.Struct, gc=False):
    """A record as it lies in Kafka, or the place of one that cannot be unpacked.

    A batch of its producer has a wrong checksum, broken compression, a header whose name is not
    UTF-8, or would take too much memory; the records behind it in that batch cannot be unpacked
    either.

    Attributes:
        timestamp: milliseconds since 1970, or -1.
        error: what was met there, if it cannot be unpacked; nothing but its place is known then.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int = -1
    key: bytes | None = None
    value: bytes | None = None
    headers: RecordHeaders = []
    error: str | None = None


class Message(msgspec.Struct, frozen=True):
    """What is to be published.

    Attributes:
        headers: of the record that it was made of.
        added: further headers, which say what it is and are never left out.
        partition: where it has to go, or None to let its key decide.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    added: Headers = []
    partition: int | None = None


class Batch(msgspec.Struct, frozen=True):
    """Records that were polled together, and what it takes to commit them.

    Attributes:
        records: in order of their offsets within each partition.
        offsets: the position behind the last record of each partition.
        membership: the group's metadata at the time of the poll, by which a member that has since
            lost its partitions is fenced.
    """

    records: list[Record]
    offsets: dict[Any, Any]
    membership: Any


def flat(polled: Mapping[Any, list[Record]]) -> list[Record]:
    """What a poll gave, without the division by partitions."""
    return [record for records in polled.values() for record in records]

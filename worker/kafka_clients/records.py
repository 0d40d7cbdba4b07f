"""Records as they are read, messages as they are published, and batches between the two."""

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

Headers = list[tuple[str, bytes]]


class Record(Protocol):
    """A record as kafka-python gives it; only these attributes are used."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


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

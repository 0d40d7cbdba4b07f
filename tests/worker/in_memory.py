"""Twins of the Kafka source and sink that keep everything in memory, for tests of the loop."""

from collections.abc import Callable, Iterable, Sequence

from shared.errors import DependencyError
from worker.kafka.records import Batch, Lag, Message, Record

TOPIC = "tweets.raw"


def record(value: bytes, offset: int = 0, partition: int = 0) -> Record:
    return Record(TOPIC, partition, offset, 1_700_000_000_000, None, value)


class InMemorySource:
    """One partition of records, read from what is committed on.

    Args:
        values: of its records.
        on_empty: called when there is nothing left to receive.

    Attributes:
        committed, position: offsets of the next record.
        joined: whether it is a member of the group.
        failures: errors that the next calls of any method raise, one each.
        calls: names of the methods that were called.
    """

    def __init__(
        self, values: Iterable[bytes] = (), on_empty: Callable[[], None] = lambda: None
    ) -> None:
        self.records = [record(value, offset) for offset, value in enumerate(values)]
        self.committed = self.position = 0
        self.joined = True
        self.failures: list[DependencyError] = []
        self.calls: list[str] = []
        self._on_empty = on_empty

    def append(self, values: Iterable[bytes]) -> None:
        """Add records at the end."""
        self.records += [record(v, len(self.records) + n) for n, v in enumerate(values)]

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.failures:
            raise self.failures.pop(0)

    def connect(self) -> None:
        self._called("connect")

    def receive(self, timeout: float, max_records: int) -> Batch | None:
        assert timeout > 0
        self._called("receive")
        records = self.records[self.position : self.position + max_records]
        if not records:
            self._on_empty()
            return None
        self.position += len(records)
        return Batch(records, None)

    def truncate(self, batch: Batch, records: int) -> Batch:
        self._called("truncate")
        self.position = batch.records[records].offset
        return Batch(batch.records[:records], None)

    def rewind(self) -> None:
        self._called("rewind")
        self.position = self.committed

    def lag(self) -> dict[tuple[str, int], Lag]:
        self._called("lag")
        return {(TOPIC, 0): Lag(len(self.records) - self.position)}


class InMemorySink:
    """What was published and committed.

    Attributes:
        published: messages of the batches that were delivered.
        batches: how many records each delivered batch had.
        failures: errors that the next deliveries raise, one each; nothing is published then.
        refused: errors that the next attempts to connect raise, one each.
    """

    def __init__(self, source: InMemorySource) -> None:
        self.published: list[Message] = []
        self.batches: list[int] = []
        self.failures: list[DependencyError] = []
        self.refused: list[DependencyError] = []
        self.connected = 0
        self._source = source

    def connect(self) -> None:
        if self.refused:
            raise self.refused.pop(0)
        self.connected += 1

    def deliver(self, batch: Batch, messages: Sequence[Message]) -> None:
        if self.failures:
            raise self.failures.pop(0)
        assert batch.records[0].offset == self._source.committed
        self.published += messages
        self.batches.append(len(batch.records))
        self._source.committed = batch.records[-1].offset + 1

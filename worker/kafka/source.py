"""Source: a member of the consumer group that gives batches of records."""

import contextlib
import math
import time
from collections.abc import Callable, Iterable
from typing import Any

from kafka import ConsumerRebalanceListener, OffsetAndMetadata, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import KafkaError
from kafka.structs import MemberState

from worker.kafka.connection import (
    REQUEST_TIMEOUT_MS,
    connecting,
    kafka_errors,
    new_consumer,
)
from worker.kafka.mends import (
    ask_before_joining,
    ask_no_thread_for_what_is_known,
    end_offsets,
    forget_commits,
    give_up_what_is_lost,
    keep_awake,
    rejoin_if_forgotten,
)
from worker.kafka.record_batches import PartitionRecords
from worker.kafka.records import Batch, Record
from worker.kafka.unpack import one_allowance
from worker.kafka.unreadable import unpacked_or_unreadable
from worker.settings import Settings

_METADATA_MAX_AGE_MS = 30_000
"""After this long at most, partitions that were added to the topic are consumed."""
_HEARTBEAT_MS = 1000
"""How late a member may learn that the group rebalances, while the others stand still."""
_MOST_BYTES = 2 << 20
"""Of the values in a batch of several records, which are in memory several times over."""
_FETCH = 0.005
"""Seconds within which Kafka answers with records that it has."""
_FRESH = 0.01
"""Seconds for which a batch may begin without asking for what has come since it was asked for."""
_LONGEST_SLEEP = 0.05
"""Seconds between two polls of a batch that waits long, so that its partitions are read on."""
_LAG_TIMEOUT_MS = 2000
"""How long a leader that is missing may hold up the partitions whose leaders are there."""


class Source:
    """A member of the consumer group that reads the input topic from its oldest record on.

    Rebalances are cooperative: partitions that do not change hands are read on from where they
    are. With an instance id membership is static, and a restart within the session timeout moves no
    partition. A member that does not come back for `stall_seconds` loses its partitions, though its
    heartbeats go on.

    Args:
        on_rebalance: is told how many partitions are assigned after each change.
    """

    def __init__(
        self, settings: Settings, on_rebalance: Callable[[int], None] = lambda _: None
    ) -> None:
        self._wait = settings.batch_wait_ms / 1000
        self._unfinished: list[Record] = []  # polled, but neither delivered nor part of a batch
        self._held: list[Record] = []  # polled, and for the next batch
        self._membership: Any = None  # under which they were
        self._taken = -math.inf  # when the last batch was
        self._asked_ahead = -math.inf  # when records were, for the next batch
        with connecting(settings):
            self.consumer = new_consumer(
                settings,
                group_id=settings.group_id,
                group_instance_id=settings.instance_id,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                isolation_level="read_committed",
                session_timeout_ms=settings.session_timeout_ms,
                heartbeat_interval_ms=min(_HEARTBEAT_MS, settings.session_timeout_ms // 3),
                max_poll_interval_ms=max(
                    settings.session_timeout_ms, int(settings.stall_seconds * 1000)
                ),
                metadata_max_age_ms=_METADATA_MAX_AGE_MS,
                partition_assignment_strategy=[CooperativeStickyAssignor],
            )
        self.consumer._fetcher.PartitionRecords = PartitionRecords
        self._holds = keep_awake(self.consumer._fetcher)
        give_up_what_is_lost(self.consumer._coordinator)
        ask_no_thread_for_what_is_known(self.consumer._coordinator)
        if settings.instance_id is not None:
            ask_before_joining(self.consumer._coordinator)
        self.consumer.subscribe(
            [settings.input_topic], listener=_Rebalances(self.consumer, on_rebalance)
        )

    @property
    def joined(self) -> bool:
        """Whether it is a member of the group now, be it with partitions or in reserve."""
        return bool(self.consumer.group_metadata().state == MemberState.STABLE)

    def receive(self, timeout: float, max_records: int) -> Batch | None:
        """Waits for a first record, and takes what there is.

        But not before `batch_wait_ms` have passed since the last batch was taken, in which more
        may come. So under load nobody waits twice, and who comes after a pause does not wait.

        Args:
            timeout: seconds to wait for the first record.
            max_records: of the batch.

        Returns:
            A batch of 1 to `max_records` records, or None if there was no record in time.

        Raises:
            DependencyError: from Kafka.
        """
        self._go_back()
        with one_allowance():
            return self._receive(timeout, max_records)

    def _receive(self, timeout: float, max_records: int) -> Batch | None:
        records = self._unfinished
        records += self._held
        memberships = [self._membership] if self._held else []
        self._held = []

        def poll(seconds: float = 0) -> None:
            with kafka_errors("poll"):
                # There is no more room in memory for what waits than for a batch.
                most = 1 if enough() else max_records - len(records)
                records.extend(self._poll(int(seconds * 1000), most))
                memberships.append(self.consumer.group_metadata())

        def enough() -> bool:
            return len(records) >= max_records or _bytes(records) > _MOST_BYTES

        deadline = self._taken + self._wait
        if self.joined and self._holds():
            poll()
        # They were there before; Kafka may have more by now.
        late = bool(records) and time.monotonic() - self._asked_ahead > _FRESH
        if not records:
            poll(timeout)
        while records and not enough() and (left := deadline - time.monotonic()) > 0:
            # No poll before the wait is over, each of which would cost a millisecond.
            time.sleep(min(left, _LONGEST_SLEEP))
            if left > _LONGEST_SLEEP or self._holds():
                poll()
            late = True
        if late and not enough():
            poll(_FETCH)
        # A batch must come from one generation of the group: what was polled under an older one may
        # be another member's by now, and one below 0 would switch the broker's fencing off.
        generations = {membership.generation_id for membership in memberships}
        if len(generations) > 1 or min(generations) < 0:
            return None
        taken = _within(records, max_records)
        self._held, records = records[taken:], records[:taken]
        self._membership = memberships[-1]
        self._unfinished = []
        if not records:
            return None
        self._taken = time.monotonic()
        return _batch(records, self._membership)

    def fetch_ahead(self) -> None:
        """Asks Kafka for what the next batch will hold, if nothing is held for it.

        Without waiting: an answer takes some milliseconds, in which the caller has to wait anyway.
        Called much earlier, it would bring a batch of what there was then.
        """
        if not self._holds():
            self.consumer._fetcher.send_fetches()
            self._asked_ahead = time.monotonic()

    def unpack_ahead(self, max_records: int) -> None:
        """Unpacks records that Kafka has sent already, so many at most for the next batch.

        While the caller waits for Kafka anyway. They belong to the last batch's membership, as this
        member joins anew only when it is asked for the next one.

        Raises:
            DependencyError: from Kafka.
        """
        room = max_records - len(self._held)
        if room > 0 and self._holds() and _bytes(self._held) <= _MOST_BYTES:
            fetcher = self.consumer._fetcher
            with kafka_errors("unpack"), one_allowance():
                self._held += unpacked_or_unreadable(
                    lambda: fetcher.fetched_records(room)[0], self.consumer.seek, room
                )

    def shorten(self, batch: Batch, records: int) -> Batch:
        """The first records of the batch that was taken last; the others are held for the next."""
        self._held = batch.records[records:] + self._held
        return _batch(batch.records[:records], batch.membership)

    def rewind(self, batch: Batch) -> None:
        """Lets a batch that was not delivered come again."""
        self._unfinished = batch.records + self._held
        self._held = []

    def lag(self) -> dict[tuple[str, int], int]:
        """How many offsets each assigned partition is behind its end, by (topic, partition).

        Raises:
            DependencyError: from Kafka.
        """
        self._go_back()
        with kafka_errors("look for the ends of the partitions"):
            partitions = self.consumer.assignment()
            ends = end_offsets(self.consumer, partitions, _LAG_TIMEOUT_MS)
            held = _first_offsets(self._held)
            return {
                (partition.topic, partition.partition): max(0, end - held.get(partition, position))
                for partition, end in ends.items()
                if (position := self.consumer.position(partition, timeout_ms=0)) is not None
            }

    def _go_back(self) -> None:
        """Goes back to where the group's commits stand, if records were polled but not delivered.

        It asks Kafka, because a delivery that failed for us may have succeeded there.
        """
        if not self._unfinished:
            return
        first = _first_offsets(self._unfinished)
        forget_commits(self.consumer._coordinator)
        with kafka_errors("go back"):
            for partition in self.consumer.assignment() & first.keys():
                committed = self.consumer.committed(partition, timeout_ms=REQUEST_TIMEOUT_MS)
                self.consumer.seek(partition, first[partition] if committed is None else committed)
        self._unfinished = []

    def _poll(self, timeout_ms: int, max_records: int) -> list[Record]:
        rejoin_if_forgotten(self.consumer._coordinator)
        return unpacked_or_unreadable(
            lambda: self.consumer.poll(timeout_ms, max_records), self.consumer.seek, max_records
        )

    def close(self) -> None:
        """Leaves the group, so that the partitions move on at once, unless membership is static."""
        with contextlib.suppress(KafkaError):
            self.consumer.close()


class _Rebalances(ConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python ships no types
    """Counts what is assigned. An error in here would come out of `poll`."""

    def __init__(self, consumer: Any, tell: Callable[[int], None]) -> None:
        self._consumer = consumer
        self._tell = tell

    def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        """Everything taken of them was committed before the poll that this call is part of."""
        self._tell(len(self._consumer.assignment() - set(revoked)))

    def on_partitions_lost(self, lost: Iterable[Any]) -> None:
        """What was taken of them is fenced off when it is delivered."""
        self._tell(len(self._consumer.assignment() - set(lost)))

    def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        """They are read from the group's commits on, as they are now."""
        forget_commits(self._consumer._coordinator)
        self._tell(len(self._consumer.assignment() | set(assigned)))


def _bytes(records: list[Record]) -> int:
    return sum(len(record.value or b"") for record in records)


def _within(records: list[Record], most: int) -> int:
    """How many of the records, one at least, are so many and have so many bytes at most."""
    total = 0
    for place, record in enumerate(records[:most]):
        total += len(record.value or b"")
        if total > _MOST_BYTES and place:
            return place
    return min(len(records), most)


def _batch(records: list[Any], membership: Any) -> Batch:
    last = {(record.topic, record.partition): record.offset for record in records}
    offsets = {
        TopicPartition(*partition): OffsetAndMetadata(offset + 1, "", -1)
        for partition, offset in last.items()
    }
    return Batch(records, offsets, membership)


def _first_offsets(records: list[Record]) -> dict[Any, int]:
    """The first record's offset of each partition."""
    first: dict[Any, int] = {}
    for record in records:
        first.setdefault(TopicPartition(record.topic, record.partition), record.offset)
    return first

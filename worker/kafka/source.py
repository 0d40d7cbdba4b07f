"""Source: a member of the consumer group that receives batches of records.

One rule keeps delivery exactly once: after any change of membership and after any failure, each
partition is read from where the group's commits stand.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from kafka import ConsumerRebalanceListener, OffsetAndMetadata, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import (
    KafkaError,
    LeaderNotAvailableError,
    LogTruncationError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    UnknownBrokerIdError,
)
from kafka.structs import MemberState

from shared.errors import UnavailableError
from worker.kafka.connection import (
    REQUEST_TIMEOUT_MS,
    connecting,
    kafka_errors,
    new_consumer,
)
from worker.kafka.records import Batch, Lag, PositionReset, Record
from worker.kafka.topics import is_missing
from worker.kafka.unpack import one_allowance
from worker.kafka.workarounds import attach_to_coordinator, poll_readable
from worker.settings import Settings

_METADATA_MAX_AGE_MS = 30_000
"""How late partitions that are added to the topic are consumed."""
_HEARTBEAT_MS = 1000
"""How late a member may learn that the group rebalances, while the others stand still."""
_MOST_BYTES = 2 << 20
"""Bytes of the values in a batch of several records, which are in memory several times over."""
_FETCH_SECONDS = 0.005
"""How long Kafka takes to answer with records that it has."""
_LONGEST_SLEEP = 0.05
"""Seconds between two polls of a batch that waits long, so that its partitions are read on."""
_OFFSETS_TIMEOUT_MS = 2000
"""How long a leader that is missing may hold up the partitions whose leaders are there."""
_CLOSE_TIMEOUT_MS = 5000

Member = tuple[int, str]
"""Generation of the group, and the id that Kafka gave this member."""


class _PositionsChangedError(Exception):
    """What was polled does not count: each partition is to be read from the group's commit."""


class KafkaSource:
    """A member of the consumer group that reads the input topic, at first from its oldest record.

    Rebalances are cooperative: partitions that do not change hands are read on. With an instance id
    membership is static, and a restart within the session timeout moves no partition. A member that
    does not come back for `stall_seconds` loses its partitions, though its heartbeats go on.

    Args:
        on_rebalance: called with the number of assigned partitions after each change, in another
            thread.
        on_position_reset: called when Kafka no longer has a partition's position.
    """

    def __init__(
        self,
        settings: Settings,
        on_rebalance: Callable[[int], None] = lambda _: None,
        on_position_reset: Callable[[PositionReset], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._wait = settings.batch_wait_ms / 1000
        self._on_rebalance = on_rebalance
        self._on_position_reset = on_position_reset
        self._consumer: Any = None
        self._rejoin_if_needed: Callable[[], None] = lambda: None
        self._member: Member | None = None  # under which the positions were taken
        self._received = -math.inf  # when the last batch was

    def connect(self) -> None:
        """Connect if it is not connected; the group is joined with the first `receive`.

        Raises:
            DependencyError: from Kafka.
        """
        if self._consumer is not None:
            return
        settings = self._settings
        with connecting(settings):
            consumer = new_consumer(
                settings,
                group_id=settings.group_id,
                group_instance_id=settings.instance_id,
                enable_auto_commit=False,
                auto_offset_reset="none",
                isolation_level="read_committed",
                session_timeout_ms=settings.session_timeout_ms,
                heartbeat_interval_ms=min(_HEARTBEAT_MS, settings.session_timeout_ms // 3),
                max_poll_interval_ms=max(
                    settings.session_timeout_ms, int(settings.stall_seconds * 1000)
                ),
                metadata_max_age_ms=_METADATA_MAX_AGE_MS,
                partition_assignment_strategy=[CooperativeStickyAssignor],
            )
        self._rejoin_if_needed = attach_to_coordinator(consumer)
        consumer.subscribe(
            [settings.input_topic], listener=_Rebalances(consumer, self._on_rebalance)
        )
        self._consumer, self._member = consumer, None

    @property
    def joined(self) -> bool:
        """Whether it is a member of the group now, with partitions or in reserve."""
        if self._consumer is None:
            return False
        return bool(self._consumer.group_metadata().state == MemberState.STABLE)

    def receive(self, timeout: float, max_records: int) -> Batch | None:
        """Wait for a first record, and return it with what else there is.

        Does not return before `batch_wait_ms` have passed since the last batch, in which more
        records may come. So under load nobody waits twice, and a record after a pause not at all.

        Args:
            timeout: seconds to wait for the first record.
            max_records: of the batch.

        Returns:
            A batch of 1 to `max_records` records, or None if there was no record in time.

        Raises:
            DependencyError: from Kafka.
        """
        with kafka_errors("poll"), one_allowance():
            try:
                records = self._gather(timeout, max_records)
            except _PositionsChangedError:
                self._member = None
                return None
            except Exception:
                self._member = None  # what was polled must come again
                raise
        if not records:
            return None
        membership = self._consumer.group_metadata()
        if _member(membership) != self._member:
            self._member = None
            return None
        self._received = time.monotonic()
        batch = Batch(records, membership)
        return self.truncate(batch, _within_bytes(records))

    def _gather(self, timeout: float, max_records: int) -> list[Record]:
        """Poll until the batch is full, or its time has come and Kafka has no more."""
        records: list[Record] = []

        def full() -> bool:
            return len(records) >= max_records or _bytes(records) > _MOST_BYTES

        records += self._poll(0, max_records)
        stale = bool(records)  # they were there before; Kafka may have more by now
        if not records:
            records += self._poll(timeout, max_records)
        ready = self._received + self._wait
        while records and not full() and (left := ready - time.monotonic()) > 0:
            time.sleep(min(left, _LONGEST_SLEEP))  # each poll would cost a millisecond
            records += self._poll(0, max_records - len(records))
            stale = True
        if stale and not full():
            records += self._poll(_FETCH_SECONDS, max_records - len(records))
        return records

    def _poll(self, seconds: float, max_records: int) -> list[Record]:
        self.connect()
        consumer = self._consumer
        self._rejoin_if_needed()
        if self._member is None:
            self._seek_to_commits()
        try:
            records = poll_readable(consumer, int(seconds * 1000), max_records)
        except NoOffsetForPartitionError:
            raise _PositionsChangedError from None  # there are new partitions
        except OffsetOutOfRangeError as error:
            self._repair_commits(error.args[0])
            raise _PositionsChangedError from None
        except LogTruncationError as error:
            self._repair_commits(dict.fromkeys(error.divergent_offsets), error.divergent_offsets)
            raise _PositionsChangedError from None
        except UnknownBrokerIdError:
            # A leader that the metadata lack: kafka-python would never ask it again.
            self.close()
            raise
        if _member(consumer.group_metadata()) != self._member and (
            records or self._member is not None or self.joined
        ):
            raise _PositionsChangedError
        return records

    def _seek_to_commits(self) -> None:
        """Read each partition from the group's commit on, or from its beginning if it has none."""
        membership = self._consumer.group_metadata()
        if membership.state != MemberState.STABLE:
            return
        for partition in self._consumer.assignment():
            if (committed := self._committed(partition)) is None:
                self._consumer.seek_to_beginning(partition)
            else:
                self._consumer.seek(partition, committed)
        self._member = _member(membership)

    def _committed(self, partition: Any) -> int | None:
        """Ask twice for the group's commit.

        kafka-python may return an answer that nobody waited for, however old. The second is new.
        """
        self._consumer.committed(partition, timeout_ms=REQUEST_TIMEOUT_MS)
        committed: int | None = self._consumer.committed(partition, timeout_ms=REQUEST_TIMEOUT_MS)
        return committed

    def _repair_commits(
        self,
        positions: Mapping[Any, int | None],
        cut_off: Mapping[Any, OffsetAndMetadata | None] = {},  # it is only read
    ) -> None:
        """Move the group's commits to where Kafka has records, where it has none any more.

        Nobody else would be told of a position that is moved without a commit: the next owner would
        take another one, and skip what has come meanwhile.

        Args:
            positions: offsets that Kafka does not have, if they are known.
            cut_off: where logs were cut off, if it is known.
        """
        consumer, partitions = self._consumer, list(positions)
        beginnings = consumer.beginning_offsets(partitions, timeout_ms=_OFFSETS_TIMEOUT_MS)
        ends = self._ends(partitions)
        commits, resets = {}, []
        for partition, position in positions.items():
            committed = self._committed(partition)
            old = position if committed is None else committed
            cut = cut_off.get(partition)
            end = ends[partition] if cut is None else min(cut.offset, ends[partition])
            if old is None or beginnings[partition] <= old <= end:
                continue
            expired = old < beginnings[partition]
            new = beginnings[partition] if expired else end
            commits[partition] = OffsetAndMetadata(new, "", -1)
            cause: Literal["expired", "truncated"] = "expired" if expired else "truncated"
            resets.append(PositionReset(cause, partition.topic, partition.partition, old, new))
        if commits:
            consumer.commit(commits, timeout_ms=REQUEST_TIMEOUT_MS)
        for reset in resets:
            self._on_position_reset(reset)

    def _ends(self, partitions: Iterable[Any]) -> dict[Any, int]:
        try:
            ends: dict[Any, int] = self._consumer.end_offsets(
                list(partitions), timeout_ms=_OFFSETS_TIMEOUT_MS
            )
        except KeyError as error:  # of kafka-python, where others have a leader
            raise LeaderNotAvailableError(f"no broker leads {error}") from error
        return ends

    def truncate(self, batch: Batch, records: int) -> Batch:
        """Return the first records of the batch received last; the others come with the next."""
        rest = batch.records[records:]
        for partition, offset in _first_offsets(rest).items():
            self._consumer.seek(partition, offset)
        return Batch(batch.records[:records], batch.membership) if rest else batch

    def rewind(self) -> None:
        """Let what was received and is not committed come again."""
        self._member = None

    def commit(self, batch: Batch) -> None:
        """Commit a batch outside a transaction.

        Raises:
            KafkaError: from Kafka.
        """
        self._consumer.commit(offsets_behind(batch), timeout_ms=REQUEST_TIMEOUT_MS)

    def lag(self) -> dict[tuple[str, int], Lag]:
        """Return how far each partition is behind its end, by (topic, partition).

        A member without partitions asks for another member's, so that it notices as well if Kafka
        or the topic is gone.

        Raises:
            UnavailableError: if the topic does not exist.
            DependencyError: from Kafka.
        """
        with kafka_errors("look for the ends of the partitions"):
            self.connect()
            if self._member is None:
                self._seek_to_commits()
            partitions = self._consumer.assignment() if self._member is not None else ()
            if not partitions:
                self._check_topic()
                return {}
            return {
                (partition.topic, partition.partition): self._behind(partition, position, stable)
                for partition, stable in self._ends(partitions).items()
                if (position := self._position(partition)) is not None
            }

    def _check_topic(self) -> None:
        """Ask for the end of a partition that every topic has."""
        topic = self._settings.input_topic
        try:
            self._ends([TopicPartition(topic, 0)])
        except KafkaError as error:
            if is_missing(self._settings, topic):
                raise UnavailableError(
                    f"Kafka at {self._settings.kafka_bootstrap_servers} has no topic {topic} any "
                    "more: create it again with `triage-worker create-topics`, and it will be read "
                    "from its beginning"
                ) from error
            raise

    def _behind(self, partition: Any, position: int, stable: int) -> Lag:
        """Compare a position with the last stable offset and the end, as the last fetch had it."""
        end = max(stable, self._consumer.highwater(partition) or 0)
        readable = max(0, stable - position)
        held_back = end - max(stable, position)
        return Lag(readable + held_back, held_back)

    def _position(self, partition: Any) -> int | None:
        position: int | None = self._consumer.position(partition, timeout_ms=_OFFSETS_TIMEOUT_MS)
        return position

    def close(self) -> None:
        """Leave the group, so that its partitions move on at once, unless membership is static."""
        consumer, self._consumer = self._consumer, None
        self._member = None
        if consumer is not None:
            with contextlib.suppress(KafkaError):
                consumer.close(timeout_ms=_CLOSE_TIMEOUT_MS)


class _Rebalances(ConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python ships no types
    """Counts what is assigned. An error in here would come out of `poll`."""

    def __init__(self, consumer: Any, notify: Callable[[int], None]) -> None:
        self._consumer = consumer
        self._notify = notify

    def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        """Count what is left; all that was received was delivered before this poll."""
        self._notify(len(self._consumer.assignment() - set(revoked)))

    def on_partitions_lost(self, lost: Iterable[Any]) -> None:
        """Count what is left; Kafka refuses the delivery of what was received."""
        self._notify(len(self._consumer.assignment() - set(lost)))

    def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        """Count what there is now."""
        self._notify(len(self._consumer.assignment() | set(assigned)))


def offsets_behind(batch: Batch) -> dict[Any, Any]:
    """Return the position behind a batch's last record of each partition."""
    last = {(record.topic, record.partition): record.offset for record in batch.records}
    return {
        TopicPartition(*partition): OffsetAndMetadata(offset + 1, "", -1)
        for partition, offset in last.items()
    }


def _member(membership: Any) -> Member:
    return membership.generation_id, membership.member_id


def _bytes(records: list[Record]) -> int:
    return sum(len(record.value or b"") for record in records)


def _within_bytes(records: list[Record]) -> int:
    """Return how many records, one at least, have `_MOST_BYTES` at most."""
    total = 0
    for index, record in enumerate(records):
        total += len(record.value or b"")
        if total > _MOST_BYTES and index:
            return index
    return len(records)


def _first_offsets(records: list[Record]) -> dict[Any, int]:
    """Return the first record's offset of each partition."""
    first: dict[Any, int] = {}
    for record in records:
        first.setdefault(TopicPartition(record.topic, record.partition), record.offset)
    return first

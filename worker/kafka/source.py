"""Source: a member of the consumer group that receives batches of records.

One rule makes delivery exactly-once: after any change of membership and after any failure, each
partition is read from the group's commit. A commit contains the id of the topic, so that it is not
used for another topic of the same name, and the epoch of the partition's leader, by which Kafka
finds out whether the log has lost its end and was filled again.
"""

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import msgspec
from kafka import ConsumerRebalanceListener, OffsetAndMetadata, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import (
    KafkaError,
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
from worker.kafka.security import explained
from worker.kafka.topics import is_missing
from worker.kafka.unpack import one_allowance
from worker.kafka.workarounds import (
    attach_to_coordinator,
    beginning_offsets,
    end_offsets,
    fetch_commits,
    poll_readable,
    positions,
    seek_to_commit,
    topic_life,
)
from worker.settings import Settings

log = logging.getLogger("triage")

_METADATA_MAX_AGE_MS = 30_000
"""The longest delay before partitions that are added to the topic are consumed."""
_HEARTBEAT_MS = 1000
"""The longest delay before a member learns of a rebalance, while the others wait."""
_MOST_BYTES = 2 << 20
"""Most bytes of the values in a batch of several records. They are in memory several times."""
_FETCH_SECONDS = 0.005
"""How long Kafka takes to return records that it has."""
_LONGEST_POLL = 0.02
"""Seconds. kafka-python may sleep until the end of a poll, 100 ms at most, although records have
arrived."""
_LONGEST_SLEEP = 0.05
"""Seconds between two polls while a batch waits for long, so that fetching continues."""
_OFFSETS_TIMEOUT_MS = 2000
"""How long a missing leader may block partitions that have a leader."""
_CLOSE_TIMEOUT_MS = 5000

Member = tuple[int, str]
"""The group's generation, and the id that Kafka gave this member."""


class _PositionsChangedError(Exception):
    """What was polled is invalid: read each partition from the group's commit."""


class KafkaSource:
    """A member of the consumer group that reads the input topic. A new group starts at the oldest
    record.

    Rebalances are cooperative: partitions that keep their owner are read without a pause. With an
    instance id, membership is static, and a restart within the session timeout moves no partition.
    A member that does not poll for `stall_seconds` loses its partitions, although its heartbeats
    continue.

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
        self._member: Member | None = None  # the membership at the time of the positions
        self._life = ""  # ids of the cluster and the topic at that time
        self._life_read = ""  # the same when it last had partitions
        self._begun: dict[tuple[int, str], int] = {}  # offsets of partitions without a commit
        self._received = -math.inf  # time of the last batch

    def connect(self) -> None:
        """Connect if it is not connected. The first `receive` joins the group.

        Raises:
            DependencyError: from Kafka.
        """
        if self._consumer is not None:
            return
        settings = self._settings
        assignor = CooperativeStickyAssignor()
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
                partition_assignment_strategy=[assignor],
            )
        self._rejoin_if_needed = attach_to_coordinator(consumer)
        consumer.subscribe(
            [settings.input_topic], listener=_Rebalances(consumer, assignor, self._on_rebalance)
        )
        self._consumer, self._member = consumer, None

    @property
    def joined(self) -> bool:
        """Whether it is a member of the group now, with or without partitions."""
        if self._consumer is None:
            return False
        return bool(self._consumer.group_metadata().state == MemberState.STABLE)

    def receive(self, timeout: float, max_records: int) -> Batch | None:
        """Wait for a first record, and return it with others that are available.

        It returns no sooner than `batch_wait_ms` after the last batch, so that batches fill under
        load. A record that arrives after a longer pause does not wait.

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
                self._member = None  # the polled records must be read again
                raise
        if not records:
            return None
        membership = self._consumer.group_metadata()
        if _member(membership) != self._member:
            self._member = None
            return None
        self._received = time.monotonic()
        batch = Batch(records, membership, self._life)
        return self.truncate(batch, _within_bytes(records))

    def _gather(self, timeout: float, max_records: int) -> list[Record]:
        """Poll until the batch is full, or its time is over and Kafka has no more records."""
        records: list[Record] = []

        def full() -> bool:
            return len(records) >= max_records or _bytes(records) > _MOST_BYTES

        records += self._poll(0, max_records)
        stale = bool(records)  # they were buffered; Kafka may have more now
        end = time.monotonic() + timeout
        while not records and (left := end - time.monotonic()) > 0:
            records += self._poll(min(left, _LONGEST_POLL), max_records)
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
            raise _PositionsChangedError from None  # new partitions were assigned
        except OffsetOutOfRangeError as error:
            self._repair_commits(error.args[0])
            raise _PositionsChangedError from None
        except LogTruncationError as error:
            self._repair_commits(dict.fromkeys(error.divergent_offsets), error.divergent_offsets)
            raise _PositionsChangedError from None
        except UnknownBrokerIdError:
            # The metadata lack a leader: kafka-python would never ask for it again.
            self.close()
            raise
        if _member(consumer.group_metadata()) != self._member and (
            records or self._member is not None or self.joined
        ):
            raise _PositionsChangedError
        if self._member is not None and self._topic_life() != self._life:
            raise _PositionsChangedError
        return records

    def _topic_life(self) -> str:
        return topic_life(self._consumer, self._settings.input_topic) or self._life

    def _seek_to_commits(self) -> None:
        """Read each partition from the group's commit, or from its beginning if it has none."""
        membership = self._consumer.group_metadata()
        if membership.state != MemberState.STABLE:
            return
        life = self._topic_life()
        partitions = list(self._consumer.assignment())
        commits = self._committed(partitions)
        without = []
        for partition in partitions:
            commit = commits.get(partition)
            if commit is not None and not _is_of_former_life(commit, life):
                seek_to_commit(self._consumer, partition, commit)
            elif (begun := self._begun.get((partition.partition, life))) is not None:
                self._consumer.seek(partition, begun)
            else:
                without.append(partition)
        self._begin(without, commits, life)
        if life != self._life:
            log.info("reading %s with topic id %s", self._settings.input_topic, life)
        self._member, self._life = _member(membership), life
        if partitions:
            self._life_read = life

    def _committed(self, partitions: list[Any]) -> dict[Any, OffsetAndMetadata]:
        """Ask twice for the group's commits, and return the second answer.

        kafka-python may return an old answer that nobody waited for. The second one is new.
        """
        fetch_commits(self._consumer, partitions, REQUEST_TIMEOUT_MS)
        return fetch_commits(self._consumer, partitions, REQUEST_TIMEOUT_MS)

    def _begin(
        self, partitions: list[Any], commits: Mapping[Any, OffsetAndMetadata], life: str
    ) -> None:
        """Read partitions from their beginning, and report those that may hold records.

        The offset is kept, so that records that expire before the first commit are reported.
        """
        if not partitions:
            return
        beginnings, ends = {}, {}
        with contextlib.suppress(KafkaError):  # without its leader a partition is reported as well
            beginnings = self._beginnings(partitions)
            ends = self._ends(partitions)
        recreated = self._life_read not in ("", life)
        for partition in partitions:
            commit, new = commits.get(partition), beginnings.get(partition, 0)
            if partition in beginnings:
                self._consumer.seek(partition, new)
            else:
                self._consumer.seek_to_beginning(partition)
            self._begun[partition.partition, life] = new
            if commit is None and not recreated and ends.get(partition) == new:
                continue
            cause: Literal["uncommitted", "recreated"] = (
                "recreated" if commit or recreated else "uncommitted"
            )
            old = commit.offset if commit else None
            self._on_position_reset(
                PositionReset(cause, partition.topic, partition.partition, old, new)
            )

    def _repair_commits(
        self,
        positions: Mapping[Any, int | None],
        cut_off: Mapping[Any, OffsetAndMetadata | None] = {},  # never modified
    ) -> None:
        """Move commits to the nearest offset that Kafka has, if it no longer has theirs.

        Without a commit, the next owner of the partition would not know of the new position. It
        would choose another one, and skip records that arrived in between.

        Args:
            positions: offsets that Kafka does not have, if known.
            cut_off: where logs were truncated, if known.
        """
        partitions = list(positions)
        beginnings, ends = self._beginnings(partitions), self._ends(partitions)
        committed, life = self._committed(partitions), self._topic_life()
        commits, resets = {}, []
        for partition, position in positions.items():
            commit = committed.get(partition)
            old = position if commit is None else commit.offset
            cut = cut_off.get(partition)
            end = ends[partition] if cut is None else min(cut.offset, ends[partition])
            if old is None or beginnings[partition] <= old <= end:
                continue
            expired = old < beginnings[partition]
            if _is_of_former_life(commit, life) or (commit is None and not expired):
                continue  # it is read from its beginning
            new = beginnings[partition] if expired else end
            commits[partition] = OffsetAndMetadata(new, life, -1)
            cause: Literal["expired", "truncated"] = "expired" if expired else "truncated"
            resets.append(PositionReset(cause, partition.topic, partition.partition, old, new))
        for reset in resets:  # first: after a commit without an answer, nobody would report it
            self._on_position_reset(reset)
        if commits:
            self._consumer.commit(commits, timeout_ms=REQUEST_TIMEOUT_MS)

    def _beginnings(self, partitions: Iterable[Any]) -> dict[Any, int]:
        return beginning_offsets(self._consumer, partitions, _OFFSETS_TIMEOUT_MS)

    def _ends(self, partitions: Iterable[Any]) -> dict[Any, int]:
        return end_offsets(self._consumer, partitions, _OFFSETS_TIMEOUT_MS)

    def truncate(self, batch: Batch, records: int) -> Batch:
        """Return the first records of the last batch. The others come with the next one."""
        rest = batch.records[records:]
        for partition, offset in _first_offsets(rest).items():
            self._consumer.seek(partition, offset)
        return msgspec.structs.replace(batch, records=batch.records[:records]) if rest else batch

    def rewind(self) -> None:
        """Read uncommitted records again."""
        self._member = None

    def commit(self, batch: Batch) -> None:
        """Commit a batch outside a transaction.

        Raises:
            KafkaError: from Kafka.
        """
        self._consumer.commit(offsets_behind(batch), timeout_ms=REQUEST_TIMEOUT_MS)

    def lag(self) -> dict[tuple[str, int], Lag]:
        """Return how far each partition is behind its end, by (topic, partition).

        A member without partitions asks for one of another member, so that it also notices if Kafka
        or the topic is gone.

        Raises:
            UnavailableError: if the topic does not exist.
            DependencyError: from Kafka.
        """
        with explained(self._settings), kafka_errors("look for the ends of the partitions"):
            self.connect()
            if self._member is None:
                self._seek_to_commits()
            partitions = self._consumer.assignment() if self._member is not None else ()
            if not partitions:
                self._check_topic()
                return {}
            ends = self._ends(partitions)
            found = positions(self._consumer, _OFFSETS_TIMEOUT_MS)
            return {
                (partition.topic, partition.partition): self._behind(
                    partition, found[partition], stable
                )
                for partition, stable in ends.items()
                if partition in found
            }

    def _check_topic(self) -> None:
        """Ask for the end of partition 0, which every topic has."""
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
        """Compare a position with the last stable offset and the end, as of the last fetch."""
        end = max(stable, self._consumer.highwater(partition) or 0)
        readable = max(0, stable - position)
        held_back = end - max(stable, position)
        return Lag(readable + held_back, held_back)

    def close(self) -> None:
        """Leave the group, so that its partitions move at once, unless membership is static."""
        consumer, self._consumer = self._consumer, None
        self._member = None
        if consumer is not None:
            with contextlib.suppress(KafkaError):
                consumer.close(timeout_ms=_CLOSE_TIMEOUT_MS)


class _Rebalances(ConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python ships no types
    """Counts the assigned partitions. An error in here would be raised by `poll`."""

    def __init__(self, consumer: Any, assignor: Any, notify: Callable[[int], None]) -> None:
        self._consumer = consumer
        self._assignor = assignor
        self._notify = notify

    def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        """Count the remaining partitions. All received records were delivered before this poll."""
        self._notify(len(self._consumer.assignment() - set(revoked)))

    def on_partitions_lost(self, lost: Iterable[Any]) -> None:
        """Count the remaining partitions. Kafka refuses the delivery of the received records.

        Fault: kafka-python claims the lost partitions when it joins again, and then does not give
        them up, so that nobody owns those that another member is to own.
        Seen: 3.0.12. Test: `test_a_member_does_not_claim_the_partitions_that_it_lost`.
        """
        self._assignor.member_assignment = None
        self._notify(len(self._consumer.assignment() - set(lost)))

    def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        """Count the assigned partitions."""
        self._notify(len(self._consumer.assignment() | set(assigned)))


def offsets_behind(batch: Batch) -> dict[Any, Any]:
    """Return the position after a batch's last record of each partition."""
    last = {(record.topic, record.partition): record for record in batch.records}
    return {
        TopicPartition(*partition): OffsetAndMetadata(
            record.offset + 1, batch.topic_life, record.leader_epoch
        )
        for partition, record in last.items()
    }


def _is_of_former_life(commit: OffsetAndMetadata | None, life: str) -> bool:
    """Return whether a topic of this name and cluster had another id when it was committed.

    A commit without an id, or one that was copied from another cluster, counts for this topic.
    """
    if commit is None or commit.metadata == life:
        return False
    cluster, _, topic = life.partition("/")
    before, _, former = commit.metadata.partition("/")
    return bool(topic and former) and before == cluster


def _member(membership: Any) -> Member:
    return membership.generation_id, membership.member_id


def _bytes(records: list[Record]) -> int:
    return sum(len(record.value or b"") for record in records)


def _within_bytes(records: list[Record]) -> int:
    """Return how many of the first records fit into `_MOST_BYTES`, at least one."""
    total = 0
    for index, record in enumerate(records):
        total += len(record.value or b"")
        if total > _MOST_BYTES and index:
            return index
    return len(records)


def _first_offsets(records: list[Record]) -> dict[Any, int]:
    """Return the offset of each partition's first record."""
    first: dict[Any, int] = {}
    for record in records:
        first.setdefault(TopicPartition(record.topic, record.partition), record.offset)
    return first

"""Source: a member of the consumer group that gives batches of records."""

import contextlib
import time
from collections.abc import Mapping
from typing import Any

from kafka import OffsetAndMetadata, TopicPartition
from kafka.errors import KafkaError

from shared.settings import Settings
from worker.kafka_clients.connection import (
    REQUEST_TIMEOUT_MS,
    connecting,
    kafka_errors,
    new_consumer,
)
from worker.kafka_clients.records import Batch, Record


class Source:
    """A member of the consumer group that reads the input topic from its oldest record on."""

    def __init__(self, settings: Settings) -> None:
        self._batch_size = settings.batch_size
        self._wait = settings.batch_wait_ms / 1000
        self._unfinished: list[Record] = []  # polled, but neither delivered nor part of a batch
        with connecting(settings):
            self.consumer = new_consumer(
                settings,
                group_id=settings.group_id,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                isolation_level="read_committed",
                session_timeout_ms=settings.session_timeout_ms,
                heartbeat_interval_ms=settings.session_timeout_ms // 3,
            )
        self.consumer.subscribe([settings.input_topic])

    def receive(self, timeout: float) -> Batch | None:
        """Waits for a first record, then a little for more.

        Args:
            timeout: seconds to wait for the first record.

        Returns:
            A batch of 1 to `batch_size` records, or None if there was no record in time.

        Raises:
            DependencyError: from Kafka.
        """
        self._go_back()
        records = self._unfinished
        memberships: list[Any] = []
        deadline = time.monotonic() + timeout
        while len(records) < self._batch_size:
            wait = max(0, deadline - time.monotonic())
            with kafka_errors("poll"):
                polled = self.consumer.poll(
                    timeout_ms=int(wait * 1000), max_records=self._batch_size - len(records)
                )
                memberships.append(self.consumer.group_metadata())
            if polled and not records:
                deadline = time.monotonic() + self._wait
            records += flat(polled)
            # A batch must come from one generation of the group: what was polled under an older one
            # may be another member's by now, and one below 0 would switch the broker's fencing off.
            generations = {membership.generation_id for membership in memberships}
            if len(generations) > 1 or min(generations) < 0:
                return None
            if not polled:
                break
        self._unfinished = []
        if not records:
            return None
        offsets = {_partition(r): OffsetAndMetadata(r.offset + 1, "", -1) for r in records}
        return Batch(records, offsets, memberships[-1])

    def rewind(self, batch: Batch) -> None:
        """Lets a batch that was not delivered come again."""
        self._unfinished = batch.records

    def _go_back(self) -> None:
        """Goes back to where the group's commits stand, if records were polled but not delivered.

        It asks Kafka, because a delivery that failed for us may have succeeded there.
        """
        first: dict[Any, int] = {}
        for record in self._unfinished:
            first.setdefault(_partition(record), record.offset)
        with kafka_errors("go back"):
            for partition in self.consumer.assignment() & first.keys():
                committed = self.consumer.committed(partition, timeout_ms=REQUEST_TIMEOUT_MS)
                self.consumer.seek(partition, first[partition] if committed is None else committed)
        self._unfinished = []

    def close(self) -> None:
        """Leaves the group, so that the partitions move on at once."""
        with contextlib.suppress(KafkaError):
            self.consumer.close()


def flat(polled: Mapping[Any, list[Record]]) -> list[Record]:
    """What a poll gave, without the division by partitions."""
    return [record for records in polled.values() for record in records]


def _partition(record: Record) -> Any:
    return TopicPartition(record.topic, record.partition)

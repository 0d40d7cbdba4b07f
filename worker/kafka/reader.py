"""Reader: read the committed records of several topics from given offsets, outside any group."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from kafka import TopicPartition
from kafka.errors import OffsetOutOfRangeError

from shared.errors import UnavailableError
from worker.kafka.connection import REQUEST_TIMEOUT_MS, connecting, kafka_errors, new_consumer
from worker.kafka.records import Record
from worker.kafka.security import explained
from worker.kafka.topics import find_partitions
from worker.kafka.workarounds import beginning_offsets, end_offsets, positions
from worker.settings import Settings

_NEW_PARTITIONS = 30
"""Seconds between checks for new partitions."""


class PositionLostError(UnavailableError):
    """A topic ends before the offset to continue from: it was deleted and created again, or
    truncated."""


class Reader:
    """Reads all partitions of topics.

    Args:
        positions: the next offset by topic and partition. Other partitions are read from the
            beginning.

    Attributes:
        skipped: records that Kafka had removed before they were read, by topic.

    Raises:
        DependencyError: from Kafka.
        MissingTopicError: if a topic does not exist.
        PositionLostError: if a position is past the end of its partition.
    """

    def __init__(
        self, settings: Settings, topics: Sequence[str], positions: Mapping[tuple[str, int], int]
    ) -> None:
        self.skipped = dict.fromkeys(topics, 0)
        self._settings = settings
        self._topics = topics
        self._positions = dict(positions)
        self._looked = time.monotonic()
        with connecting(settings):
            self._consumer = new_consumer(
                settings,
                group_id=None,
                isolation_level="read_committed",
                auto_offset_reset="none",
                max_poll_records=2000,
            )
        try:
            with kafka_errors("find topics"):
                self._assign()
        except BaseException:
            self.close()
            raise

    def poll(self, seconds: float) -> list[Record]:
        """Wait for records, at most this long.

        Raises:
            DependencyError: from Kafka. Close the reader then.
        """
        with kafka_errors("read"):
            if time.monotonic() - self._looked > _NEW_PARTITIONS:
                self._assign()
            try:
                polled = self._consumer.poll(timeout_ms=int(seconds * 1000))
            except OffsetOutOfRangeError:
                self._seek()
                return []
        records: list[Record] = [record for found in polled.values() for record in found]
        for record in records:
            self._positions[record.topic, record.partition] = record.offset + 1
        return records

    def behind(self) -> int:
        """Return the number of offsets that are not read yet."""
        with explained(self._settings), kafka_errors("find the ends of partitions"):
            ends = end_offsets(self._consumer, self._consumer.assignment(), REQUEST_TIMEOUT_MS)
            found = positions(self._consumer, REQUEST_TIMEOUT_MS)
            return sum(max(0, end - found.get(partition, 0)) for partition, end in ends.items())

    def _assign(self) -> None:
        self._looked = time.monotonic()
        partitions = {
            TopicPartition(topic, number)
            for topic, numbers in find_partitions(self._settings, self._topics).items()
            for number in numbers
        }
        if partitions != self._consumer.assignment():
            self._consumer.assign(sorted(partitions))
            self._seek()

    def _seek(self) -> None:
        """Seek to the positions, or to the first record that Kafka still has."""
        partitions: Any = self._consumer.assignment()
        begins = beginning_offsets(self._consumer, partitions, REQUEST_TIMEOUT_MS)
        ends = end_offsets(self._consumer, partitions, REQUEST_TIMEOUT_MS)
        for partition in partitions:
            place = partition.topic, partition.partition
            begin, end = begins[partition], ends[partition]
            position = self._positions.get(place)
            if position is not None and position > end:
                raise PositionLostError(
                    f"{partition.topic}-{partition.partition} ends at {end}, before {position}, "
                    "which was read up to: the topic was created anew or has lost its end"
                )
            if position is not None and position < begin:
                self.skipped[partition.topic] += begin - position
            self._consumer.seek(partition, begin if position is None else max(begin, position))

    def close(self) -> None:
        """Close the connections."""
        with contextlib.suppress(Exception):
            self._consumer.close()

"""Follow: read the committed records of a topic outside any consumer group, live or once."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from kafka import TopicPartition

from shared.errors import DependencyError, UnavailableError
from worker.kafka.connection import connecting, kafka_errors, new_consumer
from worker.kafka.records import Record, records_of
from worker.settings import Settings

_PATIENCE = 60
"""Seconds without a record before the end of a topic; workers' transactions take ten at most."""


def follow(settings: Settings, topic: str, *, from_beginning: bool) -> Iterator[Record]:
    """Yield all committed records of a topic, as they come, without end.

    Args:
        from_beginning: start with the oldest record, or else with the next one.

    Raises:
        DependencyError: from Kafka, or if there is no such topic.
    """
    with _reader(settings, topic, "earliest" if from_beginning else "latest") as consumer:
        while True:
            yield from records_of(consumer.poll(timeout_ms=200))


def read(settings: Settings, topic: str) -> Iterator[Record]:
    """Yield all committed records that a topic has now, by offset within each partition.

    Waits for the transactions that are open, so that nothing is missing which was committed before
    the call.

    Raises:
        DependencyError: from Kafka, or if there is no such topic.
        UnavailableError: if a transaction does not end.
    """
    with _reader(settings, topic, "earliest", "read_uncommitted") as consumer:
        ends = consumer.end_offsets(consumer.assignment())
    with _reader(settings, topic, "earliest") as consumer:
        deadline = time.monotonic() + _PATIENCE
        while any(consumer.position(partition) < end for partition, end in ends.items()):
            if records := records_of(consumer.poll(timeout_ms=200)):
                yield from (
                    r for r in records if r.offset < ends[TopicPartition(topic, r.partition)]
                )
                deadline = time.monotonic() + _PATIENCE
            elif time.monotonic() > deadline:
                raise UnavailableError(
                    f"{topic}: an open transaction holds its readers back for {_PATIENCE} s; "
                    "expected it to end"
                )


@contextlib.contextmanager
def _reader(
    settings: Settings, topic: str, begin: str, isolation: str = "read_committed"
) -> Iterator[Any]:
    """Make a consumer of all the topic's partitions."""
    with connecting(settings):
        consumer = new_consumer(
            settings, group_id=None, isolation_level=isolation, auto_offset_reset=begin
        )
    with contextlib.closing(consumer), kafka_errors(f"read {topic}"):
        if topic not in consumer.topics():
            raise DependencyError(
                f"Kafka at {settings.kafka_bootstrap_servers} has no topic {topic}"
            )
        partitions = [TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic)]
        consumer.assign(partitions)
        yield consumer

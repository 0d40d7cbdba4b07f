"""Follow: the committed records of a topic, outside any consumer group, as they come or once."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from kafka import TopicPartition

from shared.errors import DependencyError, UnavailableError
from worker.kafka.connection import connecting, kafka_errors, new_consumer
from worker.kafka.record_batches import PartitionRecords
from worker.kafka.records import Record, flat
from worker.settings import Settings

_PATIENCE = 60
"""Seconds that a topic may give nothing before its end; workers' transactions take ten at most."""


def follow(settings: Settings, topic: str, *, from_beginning: bool) -> Iterator[Record]:
    """All committed records of a topic, as they come, without end.

    Args:
        from_beginning: start with the oldest record, or with the next one to come.

    Raises:
        DependencyError: from Kafka, or if there is no such topic.
    """
    with _reader(settings, topic, "earliest" if from_beginning else "latest") as consumer:
        while True:
            yield from flat(consumer.poll(timeout_ms=200))


def read(settings: Settings, topic: str) -> Iterator[Record]:
    """All committed records that a topic has now, in order of their offsets in each partition.

    It waits for the transactions that are under way, so that nothing which has been committed
    before the call is missing.

    Raises:
        DependencyError: from Kafka, or if there is no such topic.
        UnavailableError: if a transaction does not end.
    """
    with _reader(settings, topic, "earliest", "read_uncommitted") as consumer:
        ends = consumer.end_offsets(consumer.assignment())
    with _reader(settings, topic, "earliest") as consumer:
        deadline = time.monotonic() + _PATIENCE
        while any(consumer.position(partition) < end for partition, end in ends.items()):
            if records := flat(consumer.poll(timeout_ms=200)):
                yield from (
                    r for r in records if r.offset < ends[TopicPartition(topic, r.partition)]
                )
                deadline = time.monotonic() + _PATIENCE
            elif time.monotonic() > deadline:
                raise UnavailableError(
                    f"{topic}: a transaction that holds its readers back goes on"
                )


@contextlib.contextmanager
def _reader(
    settings: Settings, topic: str, begin: str, isolation: str = "read_committed"
) -> Iterator[Any]:
    """A consumer of all the topic's partitions."""
    with connecting(settings):
        consumer = new_consumer(
            settings, group_id=None, isolation_level=isolation, auto_offset_reset=begin
        )
    consumer._fetcher.PartitionRecords = PartitionRecords
    with contextlib.closing(consumer), kafka_errors(f"read {topic}"):
        if topic not in consumer.topics():
            raise DependencyError(
                f"Kafka at {settings.kafka_bootstrap_servers} has no topic {topic}"
            )
        partitions = [TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic)]
        consumer.assign(partitions)
        yield consumer

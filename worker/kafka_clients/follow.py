"""Follow: all committed records of a topic as they come, outside any consumer group."""

import contextlib
from collections.abc import Iterator

from kafka import TopicPartition

from shared.errors import DependencyError
from shared.settings import Settings
from worker.kafka_clients.connection import connecting, kafka_errors, new_consumer
from worker.kafka_clients.records import Record
from worker.kafka_clients.source import flat


def follow(settings: Settings, topic: str, *, from_beginning: bool) -> Iterator[Record]:
    """All committed records of a topic, as they come, without end.

    Args:
        from_beginning: start with the oldest record, or with the next one to come.

    Raises:
        DependencyError: from Kafka, or if there is no such topic.
    """
    with connecting(settings):
        consumer = new_consumer(
            settings,
            group_id=None,
            isolation_level="read_committed",
            auto_offset_reset="earliest" if from_beginning else "latest",
        )
    with contextlib.closing(consumer), kafka_errors(f"read {topic}"):
        if topic not in consumer.topics():
            raise DependencyError(
                f"Kafka at {settings.kafka_bootstrap_servers} has no topic {topic}"
            )
        partitions = [TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic)]
        consumer.assign(partitions)
        while True:
            yield from flat(consumer.poll(timeout_ms=200))

"""Each of these tests fails without its workaround for kafka-python."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from kafka import OffsetAndMetadata, TopicPartition
from kafka.errors import KafkaError, KafkaTimeoutError
from kafka.structs import ConsumerGroupMetadata

from tests.kafka.processes import broker_process, settings_of, wait_for
from worker.demo.local_kafka import LocalKafka
from worker.kafka.connection import new_producer
from worker.kafka.workarounds import begin_transactional, close_producer, wait_for_result
from worker.settings import Settings


@pytest.fixture
def settings(kafka: LocalKafka, request: pytest.FixtureRequest) -> Settings:
    return settings_of(kafka, request.node.name.replace("_", "-"), partitions=1)


@contextmanager
def hanging(kafka: LocalKafka) -> Iterator[None]:
    """A broker that answers nobody."""
    broker = broker_process(kafka)
    broker.suspend()
    try:
        yield
    finally:
        broker.resume()


def test_a_commit_is_not_waited_for_without_end(settings: Settings, kafka: LocalKafka) -> None:
    producer = new_producer(settings, "bounded")
    offsets = {TopicPartition(settings.input_topic, 0): OffsetAndMetadata(1, "", -1)}
    group = ConsumerGroupMetadata(settings.group_id)
    outcome: list[str] = []

    def commit() -> None:
        try:
            producer.begin_transaction()
            result = begin_transactional(
                producer, lambda manager: manager.send_offsets_to_transaction(offsets, group)
            )
            wait_for_result(result, 0.5, "the offsets")
            outcome.append("the offsets were taken")
        except KafkaTimeoutError as error:
            outcome.append(str(error))

    with hanging(kafka):
        committing = threading.Thread(target=commit, daemon=True)
        committing.start()
        committing.join(5)
        assert outcome == ["KafkaTimeoutError: no answer to the offsets within 0.5 s"]
    close_producer(producer)


def test_a_producer_that_cannot_send_leaves_no_thread(
    settings: Settings, kafka: LocalKafka
) -> None:
    before = threading.active_count()
    producer = new_producer(settings)
    producer.send(settings.alerts_topic, b"before").get(timeout=10)
    with hanging(kafka):
        for _ in range(3):
            producer.send(settings.alerts_topic, b"value")
        with pytest.raises(KafkaError):
            producer.flush(0.1)
        start = time.monotonic()
        close_producer(producer)
        assert time.monotonic() - start < 5
        wait_for(lambda: threading.active_count() <= before, 10)

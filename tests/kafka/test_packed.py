"""Packed batches in kafka-python's producer, against a real Kafka."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import IllegalStateError, MessageSizeTooLargeError

from tests.kafka.feed import sink_of
from tests.kafka.processes import read_all, settings_of, wait_for
from tests.kafka.test_sink import delivering, noise
from worker.demo.local_kafka import LocalKafka
from worker.kafka.connection import new_producer
from worker.kafka.record_batches import PackedWriter
from worker.kafka.records import Message, records_of
from worker.kafka.workarounds import close_producer
from worker.settings import Settings


@pytest.fixture
def settings(kafka: LocalKafka, request: pytest.FixtureRequest) -> Settings:
    return settings_of(kafka, request.node.name.replace("_", "-"), partitions=1)


@contextmanager
def producing(settings: Settings) -> Iterator[Any]:
    producer = new_producer(settings)
    try:
        yield producer
    finally:
        close_producer(producer)


def test_packed_and_single_messages_share_a_queue_in_order(settings: Settings) -> None:
    topic, numbers = settings.alerts_topic, iter(range(10_000))
    with producing(settings) as producer:
        writer = PackedWriter(producer)
        for _ in range(50):
            packed = [Message(topic, None, b"%d" % next(numbers), []) for _ in range(3)]
            futures = [future for _, future in writer.write(packed)]
            futures += [producer.send(topic, b"%d" % next(numbers), partition=0) for _ in range(2)]
        producer.flush(30)
        assert all(future.succeeded() for future in futures)
    with closing(
        KafkaConsumer(
            bootstrap_servers=settings.kafka_bootstrap_servers, auto_offset_reset="earliest"
        )
    ) as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        found: list[bytes | None] = []
        while len(found) < 250:
            found += [record.value for record in records_of(consumer.poll(timeout_ms=1000))]
    assert found == [b"%d" % n for n in range(250)]


def test_a_packed_batch_that_is_too_large_fails_and_is_not_split(settings: Settings) -> None:
    """kafka-python splits by the messages' futures, and a packed batch has but one."""
    topic = f"{settings.alerts_topic}-limited"
    with closing(KafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap_servers)) as client:
        configs = {"max.message.bytes": "10000"}
        client.create_topics({topic: {"num_partitions": 1, "configs": configs}})
    with producing(settings) as producer:
        messages = [Message(topic, None, noise(900 + n), []) for n in range(100)]
        ((index, future),) = PackedWriter(producer).write(messages)
        producer.flush(10)
        with pytest.raises(MessageSizeTooLargeError):
            future.get(timeout=0)
    assert index == 0
    assert read_all(settings, topic) == []


def test_a_close_while_messages_are_appended_leaves_no_future_open(settings: Settings) -> None:
    for _ in range(20):
        with producing(settings) as producer:
            writer, futures, begun = PackedWriter(producer), list[Any](), threading.Event()

            def append(writer: PackedWriter, futures: list[Any], begun: threading.Event) -> None:
                try:
                    while True:
                        message = Message(settings.alerts_topic, None, b"value", [])
                        futures += [future for _, future in writer.write([message])]
                        begun.set()
                except IllegalStateError:
                    return

            thread = threading.Thread(target=append, args=(writer, futures, begun))
            thread.start()
            begun.wait(10)
            close_producer(producer)
            thread.join(10)
            assert not thread.is_alive()
            wait_for(lambda futures=futures: all(f.is_done for f in futures), 10)  # type: ignore[misc]


def test_without_packed_batches_all_is_delivered_too(settings: Settings) -> None:
    messages = [Message(settings.alerts_topic, None, b"%d" % n, []) for n in range(9)]
    with delivering(settings) as made, closing(sink_of(settings, made.source)) as sink:
        sink._packed = None
        sink.deliver(made.batch, messages)
        assert made.committed() == 10
    assert len(read_all(settings, settings.alerts_topic)) == 9

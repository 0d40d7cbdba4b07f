"""Each of these tests fails without its workaround for kafka-python."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from kafka import KafkaProducer, OffsetAndMetadata, TopicPartition, codec
from kafka.errors import KafkaError, KafkaTimeoutError, LeaderNotAvailableError
from kafka.record import default_records
from kafka.structs import ConsumerGroupMetadata

from shared.errors import UnavailableError
from tests.kafka.feed import Feed, drain
from tests.kafka.processes import broker_process, settings_of, wait_for
from worker.demo.local_kafka import LocalKafka
from worker.kafka.connection import new_consumer, new_producer
from worker.kafka.records import Batch
from worker.kafka.source import KafkaSource
from worker.kafka.unpack import MOST_BYTES
from worker.kafka.workarounds import (
    begin_transactional,
    beginning_offsets,
    close_producer,
    end_offsets,
    wait_for_result,
)
from worker.settings import Settings


@pytest.fixture
def settings(kafka: LocalKafka, request: pytest.FixtureRequest) -> Settings:
    return settings_of(kafka, request.node.name.replace("_", "-"), partitions=1)


@contextmanager
def hanging(kafka: LocalKafka) -> Iterator[None]:
    """Yield a broker that never answers."""
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


@pytest.mark.parametrize("look_up", [beginning_offsets, end_offsets])
def test_a_partition_without_a_leader_is_named(
    kafka: LocalKafka, look_up: Callable[[Any, list[TopicPartition], int], dict[Any, int]]
) -> None:
    settings = settings_of(kafka, look_up.__name__, partitions=2)
    partitions = [TopicPartition(settings.input_topic, number) for number in range(2)]
    with closing(new_consumer(settings, group_id=None)) as consumer:
        consumer.assign(partitions)
        assert look_up(consumer, partitions, 10_000) == dict.fromkeys(partitions, 0)
        cluster = consumer._manager.cluster
        find = cluster.leader_for_partition
        cluster.leader_for_partition = lambda p: -1 if p == partitions[1] else find(p)
        with pytest.raises(LeaderNotAvailableError, match="partition=1"):
            look_up(consumer, partitions, 10_000)


def test_a_batch_unpacks_to_no_more_than_it_may(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though no other test has put our decoders in."""
    monkeypatch.setattr(default_records, "gzip_decode", codec.gzip_decode)
    producer = KafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        compression_type="gzip",
        max_request_size=2 * MOST_BYTES,
    )
    with closing(producer):
        producer.send(settings.input_topic, bytes(MOST_BYTES + 1)).get(timeout=30)
    with closing(KafkaSource(settings)) as source:
        (record,) = drain(source).records
    assert record.error == f"TooLargeError: the batch unpacks to more than {MOST_BYTES} bytes"


def test_a_leader_that_the_metadata_lack_loses_no_record(settings: Settings) -> None:
    """kafka-python loses what it has just taken, and never asks that leader again."""
    feed = Feed(settings)
    with closing(feed.producer), closing(KafkaSource(settings)) as source:
        feed(0, 6)
        source.commit(source.truncate(drain(source), 1))  # or it would fail before it fetches
        source.rewind()
        manager, before = source._consumer._manager, source._consumer
        find, leader = manager.cluster.broker_metadata, 1

        def find_others(node: object) -> object:
            lacking = node == leader and source._consumer is before
            return None if lacking else find(node)

        manager.cluster.broker_metadata = find_others
        if leader in manager._conns:
            manager._conns[leader].close()
        with pytest.raises(UnavailableError, match="UnknownBrokerId"):
            drain(source, lambda _: False, seconds=20)
        manager.cluster.broker_metadata = find
        feed(0, 4)
        taken: list[int] = []

        def take(batch: Batch) -> bool:
            taken.extend(record.offset for record in batch.records)
            return len(taken) >= 9

        drain(source, take, seconds=20)
        assert taken == list(range(1, 10))

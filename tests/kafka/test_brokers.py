"""The worker's Kafka clients go on when a broker was killed and comes back."""

import gc
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
from kafka import OffsetAndMetadata, TopicPartition
from kafka.errors import KafkaError

from shared.errors import UnavailableError
from tests.kafka.processes import settings_of, wait_for
from worker.demo.local_kafka import LocalKafka
from worker.kafka.connection import new_consumer, new_producer
from worker.kafka.source import Source

pytestmark = [
    pytest.mark.usefixtures("kafka"),  # which says why, where no Kafka can start
    pytest.mark.usefixtures("sockets_of_vain_attempts"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def sockets_of_vain_attempts() -> Iterator[None]:
    """kafka-python leaves them to the garbage collector, which has to warn of them here."""
    yield
    gc.collect()


def test_a_commit_does_not_wait_for_ever_for_a_coordinator_that_was_away() -> None:
    with LocalKafka() as broker:
        settings = settings_of(broker, "away", partitions=1)
        consumer = new_consumer(settings, group_id=settings.group_id)
        producer = new_producer(settings, "away")
        producer.begin_transaction()
        producer.send(settings.alerts_topic, b"an alert")
        producer.flush()  # so that the coordinator is known, and nothing is on the way to it
        offsets = {TopicPartition(settings.input_topic, 0): OffsetAndMetadata(1, "", -1)}
        outcome: list[str] = []

        def commit() -> None:
            try:
                producer.send_offsets_to_transaction(offsets, consumer.group_metadata())
                producer.commit_transaction()
                outcome.append("committed")
            except KafkaError as error:
                outcome.append(type(error).__name__)

        broker.kill_broker(1)
        committing = threading.Thread(target=commit, daemon=True)
        committing.start()
        committing.join(2)
        assert outcome == []
        broker.start_broker(1)
        broker.wait_for_broker(1)
        committing.join(120)
        assert len(outcome) == 1
        producer.close(timeout=0)
        consumer.close()


def test_a_partition_without_a_leader_is_waited_for() -> None:
    with LocalKafka(3, "default.replication.factor=1\nmin.insync.replicas=1\n") as kafka:
        settings = settings_of(kafka, "leaderless")
        with closing(Source(settings)) as source:

            def lag() -> str:
                """Of all partitions, or what is told instead."""
                try:
                    source.receive(0.1, 10)
                    return str(list(source.lag().values()))
                except UnavailableError as error:
                    return str(error)

            wait_for(lambda: lag() == "[0, 0, 0]")
            kafka.kill_broker(3)
            wait_for(lambda: "no broker leads TopicPartition(topic='leaderless.raw'" in lag())
            kafka.start_broker(3)
            wait_for(lambda: lag() == "[0, 0, 0]")

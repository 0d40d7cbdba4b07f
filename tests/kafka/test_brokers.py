"""The worker's Kafka clients go on when a broker was killed and comes back."""

import gc
from collections.abc import Iterator
from contextlib import closing

import pytest

from shared.errors import UnavailableError
from tests.kafka.processes import settings_of, wait_for
from worker.demo.local_kafka import LocalKafka
from worker.kafka.source import KafkaSource

pytestmark = [
    pytest.mark.usefixtures("kafka"),  # which says why, where no Kafka can start
    pytest.mark.usefixtures("sockets_of_vain_attempts"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def sockets_of_vain_attempts() -> Iterator[None]:
    """Collect the sockets that kafka-python leaves behind, so that they warn in this test."""
    yield
    gc.collect()


@pytest.mark.slow
def test_a_partition_without_a_leader_is_waited_for() -> None:
    with LocalKafka(3, "default.replication.factor=1\nmin.insync.replicas=1\n") as kafka:
        settings = settings_of(kafka, "leaderless")
        with closing(KafkaSource(settings)) as source:

            def lag() -> str:
                """Return the lag of all partitions, or the error's message."""
                try:
                    source.receive(0.1, 10)
                    return str([lag.records for lag in source.lag().values()])
                except UnavailableError as error:
                    return str(error)

            wait_for(lambda: lag() == "[0, 0, 0]")
            kafka.kill_broker(3)
            wait_for(lambda: "no broker leads TopicPartition(topic='leaderless.raw'" in lag())
            kafka.start_broker(3)
            wait_for(lambda: lag() == "[0, 0, 0]")

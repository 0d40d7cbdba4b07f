"""The worker's Kafka clients go on when a broker was killed and comes back."""

import gc
import shutil
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from shared.errors import UnavailableError
from tests.conftest import Trained
from tests.kafka.processes import (
    environment_of,
    log_of,
    read_all,
    running,
    settings_of,
    source_of,
    wait_for,
)
from worker.demo.local_kafka import LocalKafka
from worker.kafka.publisher import Publisher
from worker.kafka.records import Message
from worker.kafka.source import KafkaSource
from worker.messages.alert import decode_alert

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


@pytest.mark.slow
def test_a_worker_goes_on_when_its_cluster_is_restored_from_a_backup(
    own_kafka: LocalKafka, trained: Trained, tmp_path: Path
) -> None:
    """The leader epochs and the group's commits go back while it runs."""
    settings = settings_of(own_kafka, "restored", partitions=1)
    environment = environment_of(settings, trained) | {"TRIAGE_THRESHOLD": "0.000001"}

    def publish(text: str) -> None:
        message = Message(settings.input_topic, None, text.encode(), [])

        def is_published() -> bool:  # again, until the broker leads its partitions
            with suppress(KafkaError, UnavailableError), closing(Publisher(settings)) as publisher:
                publisher.publish([message])
                return True
            return False

        wait_for(is_published)

    def is_committed(offset: int) -> bool:
        """Return whether a transaction has ended: a broker killed before may delay its end."""
        servers, partition = settings.kafka_bootstrap_servers, TopicPartition("restored.raw", 0)
        reader = KafkaConsumer(bootstrap_servers=servers, group_id=settings.group_id)
        with suppress(KafkaError), closing(reader):
            return bool(reader.committed(partition, timeout_ms=5000) == offset)
        return False

    with running(environment, tmp_path / "log") as worker:
        publish("forest fire")
        wait_for(lambda: is_committed(1))
        data = log_of(own_kafka, settings.input_topic, 0).parent.parent
        backup = tmp_path / "backup"
        own_kafka.kill_broker(1)
        shutil.copytree(data, backup)
        for number in (2, 3):
            own_kafka.start_broker(1)
            own_kafka.wait_for_broker(1)
            publish("flood")
            wait_for(partial(is_committed, number))
            own_kafka.kill_broker(1)
        shutil.rmtree(data)
        shutil.copytree(backup, data)
        own_kafka.start_broker(1)
        own_kafka.wait_for_broker(1)
        publish("earthquake")
        wait_for(lambda: is_committed(2))
        assert worker.stop() == 0
    alerts = [decode_alert(value) for value, _ in read_all(settings, settings.alerts_topic)]
    assert [alert.tweet.text for alert in alerts] == ["forest fire", "earthquake"]
    assert [source_of(alert) for alert in alerts] == ["restored.raw-0-0", "restored.raw-0-1"]

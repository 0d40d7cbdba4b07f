"""Whoever follows a topic is told when Kafka or the topic is gone, and misses nothing."""

import threading
from contextlib import closing

import pytest

from tests.kafka.processes import settings_of, wait_for
from worker.demo.local_kafka import LocalKafka
from worker.kafka.connection import new_admin
from worker.kafka.follow import follow
from worker.kafka.publisher import Publisher
from worker.kafka.records import Message
from worker.kafka.topics import create_topics

pytestmark = pytest.mark.slow


def test_a_follower_says_that_kafka_or_its_topic_is_gone(own_kafka: LocalKafka) -> None:
    settings = settings_of(own_kafka, "followed", partitions=1)
    topic = settings.alerts_topic
    said: list[str] = []
    found: list[bytes | None] = []

    def read() -> None:
        for record in follow(settings, topic, from_beginning=True, notify=said.append):
            found.append(record.value)
            if record.value == b"last":
                return

    def publish(value: bytes) -> None:
        with closing(Publisher(settings)) as publisher:
            publisher.publish([Message(topic, None, value, [])])

    publish(b"first")
    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    wait_for(lambda: found == [b"first"])
    own_kafka.kill_broker(1)
    wait_for(lambda: any(line.startswith("connection lost: ") for line in said))
    own_kafka.start_broker(1)
    own_kafka.wait_for_broker(1)
    wait_for(lambda: said[-1] == "connected to Kafka again")
    publish(b"second")
    wait_for(lambda: found == [b"first", b"second"])

    with closing(new_admin(settings)) as admin:
        admin.delete_topics([topic])
    wait_for(lambda: f"has no topic {topic}" in said[-1])
    create_topics(settings, {topic: 1})
    wait_for(lambda: said[-1].endswith(("again", "from its beginning")))
    publish(b"last")
    thread.join(60)
    assert found == [b"first", b"second", b"last"]

"""A reader reads several topics from where it is told, and says what it cannot give."""

from collections.abc import Sequence
from contextlib import closing

import pytest
from kafka import TopicPartition

from tests.kafka.processes import settings_of, wait_for
from worker.demo.local_kafka import LocalKafka
from worker.kafka.connection import new_admin, new_producer
from worker.kafka.publisher import Publisher
from worker.kafka.reader import PositionLostError, Reader
from worker.kafka.records import Message
from worker.kafka.topics import MissingTopicError
from worker.settings import Settings


def publish(settings: Settings, topic: str, *values: str) -> None:
    with closing(Publisher(settings)) as publisher:
        publisher.publish(Message(topic, None, value.encode(), []) for value in values)


def values_of(reader: Reader, count: int) -> list[str]:
    """Return the next values, in order, and check that nothing comes after them."""
    found: list[str] = []

    def read() -> bool:
        found.extend((record.value or b"").decode() for record in reader.poll(0.5))
        return len(found) >= count

    wait_for(read)
    assert reader.poll(0.2) == []
    return sorted(found)


def remove_before(settings: Settings, topic: str, offset: int) -> None:
    """Remove records, as Kafka does when their time is over."""
    with closing(new_admin(settings)) as admin:
        admin.delete_records({TopicPartition(topic, 0): offset})


def test_each_partition_is_read_from_its_position_or_its_beginning(kafka: LocalKafka) -> None:
    settings = settings_of(kafka, "reader-positions", partitions=1)
    topics: Sequence[str] = (settings.alerts_topic, settings.dead_letters_topic)
    publish(settings, topics[0], "a0", "a1", "a2")
    publish(settings, topics[1], "b0", "b1")
    with closing(Reader(settings, topics, {(topics[0], 0): 2})) as reader:
        assert reader.behind() == 3
        assert values_of(reader, 3) == ["a2", "b0", "b1"]
        assert reader.behind() == 0
        assert reader.skipped == dict.fromkeys(topics, 0)
        publish(settings, topics[1], "b2")
        assert values_of(reader, 1) == ["b2"]


def test_what_kafka_has_removed_is_counted(kafka: LocalKafka) -> None:
    settings = settings_of(kafka, "reader-removed", partitions=1)
    topic = settings.alerts_topic
    publish(settings, topic, *(f"{n}" for n in range(6)))
    remove_before(settings, topic, 3)
    with closing(Reader(settings, [topic], {(topic, 0): 1})) as reader:
        assert reader.skipped == {topic: 2}
        assert values_of(reader, 3) == ["3", "4", "5"]
    with closing(Reader(settings, [topic], {})) as reader:  # nothing was promised of these
        assert reader.skipped == {topic: 0}
        remove_before(settings, topic, 5)  # while it reads
        assert values_of(reader, 1) == ["5"]


def test_a_topic_that_was_created_anew_is_noticed(kafka: LocalKafka) -> None:
    settings = settings_of(kafka, "reader-anew", partitions=1)
    topic = settings.alerts_topic
    publish(settings, topic, "a")
    with pytest.raises(PositionLostError, match=f"{topic}-0 ends at 1, before 2"):
        Reader(settings, [topic], {(topic, 0): 2})


def test_a_missing_topic_is_named(kafka: LocalKafka) -> None:
    settings = settings_of(kafka, "reader-missing", partitions=1)
    with pytest.raises(MissingTopicError, match=r"has no topic nowhere; create it"):
        Reader(settings, [settings.alerts_topic, "nowhere"], {})


def test_aborted_records_are_not_read(kafka: LocalKafka) -> None:
    settings = settings_of(kafka, "reader-aborted", partitions=1)
    topic = settings.alerts_topic
    with closing(new_producer(settings, "reader-aborted")) as producer:
        producer.init_transactions()
        producer.begin_transaction()
        producer.send(topic, b"aborted").get(10)
        producer.abort_transaction()
    publish(settings, topic, "kept")
    with closing(Reader(settings, [topic], {})) as reader:
        assert values_of(reader, 1) == ["kept"]

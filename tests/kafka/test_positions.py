"""Where a member begins to read, and what it does when Kafka does not have that any more."""

from collections.abc import Iterator
from contextlib import closing

import pytest
from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition

from tests.kafka.feed import Feed, drain
from tests.kafka.processes import settings_of, wait_for
from worker.demo.local_kafka import LocalKafka
from worker.kafka.connection import new_admin
from worker.kafka.records import PositionReset
from worker.kafka.source import KafkaSource
from worker.settings import Settings


@pytest.fixture
def settings(kafka: LocalKafka, request: pytest.FixtureRequest) -> Settings:
    return settings_of(kafka, request.node.name.replace("_", "-"), partitions=1)


@pytest.fixture
def feed(settings: Settings) -> Iterator[Feed]:
    feed = Feed(settings)
    with closing(feed.producer):
        yield feed


def commit(settings: Settings, offset: int) -> None:
    """Commits for the group, as an operator's tool does."""
    consumer = KafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers, group_id=settings.group_id
    )
    with closing(consumer):
        partition = TopicPartition(settings.input_topic, 0)
        consumer.assign([partition])
        consumer.commit({partition: OffsetAndMetadata(offset, "", -1)})


def delete_before(settings: Settings, offset: int) -> None:
    """Deletes the oldest records, as retention does."""
    with closing(new_admin(settings)) as admin:
        admin.delete_records({TopicPartition(settings.input_topic, 0): offset})


def offsets(source: KafkaSource) -> list[int]:
    return [record.offset for record in drain(source).records]


def test_without_a_commit_it_begins_with_the_oldest_record(settings: Settings, feed: Feed) -> None:
    feed(0, 5)
    delete_before(settings, 2)
    resets: list[PositionReset] = []
    with closing(KafkaSource(settings, on_position_reset=resets.append)) as source:
        assert offsets(source) == [2, 3, 4]
    assert resets == []


def test_a_commit_past_the_end_republishes_nothing(settings: Settings, feed: Feed) -> None:
    feed(0, 5)
    commit(settings, 50)
    resets: list[PositionReset] = []

    def reset() -> bool:
        assert source.receive(0.1, 100) is None
        return bool(resets)

    with closing(KafkaSource(settings, on_position_reset=resets.append)) as source:
        wait_for(reset)
        feed(0, 2)
        assert offsets(source) == [5, 6]
    assert resets == [PositionReset("truncated", settings.input_topic, 0, 50, 5)]


def test_records_that_expired_unread_are_reported(settings: Settings, feed: Feed) -> None:
    feed(0, 10)
    commit(settings, 3)
    delete_before(settings, 7)
    resets: list[PositionReset] = []
    with closing(KafkaSource(settings, on_position_reset=resets.append)) as source:
        assert offsets(source) == [7, 8, 9]
    assert resets == [PositionReset("expired", settings.input_topic, 0, 3, 7)]
    assert resets[0].skipped == 4


def test_records_that_expire_under_a_slow_member_are_reported(
    settings: Settings, feed: Feed
) -> None:
    feed(0, 4)
    resets: list[PositionReset] = []
    with closing(KafkaSource(settings, on_position_reset=resets.append)) as source:
        source.commit(source.truncate(drain(source), 1))
        source.rewind()
        feed(0, 4)
        delete_before(settings, 6)
        assert offsets(source) == [6, 7]
    assert [(reset.cause, reset.old, reset.new) for reset in resets] == [("expired", 1, 6)]

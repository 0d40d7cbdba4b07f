"""Where a member begins to read, and what it does when Kafka does not have that any more."""

import uuid
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime

import pytest
from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.errors import KafkaTimeoutError

from shared.errors import UnavailableError
from tests.kafka.feed import Feed, drain, sink_of
from tests.kafka.processes import cut_off, log_of, settings_of, wait_for
from worker.demo.local_kafka import LocalKafka
from worker.kafka.connection import new_admin
from worker.kafka.records import Batch, Lag, PositionReset
from worker.kafka.source import KafkaSource
from worker.kafka.topics import create_topics, is_missing
from worker.messages.alert import Model, Source, make_alert, source_timestamp
from worker.messages.tweet import Tweet
from worker.settings import Settings

NOW = datetime.now(UTC)


@pytest.fixture
def settings(kafka: LocalKafka, request: pytest.FixtureRequest) -> Settings:
    return settings_of(kafka, request.node.name.replace("_", "-"), partitions=1)


@pytest.fixture
def feed(settings: Settings) -> Iterator[Feed]:
    feed = Feed(settings)
    with closing(feed.producer):
        yield feed


def commit(settings: Settings, offset: int, metadata: str = "") -> None:
    """Commit for the group, as an operator's tool does."""
    consumer = KafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers, group_id=settings.group_id
    )
    with closing(consumer):
        partition = TopicPartition(settings.input_topic, 0)
        consumer.assign([partition])
        consumer.commit({partition: OffsetAndMetadata(offset, metadata, -1)})


def delete_before(settings: Settings, offset: int) -> None:
    """Delete the oldest records, as retention does."""
    with closing(new_admin(settings)) as admin:
        admin.delete_records({TopicPartition(settings.input_topic, 0): offset})


def recreate(settings: Settings) -> None:
    """Delete the input topic and create it again, empty."""
    with closing(new_admin(settings)) as admin:
        admin.delete_topics([settings.input_topic])
    wait_for(lambda: is_missing(settings, settings.input_topic))
    create_topics(settings, {settings.input_topic: 1})


def feed_anew(settings: Settings, feed: Feed, count: int) -> None:
    """Publish to a recreated topic, by a producer that does not know the former one."""
    with closing(Feed(settings).producer) as producer:
        feed.producer, before = producer, feed.producer
        feed(0, count)
        feed.producer = before


def offsets(source: KafkaSource) -> list[int]:
    return [record.offset for record in drain(source).records]


def test_without_a_commit_it_begins_with_the_oldest_record(settings: Settings, feed: Feed) -> None:
    feed(0, 5)
    delete_before(settings, 2)
    resets: list[PositionReset] = []
    with closing(KafkaSource(settings, on_position_reset=resets.append)) as source:
        assert offsets(source) == [2, 3, 4]
        source.rewind()
        assert offsets(source) == [2, 3, 4]
    assert resets == [PositionReset("uncommitted", settings.input_topic, 0, None, 2)]


def test_an_empty_topic_is_no_news(settings: Settings, feed: Feed) -> None:
    resets: list[PositionReset] = []
    with closing(KafkaSource(settings, on_position_reset=resets.append)) as source:
        wait_for(lambda: source.receive(0.1, 100) is None and bool(source.lag()))
        feed(0, 2)
        assert offsets(source) == [0, 1]
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


def test_records_that_expire_before_the_first_commit_are_reported(
    settings: Settings, feed: Feed
) -> None:
    feed(0, 10)
    resets: list[PositionReset] = []
    with closing(KafkaSource(settings, on_position_reset=resets.append)) as source:
        drain(source)
        source.rewind()
        delete_before(settings, 7)
        assert offsets(source) == [7, 8, 9]
    assert [(reset.cause, reset.old, reset.new) for reset in resets] == [
        ("uncommitted", None, 0),
        ("expired", 0, 7),
    ]


def test_a_topic_that_was_recreated_is_reported_while_it_is_empty(
    settings: Settings, feed: Feed
) -> None:
    feed(0, 3)
    resets: list[PositionReset] = []

    def is_reported() -> bool:
        with suppress(UnavailableError):
            source.receive(0.1, 100)
        return any(reset.cause == "recreated" for reset in resets)

    with closing(KafkaSource(settings, on_position_reset=resets.append)) as source:
        source.commit(drain(source))
        recreate(settings)
        source._consumer._cluster.request_update()  # as it does after 30 s
        wait_for(is_reported)


def test_the_id_of_the_topic_is_logged(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker that starts while the topic is empty cannot know that it was recreated."""
    caplog.set_level("INFO", "triage")
    with closing(KafkaSource(settings)) as source, closing(new_admin(settings)) as admin:
        wait_for(lambda: source.receive(0.1, 1) is None and "topic id" in caplog.text)
        (described,) = admin.describe_topics([settings.input_topic])
    (line,) = [line for line in caplog.messages if "topic id" in line]
    assert line.startswith(f"reading {settings.input_topic} with topic id ")
    assert line.endswith(f"/{described['topic_id']}")


def test_records_that_expired_are_reported_although_the_commit_has_no_answer(
    settings: Settings, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed(0, 10)
    commit(settings, 3)
    delete_before(settings, 7)
    resets: list[PositionReset] = []
    with closing(KafkaSource(settings, on_position_reset=resets.append)) as source:
        source.connect()
        move = source._consumer.commit

        def lose_answer(*arguments: object, **options: object) -> None:
            move(*arguments, **options)
            monkeypatch.undo()
            raise KafkaTimeoutError("no answer")

        monkeypatch.setattr(source._consumer, "commit", lose_answer)
        with pytest.raises(UnavailableError, match="no answer"):
            drain(source)
        assert offsets(source) == [7, 8, 9]
    assert resets == [PositionReset("expired", settings.input_topic, 0, 3, 7)]


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
    assert [(reset.cause, reset.old, reset.new) for reset in resets] == [
        ("uncommitted", None, 0),
        ("expired", 1, 6),
    ]


def test_a_topic_that_was_recreated_is_read_from_its_beginning(
    settings: Settings, feed: Feed
) -> None:
    """Though it holds more records than were read of the former one."""
    feed(0, 3)
    resets: list[PositionReset] = []
    found: list[int] = []
    with (
        closing(KafkaSource(settings, on_position_reset=resets.append)) as source,
        closing(sink_of(settings, source)) as into,
    ):
        into.deliver(drain(source), [])
        with closing(new_admin(settings)) as admin:
            admin.delete_topics([settings.input_topic])
        assert source.receive(1, 100) is None  # the broker says that it has no such topic
        create_topics(settings, {settings.input_topic: 1})
        feed_anew(settings, feed, 8)

        def take(batch: Batch) -> bool:
            found.extend(record.offset for record in batch.records)
            return len(found) >= 8

        drain(source, take)
    assert found == list(range(8))
    assert resets[-1].cause in ("recreated", "uncommitted")  # Kafka deletes commits a little later
    assert resets[-1].new == 0


@pytest.mark.slow
def test_a_topic_that_was_recreated_between_two_polls_is_read_from_its_beginning(
    settings: Settings, feed: Feed
) -> None:
    """Until the member learns of it, it reads the new topic from its old position on."""
    feed(0, 3)
    found: list[int] = []

    def take(batch: Batch) -> bool:
        found.extend(record.offset for record in batch.records)
        return batch.records[-1].offset == 7

    with closing(KafkaSource(settings)) as source:
        source.commit(drain(source))
        recreate(settings)
        feed_anew(settings, feed, 8)
        drain(source, take)
        if found == [3, 4, 5, 6, 7]:  # otherwise it has learned of it already
            source._consumer._cluster.request_update()  # as it does after 30 s
            drain(source, take)
    assert found[-8:] == list(range(8))


def test_a_commit_for_a_former_topic_does_not_count(settings: Settings, feed: Feed) -> None:
    feed(0, 5)
    with closing(KafkaSource(settings)) as source:
        cluster, _, topic = drain(source).topic_life.partition("/")
    assert cluster
    assert topic
    for metadata, expected in (
        (f"{cluster}/{topic}", [3, 4]),
        (f"{cluster}/{uuid.uuid4()}", [0, 1, 2, 3, 4]),
        (f"another/{uuid.uuid4()}", [3, 4]),  # a copy of another cluster's, as MirrorMaker makes
        ("of another tool", [3, 4]),
    ):
        commit(settings, 3, metadata)
        with closing(KafkaSource(settings)) as source:
            assert offsets(source) == expected


def test_the_commits_of_many_partitions_take_one_request(
    kafka: LocalKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(KafkaSource(settings_of(kafka, "many-partitions", partitions=40))) as source:
        source.connect()
        coordinator, asked = source._consumer._coordinator, []
        fetch = coordinator.fetch_committed_offsets

        def count(partitions: list[TopicPartition], *rest: object) -> object:
            asked.extend([len(partitions)] if partitions else [])
            return fetch(partitions, *rest)

        monkeypatch.setattr(coordinator, "fetch_committed_offsets", count)
        wait_for(lambda: source.receive(0.1, 100) is None and bool(asked))
    assert asked == [40, 40]


def test_the_positions_of_many_partitions_are_asked_for_once(
    kafka: LocalKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each answer goes through all partitions: for 3,000 of them it took over a minute."""
    with closing(KafkaSource(settings_of(kafka, "many-positions", partitions=40))) as source:
        source.connect()
        position, asked = source._consumer.position, []

        def count(partition: TopicPartition, **options: object) -> object:
            asked.append(partition)
            return position(partition, **options)

        def is_assigned() -> bool:
            with suppress(UnavailableError):  # some of the new partitions have no leader yet
                return source.receive(0.1, 100) is None and len(source.lag()) == 40
            return False

        monkeypatch.setattr(source._consumer, "position", count)
        wait_for(is_assigned)
        asked.clear()
        assert len(source.lag()) == 40
        source.rewind()
        assert len(source.lag()) == 40
    assert len(asked) <= 1


@pytest.mark.slow
def test_a_log_that_was_cut_and_filled_again_is_read_from_the_cut(own_kafka: LocalKafka) -> None:
    settings = settings_of(own_kafka, "cut", partitions=1)
    topic = settings.input_topic

    def publish(records: int) -> None:
        with closing(Feed(settings).producer) as producer:
            for _ in range(records):
                producer.send(topic, b"x", partition=0)
                producer.flush()  # each of them a batch

    publish(10)
    with closing(KafkaSource(settings)) as source, closing(sink_of(settings, source)) as into:
        into.deliver(drain(source, lambda batch: len(batch.records) == 10), [])
        source.rewind()
        # Kafka has finished the transaction: a broker that is killed before may never do it.
        assert source.lag() == {(topic, 0): Lag(0, 0)}
    folder = log_of(own_kafka, topic, 0).parent
    own_kafka.kill_broker(1)
    cut_off(folder, 6)
    own_kafka.start_broker(1)
    own_kafka.wait_for_broker(1)
    publish(6)
    resets: list[PositionReset] = []
    with closing(KafkaSource(settings, on_position_reset=resets.append)) as source:
        assert offsets(source) == [6, 7, 8, 9, 10, 11]
    assert resets == [PositionReset("truncated", topic, 0, 10, 6)]


@pytest.mark.slow
def test_a_topic_that_was_deleted_is_missed_and_read_anew(settings: Settings, feed: Feed) -> None:
    """Its alerts have other ids than those of the records that lay there before."""
    feed(0, 5)
    topics = {settings.input_topic: 1}
    ids: list[str] = []

    def read() -> None:
        batch = drain(source)
        into.deliver(batch, [])
        for r in batch.records:
            place = Source(r.topic, r.partition, r.offset, source_timestamp(r.timestamp))
            ids.append(make_alert(Tweet("x"), 1, 0, Model("", 1, ""), place, NOW).alert_id)

    def lag() -> str:
        try:
            source.receive(0.1, 100)
            return str(source.lag())
        except UnavailableError as error:
            return str(error)

    with closing(KafkaSource(settings)) as source, closing(sink_of(settings, source)) as into:
        read()
        with closing(new_admin(settings)) as admin:
            admin.delete_topics(list(topics))
        wait_for(lambda: f"has no topic {settings.input_topic} any more: create it" in lag())
        create_topics(settings, topics)
        with closing(Feed(settings).producer) as producer:
            feed.producer, before = producer, feed.producer
            feed(0, 5)
            feed.producer = before
        read()
    assert [each.rsplit("-", 1)[0] for each in ids[:5]] == [e.rsplit("-", 1)[0] for e in ids[5:]]
    assert len(set(ids)) == 10

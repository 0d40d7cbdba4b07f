"""The source against a real Kafka: records that cannot be unpacked, and what waits."""

import struct
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing

import msgspec
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaTimeoutError

from tests.kafka.feed import Feed, Place, drain, sink_of
from tests.kafka.processes import log_of, settings_of, wait_for
from worker.demo.local_kafka import LocalKafka
from worker.kafka import unpack
from worker.kafka.records import Batch, Lag
from worker.kafka.source import KafkaSource
from worker.settings import Settings


@pytest.fixture
def settings(kafka: LocalKafka, request: pytest.FixtureRequest) -> Settings:
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)
    return settings_of(kafka, name)


@pytest.fixture
def feed(settings: Settings) -> Iterator[Feed]:
    feed = Feed(settings)
    with closing(feed.producer):
        yield feed


def corrupt(kafka: LocalKafka, settings: Settings, places: list[Place]) -> None:
    """Flip a byte of the batch that holds these offsets, on the broker's disk."""
    partition, first = places[0]
    path = log_of(kafka, settings.input_topic, partition)
    content, position = bytearray(path.read_bytes()), 0
    while (head := struct.unpack_from(">qi", content, position))[0] != first:
        position += 12 + head[1]
    assert struct.unpack_from(">i", content, position + 57) == (len(places),), "it is one batch"
    content[position + 12 + head[1] - 5] ^= 0xFF
    with path.open("r+b") as file:
        file.write(content)


def test_each_poll_is_short(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Because kafka-python may sleep until a poll's end although records have arrived."""
    polled: list[int] = []
    poll = KafkaConsumer.poll

    def noted(consumer: KafkaConsumer, timeout_ms: int, *arguments: int) -> object:
        polled.append(timeout_ms)
        return poll(consumer, timeout_ms, *arguments)

    monkeypatch.setattr(KafkaConsumer, "poll", noted)
    with closing(KafkaSource(settings)) as source:
        while not source.joined:
            source.receive(0.1, 10)
        for _ in range(3):  # the first one seeks to the commits
            source.receive(0.2, 10)
    assert len(polled) > 10
    assert max(polled) <= 20


@pytest.mark.slow
def test_what_cannot_be_unpacked_is_one_place_each_and_nothing_else_is_lost(
    kafka: LocalKafka, settings: Settings, feed: Feed
) -> None:
    good, bad = feed(0, 10), feed(0, 1, bad_headers=1)
    good += feed(0, 5)
    mixed = feed(0, 4, bad_headers=2)  # the first two of the batch can be read
    good, bad = good + mixed[:2], bad + mixed[2:]
    good += feed(1, 30)
    bad += (broken := feed(1, 200))
    good += feed(1, 30)
    bad += (broken_last := feed(2, 1))
    corrupt(kafka, settings, broken)
    corrupt(kafka, settings, broken_last)
    with closing(Feed(settings, transactional_id="behind-a-marker").producer) as producer:
        feed.producer, before = producer, feed.producer
        producer.init_transactions()
        for values, bad_headers in ((3, 0), (1, 1)):  # the marker between takes an offset too
            producer.begin_transaction()
            places = feed(2, values, bad_headers)
            producer.commit_transaction()
            good, bad = (good, bad + places) if bad_headers else (good + places, bad)
        feed.producer = before
    good += feed(2, 5)

    taken: list[tuple[Place, bool]] = []

    def deliver(batch: Batch) -> bool:
        taken.extend(
            ((record.partition, record.offset), record.error is not None)
            for record in batch.records
        )
        sink.deliver(batch, [])
        return len(taken) >= len(good) + len(bad)

    with closing(KafkaSource(settings)) as source, closing(sink_of(settings, source)) as sink:
        drain(source, deliver)
        assert source.receive(2, 1000) is None
        assert set(source.lag().values()) == {Lag(0)}
    assert Counter(taken) == Counter([(p, False) for p in good] + [(p, True) for p in bad])
    for partition in range(3):
        offsets = [offset for (where, offset), _ in taken if where == partition]
        assert offsets == sorted(offsets)


def test_an_unreadable_place_says_what_is_wrong_with_it(
    kafka: LocalKafka, settings: Settings, feed: Feed
) -> None:
    feed(0, 1, bad_headers=1)
    corrupt(kafka, settings, feed(1, 1))
    found: dict[int, str] = {}

    def note(batch: Batch) -> bool:
        for record in batch.records:
            assert (record.topic, record.offset, record.value) == (settings.input_topic, 0, None)
            found[record.partition] = record.error or "none"
        return len(found) == 2

    with closing(KafkaSource(settings)) as source:
        drain(source, note)
    assert found[0].startswith("CorruptRecordError: ")
    assert "UnicodeDecodeError" in found[0]
    assert "failed crc check" in found[1]


def test_a_batch_that_takes_too_much_memory_is_got_past(settings: Settings) -> None:
    """What fits by itself is read, though it does not fit together with the rest."""
    most = 200 << 20
    producer = KafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        compression_type="zstd",
        batch_size=most,
        max_request_size=most,
        linger_ms=60_000,
    )
    sizes: list[list[int]] = [[9], [70 << 20], [9], *([40 << 20] for _ in range(4)), [30 << 20] * 3]
    sizes.append([9] * 5)
    with closing(producer):
        for batch in sizes:
            for size in batch:
                producer.send(settings.input_topic, value=bytes(size), partition=0)
            producer.flush()
    expected = [
        None if sum(batch) > unpack.MOST_BYTES else size for batch in sizes for size in batch
    ]
    assert expected.count(None) == 4
    found: list[int | None] = []

    def measure(batch: Batch) -> bool:
        assert sum(len(record.value or b"") for record in batch.records) < 2 * unpack.MOST_BYTES
        assert [record.offset for record in batch.records] == [
            len(found) + n for n in range(len(batch.records))
        ]
        found.extend(
            None if record.value is None else len(record.value) for record in batch.records
        )
        told.update(record.error for record in batch.records if record.error is not None)
        sink.deliver(batch, [])
        return len(found) == len(expected)

    told: set[str] = set()
    with closing(KafkaSource(settings)) as source, closing(sink_of(settings, source)) as sink:
        drain(source, measure)
    assert found == expected
    (error,) = told
    assert "unpacks to more than 67108864 bytes" in error


def test_a_batch_holds_so_many_bytes_and_the_rest_comes_next(
    settings: Settings, feed: Feed
) -> None:
    """Also where a batch is not delivered the first time, and after fewer records are asked for."""
    for _ in range(3):
        feed.producer.send(settings.input_topic, value=bytes(900_000), partition=1)
    feed.producer.flush()
    places = [(1, n) for n in range(3)] + feed(0, 3000)
    taken: list[Place] = []
    sizes: list[tuple[int, int]] = []
    tries = 0
    with closing(KafkaSource(settings)) as source, closing(sink_of(settings, source)) as sink:
        deadline = time.monotonic() + 60
        while len(taken) < len(places):
            assert time.monotonic() < deadline
            most = 300 if tries % 2 else 900
            if (batch := source.receive(0.2, most)) is None:
                continue
            tries += 1
            assert len(batch.records) <= most
            sizes.append((len(batch.records), sum(len(r.value or b"") for r in batch.records)))
            assert sizes[-1][1] <= 2 << 20
            if tries % 3 == 0:
                source.rewind()
                continue
            sink.deliver(batch, [])
            taken += [(record.partition, record.offset) for record in batch.records]
        assert source.receive(1, 1000) is None
    assert sorted(taken) == sorted(places)
    assert max(size for _, size in sizes) >= 1_800_000  # two large ones, and never three


def test_a_batch_that_was_not_delivered_comes_again_whole(settings: Settings, feed: Feed) -> None:
    places = feed(0, 20) + feed(0, 1, bad_headers=1) + feed(0, 20)
    taken: list[Place] = []
    failed: set[Place] = set()

    def fail_once(batch: Batch) -> bool:
        found = [(record.partition, record.offset) for record in batch.records]
        if found[0] in failed:
            sink.deliver(batch, [])
            taken.extend(found)
        else:
            failed.add(found[0])
            source.rewind()
            assert sum(lag.readable for lag in source.lag().values()) == len(places) - len(
                taken
            )  # it waits again
        return taken == places

    with closing(KafkaSource(settings)) as source, closing(sink_of(settings, source)) as sink:
        drain(source, fail_once)
        assert source.receive(1, 1000) is None


def test_what_was_delivered_does_not_come_again_with_what_was_not(
    settings: Settings, feed: Feed
) -> None:
    """Though it has asked for the commits before, too impatiently for the answer."""
    with closing(KafkaSource(settings)) as source, closing(sink_of(settings, source)) as sink:
        feed(0, 1)
        sink.deliver(drain(source), [])
        partition = TopicPartition(settings.input_topic, 0)
        assert source._consumer.committed(partition) == 1
        with pytest.raises(KafkaTimeoutError):
            source._consumer.committed(partition, timeout_ms=0)
        feed(0, 1)
        sink.deliver(drain(source), [])
        feed(0, 1)
        drain(source)
        source.rewind()
        assert [record.offset for record in drain(source).records] == [2]


@pytest.mark.parametrize("good", [0, 1])
def test_a_rewind_to_an_unreadable_record_is_no_endless_loop(
    settings: Settings, feed: Feed, good: int
) -> None:
    """At the partition's beginning, and at the group's commit."""
    feed(0, good + 2, bad_headers=2)
    with closing(KafkaSource(settings)) as source, closing(sink_of(settings, source)) as sink:
        if good:
            sink.deliver(drain(source, most=1), [])
        for _ in range(3):
            (record,) = drain(source, most=1).records
            assert record.offset == good
            assert record.error is not None
            source.rewind()


@pytest.mark.slow
def test_a_member_does_not_forget_that_it_joins(kafka: LocalKafka) -> None:
    """It joins twice, because it hears of the partitions only then; and polls are short."""
    for n in range(8):
        settings = settings_of(kafka, f"forgetful-{n}")
        publish = Feed(settings)
        with closing(publish.producer), closing(KafkaSource(settings)) as source:
            publish(0, 1)
            deadline = time.monotonic() + 30
            while source.receive(0.01, 10) is None:
                assert time.monotonic() < deadline, f"joined: {source.joined}"
            assert source.joined


def test_what_is_not_committed_yet_does_not_wait(settings: Settings, feed: Feed) -> None:
    """Or a producer's long transaction would look like a worker that stands still."""
    producer = Feed(settings, transactional_id="long").producer
    with closing(producer), closing(KafkaSource(settings)) as source:
        feed(0, 3)
        producer.init_transactions()
        producer.begin_transaction()
        producer.send(settings.input_topic, value=b"not yet", partition=0).add_errback(print)
        producer.flush()
        feed(0, 4)  # behind it, and therefore not to be had either
        drain(source, lambda batch: batch.records[-1].offset == 2)
        assert source.receive(1, 1000) is None
        held_back = {(settings.input_topic, n): Lag(0) for n in range(3)}
        held_back[settings.input_topic, 0] = Lag(5, 5)
        wait_for(lambda: source.receive(0.1, 1000) is None and source.lag() == held_back)
        producer.commit_transaction()
        wait_for(lambda: sum(lag.readable for lag in source.lag().values()) > 0)
        drain(source, lambda batch: batch.records[-1].offset == 7)


@pytest.mark.slow
def test_batches_are_apart_and_the_first_does_not_wait(settings: Settings, feed: Feed) -> None:
    settings = msgspec.structs.replace(settings, batch_wait_ms=15_000)
    with closing(KafkaSource(settings)) as source:
        wait_for(lambda: source.receive(0.1, 10) is None and source.joined)
        feed(0, 1)
        start = time.monotonic()
        first = drain(source, seconds=10)
        taken = time.monotonic()
        assert len(first.records) == 1
        assert taken - start < 10
        feed(0, 2)
        feed(1, 1)
        second = source.receive(10, 10)
        assert second is not None
        assert len(second.records) == 3
        assert time.monotonic() - taken >= 14.9


def test_a_batch_that_is_truncated_leaves_the_rest_for_the_next(
    settings: Settings, feed: Feed
) -> None:
    with closing(KafkaSource(settings)) as source, closing(sink_of(settings, source)) as sink:
        feed(0, 9)
        batch = source.truncate(drain(source), 4)
        sink.deliver(batch, [])
        partition = TopicPartition(settings.input_topic, 0)
        assert source._consumer.committed(partition) == 4
        assert sum(lag.readable for lag in source.lag().values()) == 5
        source.truncate(drain(source), 2)
        source.rewind()
        again = drain(source)
        assert [record.offset for record in again.records] == [4, 5, 6, 7, 8]
        sink.deliver(again, [])
        assert source.receive(1, 1000) is None

"""The sink against a real Kafka: messages that are too large, deliveries that must not count."""

import random
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import msgspec
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.partitioner import murmur2

from shared.errors import DependencyError, UnavailableError
from tests.kafka.feed import sink_of
from tests.kafka.processes import broker_process, read_all, settings_of, wait_for
from worker.demo.local_kafka import LocalKafka
from worker.kafka.publisher import Publisher
from worker.kafka.records import Batch, Message, records_of
from worker.kafka.sink import KafkaSink, truncate
from worker.kafka.source import KafkaSource
from worker.settings import Settings

LARGEST = 100_000
"""Bytes that the topics of most of these tests take."""

DELIVERIES = pytest.mark.parametrize("delivery", ["exactly-once", "at-least-once"])


@pytest.fixture
def settings(kafka: LocalKafka, request: pytest.FixtureRequest) -> Settings:
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)
    return settings_of(kafka, f"sink-{name}")


def noise(size: int) -> bytes:
    """Return bytes that cannot be compressed."""
    return random.Random(size).randbytes(size)


@contextmanager
def admin(settings: Settings) -> Iterator[KafkaAdminClient]:
    with closing(KafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap_servers)) as client:
        yield client


def limited(settings: Settings, delivery: str = "exactly-once", largest: int = LARGEST) -> Settings:
    """Return the settings with output topics that limit the size of messages."""
    settings = msgspec.structs.replace(
        settings,
        alerts_topic=f"{settings.alerts_topic}-limited",
        dead_letters_topic=f"{settings.dead_letters_topic}-limited",
        delivery=delivery,
    )
    topic = {"num_partitions": 3, "configs": {"max.message.bytes": str(largest)}}
    with admin(settings) as client:
        client.create_topics({settings.alerts_topic: topic, settings.dead_letters_topic: topic})
    return settings


class Delivering(msgspec.Struct):
    """A source with a batch of it, and a sink for that."""

    source: KafkaSource
    sink: KafkaSink
    batch: Batch

    def committed(self) -> int:
        """Return how many records of the source the group has committed."""
        consumer = self.source._consumer
        return sum(
            consumer.committed(partition, timeout_ms=60_000) or 0
            for partition in consumer.assignment()
        )


@contextmanager
def delivering(settings: Settings) -> Iterator[Delivering]:
    with closing(Publisher(settings)) as publisher:
        publisher.publish(Message(settings.input_topic, b"k", b"v", []) for _ in range(10))
    with closing(KafkaSource(settings)) as source, closing(sink_of(settings, source)) as sink:
        batch, deadline = None, time.monotonic() + 60
        while batch is None or len(batch.records) < 10:
            assert time.monotonic() < deadline, f"only {batch}, joined: {source.joined}"
            if batch is not None:
                source.rewind()
            batch = source.receive(0.2, 10)
        yield Delivering(source, sink, batch)


def headers_by_value(settings: Settings, topic: str) -> dict[bytes, list[dict[str, bytes]]]:
    found: dict[bytes, list[dict[str, bytes]]] = {}
    for value, headers in read_all(settings, topic):
        found.setdefault(value, []).append(headers)
    return found


def test_a_key_has_the_partition_that_kafka_gives_it_and_the_others_stay_together(
    settings: Settings,
) -> None:
    alerts, keys = settings.alerts_topic, [b"key %d" % n for n in range(40)]
    sent = [Message(alerts, key, b"with " + key, [("a", b"b")], [("c", b"d")]) for key in keys]
    sent += [Message(alerts, None, b"without", [("a", b"b")], [("c", b"d")])] * 40
    with delivering(settings) as it:
        it.sink.deliver(it.batch, sent)
        assert it.committed() == 10
    with closing(KafkaConsumer(bootstrap_servers=settings.kafka_bootstrap_servers)) as consumer:
        consumer.assign([TopicPartition(alerts, n) for n in range(3)])
        consumer.seek_to_beginning()
        found: list[Any] = []

        def all_there() -> bool:
            found.extend(records_of(consumer.poll(timeout_ms=200)))
            return len(found) >= 80

        wait_for(all_there)
    assert {r.key: r.partition for r in found if r.key} == {
        key: (murmur2(key) & 0x7FFFFFFF) % 3 for key in keys
    }
    assert len({record.partition for record in found if not record.key}) == 1
    assert all(record.headers == [("a", b"b"), ("c", b"d")] for record in found)
    assert {r.value for r in found} == {b"without"} | {b"with " + key for key in keys}


@DELIVERIES
def test_a_message_that_is_too_large_is_shortened_and_harms_no_other(
    settings: Settings, delivery: str
) -> None:
    settings = limited(settings, delivery)
    alerts, dead = settings.alerts_topic, settings.dead_letters_topic
    reason = [("triage-reason", b"invalid_json")]
    small = [Message(alerts, noise(8), b"alert %d" % n, [("trace", b"t")]) for n in range(600)]
    small += [Message(dead, noise(9), b"letter %d" % n, [("x", b"y")], reason) for n in range(60)]
    large = [
        Message(dead, b"key", noise(size), [("x", b"y")], [*reason, ("n", b"%d" % size)])
        for size in (LARGEST + 1000, 3 * LARGEST, 4 * LARGEST, 17 << 20)  # the last for any broker
    ]
    large.append(Message(alerts, noise(2 * LARGEST), b"giant key", [("trace", b"t")]))
    large.append(Message(alerts, b"key", b"giant headers", [("trace", noise(2 * LARGEST))]))
    large.append(
        Message(dead, noise(2 * LARGEST), b"giant key", [("x", noise(3 * LARGEST))], reason)
    )
    large.append(Message(dead, noise(2 * LARGEST), None, [], reason))
    messages = small + large
    random.Random(1).shuffle(messages)
    with delivering(settings) as made:
        made.sink.deliver(made.batch, messages)
        assert made.committed() == 10

    found = headers_by_value(settings, alerts)
    found_dead = headers_by_value(settings, dead)
    if delivery == "exactly-once":
        assert sum(map(len, found.values())) == 602
        assert sum(map(len, found_dead.values())) == 66
    for message in small:
        there = (found if message.topic == alerts else found_dead)[message.value or b""]
        assert all(headers == dict(message.headers + message.added) for headers in there)
    omitted_key = {"trace": b"t", "triage-omitted-key-bytes": b"200000"}
    assert found[b"giant key"][-1] == omitted_key
    assert found[b"giant headers"][-1] == {"triage-omitted-headers-bytes": b"200005"}
    assert found_dead[b"giant key"][-1] == {
        "triage-reason": b"invalid_json",
        "triage-omitted-headers-bytes": b"300001",
        "triage-omitted-key-bytes": b"200000",
    }
    emptied = found_dead[b""]
    for size in (LARGEST + 1000, 3 * LARGEST, 4 * LARGEST, 17 << 20):
        assert {
            "x": b"y",
            "triage-reason": b"invalid_json",
            "n": b"%d" % size,
            "triage-omitted-value-bytes": b"%d" % size,
        } in emptied
    assert {"triage-reason": b"invalid_json", "triage-omitted-key-bytes": b"200000"} in emptied


@pytest.mark.slow
@DELIVERIES
def test_a_topic_that_is_too_small_for_anything_is_named(settings: Settings, delivery: str) -> None:
    settings = limited(settings, delivery, largest=90)
    message = Message(settings.alerts_topic, b"key", b"{" + b" " * 500 + b"}", [("trace", b"t")])
    with delivering(settings) as made:
        with pytest.raises(DependencyError) as caught:
            made.sink.deliver(made.batch, [message])
        assert made.committed() == 0
    assert not isinstance(caught.value, UnavailableError)
    assert str(caught.value).startswith(f"the topic {settings.alerts_topic} does not take a mess")
    assert str(caught.value).endswith("expected a larger max.message.bytes of this topic")


def test_the_largest_part_is_left_out_first() -> None:
    whole = Message("t", b"key", b"value", [("header", b"long")], [("triage-reason", b"r")])
    first = truncate(whole, keep_value=False)
    assert (first.key, first.value, first.headers) == (b"key", b"value", [])
    assert first.added == [("triage-reason", b"r"), ("triage-omitted-headers-bytes", b"10")]
    second = truncate(first, keep_value=False)
    assert (second.key, second.value) == (b"key", b"")
    third = truncate(second, keep_value=False)
    assert (third.key, third.value) == (None, b"")
    assert [name for name, _ in third.added[2:]] == [
        "triage-omitted-value-bytes",
        "triage-omitted-key-bytes",
    ]
    assert truncate(third, keep_value=False) == third
    alert = truncate(truncate(whole, keep_value=True), keep_value=True)
    assert (alert.key, alert.value, alert.headers) == (None, b"value", [])
    assert truncate(alert, keep_value=True) == alert


@DELIVERIES
def test_messages_that_are_too_large_only_together_stay_whole(
    settings: Settings, delivery: str
) -> None:
    settings = limited(settings, delivery)
    messages = [Message(settings.alerts_topic, b"k", noise(9000 + n), []) for n in range(60)]
    with delivering(settings) as made:
        made.sink.deliver(made.batch, messages)
        assert made.committed() == 10
    found = headers_by_value(settings, settings.alerts_topic)
    assert found == {message.value: [{}] for message in messages}


@pytest.mark.slow
def test_a_message_that_nobody_takes_is_not_passed_over(settings: Settings) -> None:
    """kafka-python commits a transaction although it has given up a message of it."""
    settings = limited(settings)
    message = Message(settings.alerts_topic, b"key", b"alert", [])
    with delivering(settings) as made, admin(settings) as client:
        made.sink.deliver(made.batch, [Message(settings.alerts_topic, b"key", b"first", [])])
        client.delete_topics([settings.alerts_topic])
        wait_for(lambda: settings.alerts_topic not in client.list_topics())
        with pytest.raises(UnavailableError):
            made.sink.deliver(made.batch, [message])
        client.create_topics({settings.alerts_topic: {"num_partitions": 1}})
        deadline = time.monotonic() + 60
        while True:
            try:
                made.sink.connect()
                made.sink.deliver(made.batch, [message])
                break
            except UnavailableError:
                assert time.monotonic() < deadline
        assert b"alert" in headers_by_value(settings, settings.alerts_topic)


@pytest.mark.slow
@DELIVERIES
def test_a_kafka_that_hangs_is_not_waited_for_without_end(
    settings: Settings, kafka: LocalKafka, delivery: str
) -> None:
    settings = msgspec.structs.replace(settings, delivery=delivery)
    broker = broker_process(kafka)
    with delivering(settings) as it:
        broker.suspend()
        try:
            start = time.monotonic()
            with pytest.raises(UnavailableError):
                it.sink.deliver(it.batch, [Message(settings.alerts_topic, None, b"a", [])])
            assert time.monotonic() - start < 40
        finally:
            broker.resume()
        it.sink.connect()
        assert it.committed() == 0
    assert read_all(settings, settings.alerts_topic) == []


@pytest.mark.slow
def test_a_commit_that_is_not_answered_counts_or_not_as_kafka_says(
    settings: Settings, kafka: LocalKafka
) -> None:
    broker = broker_process(kafka)
    with delivering(settings) as it:
        producer = it.sink._producer
        flush = producer.flush

        def flush_and_hang(timeout: float) -> None:
            flush(timeout)
            broker.suspend()

        producer.flush = flush_and_hang
        try:
            with pytest.raises(UnavailableError):
                it.sink.deliver(it.batch, [Message(settings.alerts_topic, None, b"a", [])])
        finally:
            producer.flush = flush
            broker.resume()
        it.sink.connect()
        committed = it.committed()
        assert committed in (0, 10)
        assert len(read_all(settings, settings.alerts_topic)) == committed / 10


def test_a_member_that_has_left_delivers_nothing(settings: Settings) -> None:
    message = Message(settings.alerts_topic, b"key", b"alert", [])
    with delivering(settings) as made:
        made.source.close()
        with pytest.raises(UnavailableError):
            made.sink.deliver(made.batch, [message])
        made.sink.connect()  # which aborts
        assert read_all(settings, settings.alerts_topic) == []


@DELIVERIES
def test_a_new_start_leaves_no_thread_behind(settings: Settings, delivery: str) -> None:
    settings = msgspec.structs.replace(settings, delivery=delivery)
    with delivering(settings) as made:
        made.sink.connect()
        before = threading.active_count()
        for _ in range(5):
            made.sink.connect()
        deadline = time.monotonic() + 10
        while threading.active_count() > before and time.monotonic() < deadline:
            time.sleep(0.05)
        assert threading.active_count() <= before
        made.sink.deliver(made.batch, [Message(settings.alerts_topic, b"key", b"alert", [])])
        assert made.committed() == 10

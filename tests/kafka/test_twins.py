"""The twins in memory, on which the loop is tested, do what the Kafka source and sink do."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from tests.kafka.feed import drain, sink_of
from tests.kafka.processes import read_all, settings_of
from tests.worker.in_memory import InMemorySink, InMemorySource
from worker.demo.local_kafka import LocalKafka
from worker.kafka.publisher import Publisher
from worker.kafka.records import Batch, Message
from worker.kafka.source import KafkaSource
from worker.run import Sink, Source

VALUES = [b"%d" % n for n in range(10)]


@contextmanager
def twins() -> Iterator[tuple[Source, Sink, list[bytes]]]:
    source = InMemorySource(VALUES)
    sink, published = InMemorySink(source), list[bytes]()
    yield source, sink, published
    published += [message.value or b"" for message in sink.published]


@contextmanager
def real(kafka: LocalKafka) -> Iterator[tuple[Source, Sink, list[bytes]]]:
    settings, published = settings_of(kafka, "twins", partitions=1), list[bytes]()
    with closing(Publisher(settings)) as publisher:
        publisher.publish(Message(settings.input_topic, b"k", value, []) for value in VALUES)
    with closing(KafkaSource(settings)) as source, closing(sink_of(settings, source)) as sink:
        yield source, sink, published
    published += [value for value, _ in read_all(settings, "twins.alerts")]


@pytest.mark.parametrize("kind", ["in memory", "real"])
def test_a_source_and_a_sink_agree(kafka: LocalKafka, kind: str) -> None:
    batch = Batch([], None)
    with twins() if kind == "in memory" else real(kafka) as (source, sink, published):

        def receive(most: int) -> list[bytes | None]:
            nonlocal batch
            batch = drain(source, most=most)
            return [record.value for record in batch.records]

        def deliver(batch: Batch) -> None:
            sink.deliver(batch, [Message("twins.alerts", b"k", r.value, []) for r in batch.records])

        def lag() -> int:
            return sum(lag.readable for lag in source.lag().values())

        source.connect()
        sink.connect()
        assert receive(4) == VALUES[:4]
        assert source.joined
        assert lag() == 6
        deliver(batch)
        assert receive(5) == VALUES[4:9]
        source.rewind()
        assert lag() == 6
        assert receive(5) == VALUES[4:9]  # again
        batch = source.truncate(batch, 2)
        assert [record.value for record in batch.records] == VALUES[4:6]
        assert lag() == 4
        deliver(batch)
        assert receive(100) == VALUES[6:]  # what was left of it, and the rest
        deliver(batch)
        assert lag() == 0
        assert source.receive(0.1, 100) is None
        sink.connect()  # it may start anew at any time
    assert published == VALUES

"""Feed: records for a source, and what it gives of them."""

import time
from collections.abc import Callable

from kafka import KafkaProducer

from worker.kafka.records import Batch
from worker.kafka.sink import KafkaSink
from worker.kafka.source import KafkaSource
from worker.run import Source
from worker.settings import Settings

Place = tuple[int, int]
"""Partition and offset."""


class NotUtf8(str):
    """A header's name that kafka-python publishes, and cannot read."""

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:  # noqa: ARG002
        return b"\xff\xfe"


BAD_HEADER = [(NotUtf8("name"), b"value")]


class Feed:
    """Publishes to chosen partitions, each call as one batch of a producer."""

    def __init__(self, settings: Settings, **options: object) -> None:
        self._topic = settings.input_topic
        self.producer = KafkaProducer(
            bootstrap_servers=settings.kafka_bootstrap_servers,
            compression_type="lz4",
            batch_size=1 << 20,
            linger_ms=60_000,
            **options,
        )

    def __call__(self, partition: int, values: int, bad_headers: int = 0) -> list[Place]:
        """Publish values; the last ones have an invalid header."""
        good = values - bad_headers
        sent = [
            self.producer.send(
                self._topic,
                value=b"x" * 100,
                partition=partition,
                headers=[] if n < good else BAD_HEADER,
            )
            for n in range(values)
        ]
        self.producer.flush()
        return [(partition, future.get(timeout=0).offset) for future in sent]


def drain(
    source: Source,
    until: Callable[[Batch], bool] = lambda _: True,
    seconds: float = 60,
    most: int = 1000,
) -> Batch:
    """Receive batches of at most this size until it is enough, and return the last batch."""
    deadline = time.monotonic() + seconds
    while True:
        assert time.monotonic() < deadline, "waited in vain"
        batch = source.receive(0.2, most)
        if batch is not None and until(batch):
            return batch


def sink_of(settings: Settings, source: KafkaSource) -> KafkaSink:
    """Return a connected sink that commits what the source has received."""
    sink = KafkaSink(settings, source.commit)
    sink.connect()
    return sink

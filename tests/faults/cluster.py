"""Cluster: the brokers, the topics of a run, and what is in them."""

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from kafka import IsolationLevel, KafkaAdminClient, KafkaConsumer, OffsetSpec, TopicPartition
from kafka.errors import KafkaError

from shared.errors import DependencyError
from worker.demo.local_kafka import LocalKafka
from worker.kafka.records import Record, records_of
from worker.kafka.topics import create_topics
from worker.settings import Settings

Given = TypeVar("Given")

PATIENCE = 300.0
"""Seconds that a cluster without faults has for any one thing, however slow the machine."""


class Cluster:
    """Brokers with the three topics; it runs within a `with`.

    Args:
        brokers: so many.
        partitions: of each topic.
        logs: a folder for the brokers' data, if a fault needs them.

    Attributes:
        kafka: the brokers; `brokers`: how many there are when none was killed.
        settings: what workers need to know of them.
    """

    def __init__(self, brokers: int, partitions: int, logs: Path | None = None) -> None:
        self.kafka = LocalKafka(brokers, f"log.dirs={logs}/{{number}}\n" if logs else "")
        self._logs = logs
        self.settings = Settings(
            kafka_bootstrap_servers=self.kafka.bootstrap_servers,
            metrics_address="127.0.0.1",
            metrics_port=0,
        )
        self.brokers = brokers
        self._partitions = partitions

    def __enter__(self) -> Self:
        self.kafka.start()
        names = (
            self.settings.input_topic,
            self.settings.alerts_topic,
            self.settings.dead_letters_topic,
        )
        patiently(lambda: create_topics(self.settings, dict.fromkeys(names, self._partitions)))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kafka.stop()

    @contextmanager
    def admin(self) -> Iterator[Any]:
        """Yield an admin client. Let Kafka's errors pass."""
        servers = self.settings.kafka_bootstrap_servers.split(",")
        client = KafkaAdminClient(bootstrap_servers=servers, request_timeout_ms=10_000)
        with closing(client):
            yield client

    def partitions(self, admin: Any, topic: str) -> list[TopicPartition]:
        """Return the partitions that a topic has now."""
        (described,) = admin.describe_topics([topic])
        return [TopicPartition(topic, p["partition_index"]) for p in described["partitions"]]

    def topic_id(self) -> str:
        """Return the id of the input topic."""
        with self.admin() as admin:
            (described,) = admin.describe_topics([self.settings.input_topic])
        return str(described["topic_id"])

    def add_partitions(self, count: int) -> int:
        """Add partitions to the input topic, and return their number."""
        with self.admin() as admin:
            total = len(self.partitions(admin, self.settings.input_topic)) + count
            admin.create_partitions({self.settings.input_topic: total}, timeout_ms=10_000)
        return total

    def is_whole(self) -> bool:
        """Return whether all brokers accept connections and have all of the input topic."""
        if len(self.kafka.running()) < self.brokers:
            return False
        for server in self.settings.kafka_bootstrap_servers.split(","):
            host, port = server.split(":")
            try:
                socket.create_connection((host, int(port)), 1).close()
            except OSError:  # it starts; the others may not know yet that it was away
                return False
        with self.admin() as admin:
            (described,) = admin.describe_topics([self.settings.input_topic])
        return all(len(p["isr_nodes"]) == self.brokers for p in described["partitions"])

    def folders(self, partition: int) -> list[Path]:
        """Return where each broker keeps a partition of the input topic."""
        assert self._logs is not None
        return list(self._logs.glob(f"*/{self.settings.input_topic}-{partition}"))

    def ends(
        self, admin: Any, topic: str, isolation: Literal["read_committed", "read_uncommitted"]
    ) -> dict[int, int]:
        """Return the end offset of each partition for a reader of this isolation level."""
        found = admin.list_partition_offsets(
            dict.fromkeys(self.partitions(admin, topic), OffsetSpec.LATEST),
            IsolationLevel[isolation.upper()],
        )
        return {partition.partition: offset.offset for partition, offset in found.items()}

    def committed(self, admin: Any) -> dict[int, int]:
        """Return the offset that the group has committed for each partition of the input topic."""
        (found,) = admin.list_group_offsets(self.settings.group_id).values()
        return {
            partition.partition: offset.offset
            for partition, offset in found.items()
            if partition.topic == self.settings.input_topic
        }

    def read(self, topic: str, only: int | None = None) -> list[Record]:
        """Return every committed record of a topic, or of only one of its partitions.

        Raises:
            AssertionError: if they cannot all be read in time.
        """
        with self.admin() as admin:
            ends = self.ends(admin, topic, "read_committed")
        consumer = KafkaConsumer(
            bootstrap_servers=self.settings.kafka_bootstrap_servers.split(","),
            isolation_level="read_committed",
            auto_offset_reset="earliest",
        )
        records: list[Record] = []
        deadline = time.monotonic() + PATIENCE
        with closing(consumer):
            partitions = {
                TopicPartition(topic, number): end
                for number, end in ends.items()
                if only in (None, number)
            }
            consumer.assign(list(partitions))
            while any(consumer.position(at) < end for at, end in partitions.items()):
                assert time.monotonic() < deadline, f"{topic} could not be read in {PATIENCE:.0f} s"
                records += records_of(consumer.poll(timeout_ms=200))
        return records


def patiently(call: Callable[[], Given], seconds: float = PATIENCE) -> Given:
    """Call again and again until Kafka can answer."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(KafkaError, DependencyError):
            return call()
        time.sleep(0.5)
    return call()

"""Publisher: publishes messages outside any transaction."""

from collections.abc import Iterable

from shared.settings import Settings
from worker.kafka_clients.connection import connecting, kafka_errors, new_producer, send
from worker.kafka_clients.records import Message


class Publisher:
    """Publishes messages outside any transaction, to replay tweets."""

    def __init__(self, settings: Settings) -> None:
        with connecting(settings):
            self._producer = new_producer(settings)

    def publish(self, messages: Iterable[Message]) -> list[tuple[int, int]]:
        """Publishes messages, and waits until Kafka has them.

        Returns:
            Partition and offset of each.

        Raises:
            DependencyError: from Kafka.
        """
        with kafka_errors("publish"):
            sent = list(send(self._producer, messages))
            self._producer.flush(timeout=60)
            places = [future.get(timeout=0) for future in sent]
        return [(place.partition, place.offset) for place in places]

    def close(self) -> None:
        """Closes the connections."""
        self._producer.close(timeout=5)

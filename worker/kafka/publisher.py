"""Publisher: publishes messages on their own, each call in a transaction if told so."""

from collections.abc import Iterable

from worker.kafka.connection import connecting, kafka_errors, new_producer
from worker.kafka.records import Message
from worker.settings import Settings


class Publisher:
    """Publishes messages.

    Args:
        transactional_id: what one call publishes becomes visible as a whole or not at all, and only
            as long as nobody else has come with the same id; None: no transactions.
    """

    def __init__(self, settings: Settings, transactional_id: str | None = None) -> None:
        self._transactions = transactional_id is not None
        with connecting(settings):
            self._producer = new_producer(settings, transactional_id)

    def publish(self, messages: Iterable[Message]) -> list[tuple[int, int]]:
        """Publishes messages, and waits until Kafka has them.

        Returns:
            Partition and offset of each.

        Raises:
            DependencyError: from Kafka.
        """
        with kafka_errors("publish"):
            if self._transactions:
                self._producer.begin_transaction()
            sent = list(self._producer.give(messages))
            self._producer.flush(timeout=60)
            places = [future.get(timeout=0) for future in sent]
            if self._transactions:
                self._producer.commit_transaction()
        return [(place.partition, place.offset) for place in places]

    def close(self) -> None:
        """Closes the connections; a transaction that failed is aborted."""
        self._producer.discard()

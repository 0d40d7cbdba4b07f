"""Publisher: publish messages outside the consumer group, in transactions if asked to."""

from collections.abc import Iterable

from worker.kafka.connection import PATIENCE_MS, connecting, new_producer, publishing
from worker.kafka.records import Message
from worker.kafka.sink import send, wait_for_futures
from worker.kafka.workarounds import begin_transactional, close_producer, wait_for_result
from worker.settings import Settings

_SECONDS = 60


class Publisher:
    """Publishes messages.

    Args:
        transactional_id: the messages of one call become visible together or not at all. Another
            process with the same id ends this one's transactions. None: no transactions.
    """

    def __init__(self, settings: Settings, transactional_id: str | None = None) -> None:
        self._transactions = transactional_id is not None
        with connecting(settings):
            self._producer = new_producer(settings, transactional_id)

    def publish(self, messages: Iterable[Message]) -> list[tuple[int, int]]:
        """Publish messages, and wait until Kafka has them.

        Returns:
            Partition and offset of each.

        Raises:
            DependencyError: from Kafka.
        """
        producer = self._producer
        with publishing("publish"):
            if self._transactions:
                producer.begin_transaction()
            published = wait_for_futures(list(send(producer, messages)), _SECONDS)
            if self._transactions:
                commit = begin_transactional(producer, lambda manager: manager.begin_commit())
                wait_for_result(commit, PATIENCE_MS / 1000, "the commit")
        return [(record.partition, record.offset) for record in published]

    def close(self) -> None:
        """Close the connections, and abort a failed transaction."""
        close_producer(self._producer)

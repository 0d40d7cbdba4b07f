"""Sink: publishes messages and commits offsets, both or neither if transactions are allowed."""

import contextlib
import uuid
from collections.abc import Iterable
from typing import Any

from kafka.errors import KafkaError

from shared.settings import Settings
from worker.kafka_clients.connection import connecting, kafka_errors, new_producer, send
from worker.kafka_clients.records import Batch, Message
from worker.kafka_clients.source import Source

_TRANSACTION_TIMEOUT_MS = 10_000
"""How long a killed worker's open transaction holds back `read_committed` readers at most."""


class Sink:
    """Publishes messages and commits offsets: both or neither, if transactions are allowed."""

    def __init__(self, settings: Settings, source: Source) -> None:
        self._settings = settings
        self._source = source
        self._transactions = settings.delivery == "exactly-once"
        self._transactional_id = f"{settings.group_id}-{uuid.uuid4()}"
        with connecting(settings):
            self._producer = self._new_producer()

    def deliver(self, batch: Batch, messages: Iterable[Message]) -> None:
        """Publishes a batch's messages and commits its offsets.

        Raises:
            UnavailableError: nothing became visible (or, without transactions, all or part of it):
                `reset`, rewind the source, and go on.
            DependencyError: this worker may not publish any more.
        """
        with kafka_errors("deliver"):
            if self._transactions:
                self._producer.begin_transaction()
                send(self._producer, messages)
                self._producer.send_offsets_to_transaction(batch.offsets, batch.membership)
                self._producer.commit_transaction()
            else:
                sent = send(self._producer, messages)
                self._producer.flush()
                for future in sent:
                    future.get(timeout=0)
                self._source.consumer.commit(batch.offsets)

    def reset(self) -> None:
        """Starts anew after a failure; an open transaction is aborted.

        Raises:
            DependencyError: from Kafka.
        """
        self._producer.close(timeout=0)
        with kafka_errors("start anew"):
            self._producer = self._new_producer()

    def close(self) -> None:
        """Closes the connections; everything delivered has been delivered."""
        with contextlib.suppress(KafkaError):
            self._producer.close(timeout=5)

    def _new_producer(self) -> Any:
        transactional: dict[str, Any] = {
            "transactional_id": self._transactional_id,
            "transaction_timeout_ms": _TRANSACTION_TIMEOUT_MS,
        }
        producer = new_producer(self._settings, **(transactional if self._transactions else {}))
        if self._transactions:
            producer.init_transactions()
        return producer

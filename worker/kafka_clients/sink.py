"""Sink: publishes messages and commits offsets, both or neither if transactions are allowed."""

import contextlib
import uuid
from collections.abc import Sequence
from typing import Any

import msgspec
from kafka.errors import KafkaError, MessageSizeTooLargeError

from shared.errors import DependencyError
from shared.settings import Settings
from worker.kafka_clients.connection import connecting, kafka_errors, new_producer, send
from worker.kafka_clients.records import Batch, Message
from worker.kafka_clients.source import Source

_TRANSACTION_TIMEOUT_MS = 10_000
"""How long a killed worker's open transaction holds back `read_committed` readers at most."""


class Sink:
    """Publishes messages and commits offsets: both or neither, if transactions are allowed.

    With an instance id the transactional id is the same after a restart, so that a transaction
    which a killed worker left open is aborted at once and does not have to time out.
    """

    def __init__(self, settings: Settings, source: Source) -> None:
        self._settings = settings
        self._source = source
        self._transactions = settings.delivery == "exactly-once"
        self._transactional_id = f"{settings.group_id}-{settings.instance_id or uuid.uuid4()}"
        with connecting(settings):
            self._producer = self._new_producer()

    def deliver(self, batch: Batch, messages: Sequence[Message]) -> None:
        """Publishes a batch's messages and commits its offsets.

        A message that is larger than its topic allows is published without its value, and if need
        be without key and headers; headers say how large they were.

        Raises:
            UnavailableError: nothing became visible (or, without transactions, all or part of it):
                `reset`, rewind the source, and go on.
            DependencyError: this worker may not publish any more.
        """
        while True:
            sent: list[Any] = []
            try:
                with kafka_errors("deliver"):
                    self._deliver(batch, messages, sent)
                return
            except DependencyError:
                too_large = {n for n, future in enumerate(sent) if _is_too_large(future)}
                shorter = [shorten(m) if n in too_large else m for n, m in enumerate(messages)]
                if shorter == list(messages):
                    raise
                messages = shorter
            self.reset()

    def _deliver(self, batch: Batch, messages: Sequence[Message], sent: list[Any]) -> None:
        if self._transactions:
            self._producer.begin_transaction()
            sent += send(self._producer, messages)
            self._producer.send_offsets_to_transaction(batch.offsets, batch.membership)
            self._producer.commit_transaction()
        else:
            sent += send(self._producer, messages)
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


def shorten(message: Message) -> Message:
    """The message without its value or, if that is gone already, without key and foreign headers.

    A header says how many bytes were left out, and for a dead letter others say where the record
    lies, so that it can be had as long as the source topic keeps it.
    """
    if message.value:
        omitted = ("triage-omitted-value-bytes", str(len(message.value)).encode())
        return msgspec.structs.replace(message, value=b"", headers=[*message.headers, omitted])
    ours = [header for header in message.headers if header[0].startswith("triage-")]
    if message.key is None and ours == message.headers:
        return message
    omitted = ("triage-omitted-key-bytes", str(len(message.key or b"")).encode())
    return msgspec.structs.replace(message, key=None, value=b"", headers=[*ours, omitted])


def _is_too_large(future: Any) -> bool:
    return future.is_done and isinstance(future.exception, MessageSizeTooLargeError)

"""Sink: publishes messages and commits offsets, both or neither if transactions are allowed."""

import uuid
from collections.abc import Sequence
from typing import Any

import msgspec
from kafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError

from shared.errors import DependencyError
from worker.kafka.connection import (
    REQUEST_TIMEOUT_MS,
    connecting,
    kafka_errors,
    new_producer,
)
from worker.kafka.producer import Producer
from worker.kafka.records import Batch, Message
from worker.kafka.source import Source
from worker.settings import Settings


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

        A message that its topic is too small for goes without what `shorten` leaves out.

        Raises:
            UnavailableError: nothing became visible (or, without transactions, all or part of it):
                `reset`, rewind the source, and go on.
            DependencyError: this worker may not publish any more, or a topic is too small for what
                cannot be left out.
        """
        packed = True
        while True:
            too_large: list[int] = []  # numbers of messages, in the order of their refusal
            try:
                with kafka_errors("deliver"):
                    self._deliver(batch, messages, too_large, packed=packed)
                return
            except DependencyError as error:
                if not too_large:
                    raise
                if packed:  # which of them it is shows when they go one by one
                    packed = False
                else:
                    # The first is what Kafka refused. Those behind it may be innocent: kafka-python
                    # gives up all of a transaction, or of a producer, with the error of the first.
                    refused = messages[too_large[0]]
                    messages = [
                        self._shorten(m, error)
                        if m.topic == refused.topic and _size(m) >= _size(refused)
                        else m
                        for m in messages
                    ]
            self.reset()

    def _deliver(
        self, batch: Batch, messages: Sequence[Message], too_large: list[int], *, packed: bool
    ) -> None:
        producer, offsets = self._producer, None
        if self._transactions:
            producer.begin_transaction()
            offsets = producer.begin_offsets(batch.offsets, batch.membership)
        sent = []
        try:
            given = producer.give_packed(messages) if packed else enumerate(producer.give(messages))
            for number, future in given:
                future.add_errback(_note, too_large, number)
                sent.append(future)
        except KafkaError:
            if offsets is not None and offsets.failed:
                raise offsets.exception from None
            raise
        producer.settle(sent, offsets, lambda: self._source.unpack_ahead(len(batch.records)))
        if offsets is not None:
            producer.commit_transaction(self._source.fetch_ahead)
        else:
            self._source.fetch_ahead()
            self._source.consumer.commit(batch.offsets, timeout_ms=REQUEST_TIMEOUT_MS)

    def _shorten(self, message: Message, error: DependencyError) -> Message:
        shorter = shorten(message, keep_value=message.topic == self._settings.alerts_topic)
        if shorter == message:
            raise DependencyError(
                f"the topic {message.topic} does not take a message of {_size(message)} bytes: "
                "expected a larger max.message.bytes of this topic"
            ) from error
        return shorter

    def reset(self) -> None:
        """Starts anew after a failure; an open transaction is aborted.

        Raises:
            DependencyError: from Kafka.
        """
        self._producer.discard()
        with kafka_errors("start anew"):
            self._producer = self._new_producer()

    def close(self) -> None:
        """Closes the connections; everything delivered has been delivered."""
        self._producer.discard()

    def _new_producer(self) -> Producer:
        return new_producer(self._settings, self._transactional_id if self._transactions else None)


def shorten(message: Message, *, keep_value: bool) -> Message:
    """The message without its largest part: value, key, or the headers of its record.

    A header says how many bytes were left out. A dead letter's others say where the record lies, so
    that it can be had as long as the source topic keeps it.

    Args:
        keep_value: the value stays, because without it the message says nothing.

    Returns:
        The same message if there is nothing more to leave out.
    """
    sizes = {
        "value": 0 if keep_value else len(message.value or b""),
        "key": len(message.key or b""),
        "headers": _size_of_headers(message.headers),
    }
    part = max(sizes, key=lambda name: sizes[name])
    if not sizes[part]:
        return message
    without: dict[str, Any] = {"value": b"", "key": None, "headers": []}
    said = (f"triage-omitted-{part}-bytes", str(sizes[part]).encode())
    shorter = msgspec.structs.replace(
        message, **{part: without[part]}, added=[*message.added, said]
    )
    # kafka-python publishes no message without both key and value.
    return msgspec.structs.replace(shorter, value=shorter.value or b"")


def _note(numbers: list[int], number: int, error: BaseException) -> None:
    if isinstance(error, (MessageSizeTooLargeError, RecordListTooLargeError)):
        numbers.append(number)


def _size(message: Message) -> int:
    parts = (message.key, message.value)
    headers = _size_of_headers(message.headers + message.added)
    return sum(len(part or b"") for part in parts) + headers


def _size_of_headers(headers: Sequence[tuple[str, bytes]]) -> int:
    return sum(len(name.encode()) + len(value) for name, value in headers)

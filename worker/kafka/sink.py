"""Sink: publish a batch's messages and commit its offsets, in one transaction if allowed."""

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec
from kafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError
from kafka.future import Future

from shared.errors import DependencyError
from worker.kafka.connection import PATIENCE_MS, connecting, new_producer, publishing
from worker.kafka.record_batches import PackedWriter, packed_writer
from worker.kafka.records import Batch, Message
from worker.kafka.source import offsets_behind
from worker.kafka.workarounds import begin_transactional, close_producer, wait_for_result
from worker.settings import Settings

_SECONDS = PATIENCE_MS / 1000


class KafkaSink:
    """Publishes messages and commits offsets: both or neither, if transactions are allowed.

    With an instance id, the transactional id is the same after a restart. So an open transaction of
    a killed worker is aborted at once, without waiting for its timeout.

    Args:
        commit: commits a batch's offsets outside a transaction.
    """

    def __init__(self, settings: Settings, commit: Callable[[Batch], None]) -> None:
        self._settings = settings
        self._commit = commit
        self._transactional_id = None
        if settings.delivery == "exactly-once":
            self._transactional_id = f"{settings.group_id}-{settings.instance_id or uuid.uuid4()}"
        self._producer: Any = None
        self._packed: PackedWriter | None = None

    def connect(self) -> None:
        """Connect, or reconnect after a failure. This aborts an open transaction.

        Raises:
            DependencyError: from Kafka.
        """
        self.close()
        with connecting(self._settings):
            self._producer = new_producer(self._settings, self._transactional_id)
        self._packed = packed_writer(self._producer)

    def deliver(self, batch: Batch, messages: Sequence[Message]) -> None:
        """Publish a batch's messages and commit its offsets.

        A message that is too large for its topic is published without the parts that `truncate`
        removes.

        Raises:
            UnavailableError: nothing became visible (without transactions, perhaps all or part of
                it). Call `connect`, rewind the source, and continue.
            DependencyError: this worker may not publish any more, or a topic's limit is too low
                even for a truncated message.
        """
        writer = self._packed
        while True:
            too_large: list[int] = []  # indices of refused messages, in order of refusal
            try:
                with publishing("deliver"):
                    self._deliver(batch, messages, too_large, writer)
                return
            except DependencyError as error:
                if not too_large:
                    raise
                if writer is not None:
                    writer = None  # sent one by one, so that the error names the message
                else:
                    # Kafka refused the first one. The others may be valid: kafka-python fails all
                    # messages of a transaction, or of a producer, with the error of the first.
                    refused = messages[too_large[0]]
                    messages = [
                        self._truncate(m, error)
                        if m.topic == refused.topic and _size(m) >= _size(refused)
                        else m
                        for m in messages
                    ]
            self.connect()

    def _deliver(
        self,
        batch: Batch,
        messages: Sequence[Message],
        too_large: list[int],
        writer: PackedWriter | None,
    ) -> None:
        producer, offsets = self._producer, None
        if self._transactional_id is not None:
            producer.begin_transaction()
            arguments = offsets_behind(batch), batch.membership
            offsets = begin_transactional(
                producer, lambda manager: manager.send_offsets_to_transaction(*arguments)
            )
        sent: list[Any] = []
        try:
            for index, future in (
                writer.write(messages) if writer else enumerate(send(producer, messages))
            ):
                future.add_errback(_note_size, too_large, index)
                sent.append(future)
            if writer:
                producer.flush(_SECONDS)
            wait_for_futures(sent, _SECONDS)
        except KafkaError:
            if offsets is not None and offsets.failed:
                raise offsets.exception from None
            wait_for_futures(sent, _SECONDS)  # raises the error of the first failed message
            raise
        if offsets is not None:
            wait_for_result(offsets, _SECONDS, "the offsets")
        if offsets is None:
            self._commit(batch)
        else:
            commit = begin_transactional(producer, lambda manager: manager.begin_commit())
            wait_for_result(commit, _SECONDS, "the commit")

    def _truncate(self, message: Message, error: DependencyError) -> Message:
        shorter = truncate(message, keep_value=message.topic != self._settings.dead_letters_topic)
        if shorter == message:
            raise DependencyError(
                f"the topic {message.topic} does not take a message of {_size(message)} bytes: "
                "expected a larger max.message.bytes of this topic"
            ) from error
        return shorter

    def close(self) -> None:
        """Close the connections. An open transaction times out, or the next start aborts it."""
        producer, self._producer = self._producer, None
        if producer is not None:
            close_producer(producer)


def send(producer: Any, messages: Iterable[Message]) -> Iterator[Any]:
    """Send messages one by one, and yield the futures of their acknowledgements.

    One that exceeds `max_request_size` fails at once, as it would at a broker.
    """
    for message in messages:
        headers = message.headers + message.added
        try:
            yield producer.send(
                message.topic, message.value, message.key, headers, message.partition
            )
        except MessageSizeTooLargeError as error:
            yield Future().failure(error)


def wait_for_futures(futures: Iterable[Any], seconds: float) -> list[Any]:
    """Wait for the futures of messages, this many seconds for all of them.

    kafka-python's `flush` fails if a batch was split, and does not say which message failed.

    Returns:
        The value of each acknowledgement.

    Raises:
        KafkaTimeoutError: if one is not done in time.
        KafkaError: the error of the first one that failed.
    """
    deadline = time.monotonic() + seconds
    return [future.get(timeout=max(0.0, deadline - time.monotonic())) for future in futures]


def truncate(message: Message, *, keep_value: bool) -> Message:
    """Return the message without its largest part: value, key, or the headers of its record.

    A header says how many bytes were removed. A dead letter's headers name the record's partition
    and offset, so it can be read for as long as the source topic keeps it.

    Args:
        keep_value: never remove the value, because the message is useless without it.

    Returns:
        The same message if nothing more can be removed.
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
    omitted = (f"triage-omitted-{part}-bytes", str(sizes[part]).encode())
    shorter = msgspec.structs.replace(
        message, **{part: without[part]}, added=[*message.added, omitted]
    )
    # kafka-python does not publish a message with neither key nor value.
    return msgspec.structs.replace(shorter, value=shorter.value or b"")


def _note_size(indices: list[int], index: int, error: BaseException) -> None:
    if isinstance(error, (MessageSizeTooLargeError, RecordListTooLargeError)):
        indices.append(index)


def _size(message: Message) -> int:
    parts = (message.key, message.value)
    headers = _size_of_headers(message.headers + message.added)
    return sum(len(part or b"") for part in parts) + headers


def _size_of_headers(headers: Sequence[tuple[str, bytes]]) -> int:
    return sum(len(name.encode()) + len(value) for name, value in headers)

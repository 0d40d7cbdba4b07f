"""Producer: kafka-python's, whose network work is done by the thread that waits for it."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from kafka import KafkaProducer, TopicPartition
from kafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError
from kafka.future import Future

from worker.kafka_clients.records import Headers, Message
from worker.kafka_clients.sender import DrivenSender
from worker.kafka_clients.transactions import speak_version_2

PATIENCE_MS = 15_000
"""How long any step of a delivery may take; Kafka elects a new leader within ten seconds."""
_TURN = 1000
"""Messages without a key that go to one partition before another's turn. For each partition of
a transaction its coordinator is asked, and Kafka marks each at the end."""
_SMALL = 64 << 10
"""Bytes; larger messages are rare, and go the way that checks their size."""


class Producer(KafkaProducer):  # type: ignore[misc]  # kafka-python ships no types
    """A producer that is ready; one for transactions has ended those that its id has left open.

    It sends while one of its methods waits, and at no other time.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        DrivenSender.adopt(self._sender)
        try:
            if options.get("transactional_id") is not None:
                speak_version_2(self)
                self.init_transactions()
            self._sender.rest()
        except KafkaError:
            self.discard()  # or its thread would go on for ever
            raise

    def begin_offsets(self, offsets: Any, membership: Any) -> Any:
        """Does what `send_offsets_to_transaction` does, without waiting.

        Returns:
            What `settle` waits for.
        """
        result = self._transaction_manager.send_offsets_to_transaction(offsets, membership)
        self._sender.push()
        return result

    def give(self, messages: Iterable[Message]) -> Iterator[Any]:
        """Takes messages; yields the futures of their acknowledgements.

        One that exceeds `max_request_size` has failed at once, as it would at a broker.
        """
        transactional = self._transaction_manager.is_transactional()
        places: dict[tuple[str, bytes | None], Any] = {}
        for number, message in enumerate(messages):
            if number % _TURN == 0:
                places.clear()
            headers = message.headers + message.added
            size = len(message.value or b"") + len(message.key or b"")
            if transactional and message.partition is None and size < _SMALL:
                if (place := places.get((message.topic, message.key))) is None:
                    place = self._begin_partition(message.topic, message.key)
                    places[message.topic, message.key] = place
                yield self._append(place, message, headers)
                continue
            try:
                yield self.send(
                    message.topic, message.value, message.key, headers, message.partition
                )
            except MessageSizeTooLargeError as error:
                yield Future().failure(error)

    def settle(
        self, sent: Sequence[Any], offsets: Any = None, meanwhile: Callable[[], None] = lambda: None
    ) -> None:
        """Waits until Kafka has taken messages and, if there are, offsets.

        Args:
            sent: futures, as `give` has them.
            offsets: as `begin_offsets` has it.
            meanwhile: is called once the messages are on their way.

        Raises:
            KafkaError: of the first message that failed, or of the offsets.
        """
        deadline = time.monotonic() + PATIENCE_MS / 1000
        with self._flushing():
            if offsets is not None:
                self._sender.drive(lambda: offsets.is_done, PATIENCE_MS / 1000)
            self._sender.push()
            meanwhile()
            for future in sent:
                if not future.is_done:
                    self._drive(lambda: future.is_done, deadline, "a message")  # noqa: B023
                if future.failed():
                    raise future.exception
        if offsets is not None:
            self._drive(lambda: offsets.is_done, deadline, "the offsets")
            offsets.wait(0)  # raises what it failed with

    def send_offsets_to_transaction(self, offsets: Any, group_metadata: Any) -> None:
        """As kafka-python does it, but not without a limit."""
        self._wait_for(self.begin_offsets(offsets, group_metadata), "the offsets")

    def commit_transaction(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """As kafka-python does it, but not without a limit.

        Args:
            meanwhile: is called while Kafka commits.

        Raises:
            KafkaTimeoutError: if it is not known in time whether the transaction is committed.
        """
        result = self._transaction_manager.begin_commit()
        self._sender.push()
        meanwhile()
        self._wait_for(result, "the commit")

    def flush(self, timeout: float | None = None) -> None:
        """Waits until nothing is left to be sent or answered, within so many seconds."""
        seconds = threading.TIMEOUT_MAX if timeout is None else timeout
        deadline = time.monotonic() + seconds
        with self._flushing():
            self._drive(lambda: not self._accumulator.has_incomplete, deadline, "the messages")

    def discard(self) -> None:
        """Ends it together with what it still holds."""
        try:
            self.close(timeout=0)
        except KafkaTimeoutError:  # its thread would go on, unless it is told that it is in vain
            self._sender.force_close()
            with contextlib.suppress(KafkaError):
                self.close(timeout=1)

    def _wait_on_metadata(self, topic: str, max_wait_ms: float) -> Any:
        if (partitions := self._metadata.partitions_for_topic(topic)) is not None:
            return partitions
        with self._sender.on_its_own():
            return super()._wait_on_metadata(topic, max_wait_ms)

    def _wait_for(self, result: Any, what: str) -> None:
        self._drive(lambda: result.is_done, time.monotonic() + PATIENCE_MS / 1000, what)
        result.wait(0)  # raises what it failed with

    def _drive(self, done: Callable[[], bool], deadline: float, what: str) -> None:
        if not self._sender.drive(done, deadline - time.monotonic()):
            raise KafkaTimeoutError(f"no answer to {what} in time")

    @contextlib.contextmanager
    def _flushing(self) -> Iterator[None]:
        """Messages do not wait for more of them meanwhile."""
        self._accumulator.begin_flush()
        try:
            yield
        finally:
            self._accumulator._flushes_in_progress.decrement()

    def _begin_partition(self, topic: str, key: bytes | None) -> TopicPartition:
        """The partition that a key belongs to, or any for none, as a part of the transaction."""
        self.partitions_for(topic)  # waits until they are known
        partition = self._partition(topic, None, key, b"", key, b"")
        place = TopicPartition(topic, partition)
        self._transaction_manager.maybe_add_partition_to_transaction(place)
        return place

    def _append(self, place: TopicPartition, message: Message, headers: Headers) -> Any:
        """Does what `send` does of kafka-python behind its checks, in 8 µs instead of 17.

        The checks are of types, of the partition and the transaction for each message anew, and of
        the size twice.
        """
        return self._accumulator.append(place, None, message.key, message.value, headers)[0]

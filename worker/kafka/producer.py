"""Producer: kafka-python's, whose network work is done by the thread that waits for it."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from kafka import KafkaProducer, TopicPartition
from kafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError
from kafka.future import Future
from kafka.producer.future import FutureRecordMetadata
from kafka.producer.producer_batch import ProducerBatch

from worker.kafka.record_batches import pack
from worker.kafka.records import Message
from worker.kafka.sender import DrivenSender
from worker.kafka.transactions import speak_version_2

PATIENCE_MS = 15_000
"""How long any step of a delivery may take; Kafka elects a new leader within ten seconds."""
_TURN = 1000
"""Messages without a key that go to one partition before another's turn. For each partition of
a transaction its coordinator is asked, and Kafka marks each at the end."""
_NOT_TOLD = (0, -1, None, -1, -1, -1)
"""Of a batch's first message: it is the first, its time, its checksum, and its sizes."""


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
        for message in messages:
            headers = message.headers + message.added
            try:
                yield self.send(
                    message.topic, message.value, message.key, headers, message.partition
                )
            except MessageSizeTooLargeError as error:
                yield Future().failure(error)

    def give_packed(self, messages: Sequence[Message]) -> Iterator[tuple[int, Any]]:
        """Takes messages as record batches that are ready, in a fifth of the time.

        Yields:
            The number of a batch's first message, and the future of the batch's acknowledgement. If
            it fails, it is not known for which of its messages.
        """
        places: dict[tuple[str, bytes | None, int | None], TopicPartition] = {}
        numbers: dict[TopicPartition, list[int]] = {}
        for number, message in enumerate(messages):
            if number % _TURN == 0:
                places.clear()
            to = message.topic, message.key, message.partition
            if (place := places.get(to)) is None:
                place = places[to] = self._begin_partition(*to)
                numbers.setdefault(place, [])
            numbers[place].append(number)
        for place, some in numbers.items():
            yield from self._append(place, [messages[number] for number in some], some)

    def settle(
        self, sent: Sequence[Any], offsets: Any = None, meanwhile: Callable[[], None] = lambda: None
    ) -> None:
        """Waits until Kafka has taken messages and, if there are, offsets.

        Args:
            sent: futures, as `give` and `give_packed` have them.
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

    def _begin_partition(
        self, topic: str, key: bytes | None, partition: int | None
    ) -> TopicPartition:
        """The partition that a key belongs to, or any for none, as a part of the transaction."""
        self.partitions_for(topic)  # waits until they are known
        place = TopicPartition(topic, self._partition(topic, partition, key, b"", key, b""))
        if self._transaction_manager.is_transactional():
            self._transaction_manager.maybe_add_partition_to_transaction(place)
        return place

    def _append(
        self, place: TopicPartition, messages: Sequence[Message], numbers: Sequence[int]
    ) -> Iterator[tuple[int, Any]]:
        """Does what the accumulator's `append` does, for batches instead of messages."""
        accumulator = self._accumulator
        compression, most = (accumulator.config[n] for n in ("compression_attrs", "batch_size"))
        for first, records in pack(messages, compression, most):
            if records.size_in_bytes() > self.config["max_request_size"]:
                yield numbers[first], Future().failure(MessageSizeTooLargeError())
                continue
            batch = ProducerBatch(place, records)
            with accumulator._tp_lock(place):
                accumulator._batches[place].append(batch)
                accumulator._incomplete.add(batch)
            yield numbers[first], FutureRecordMetadata(batch.produce_future, *_NOT_TOLD)

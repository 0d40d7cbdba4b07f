"""Kafka: the one place that knows kafka-python.

    Source   a member of the consumer group; gives batches of records
    Sink     publishes a batch's messages together with its offsets, in one transaction if allowed

Errors of kafka-python leave this module as `DependencyError`: as `UnavailableError` where trying
again can help (a broker is away, the group rebalances), as a plain one where it cannot (no
permission).
"""

import contextlib
import logging
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import msgspec
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.errors import (
    AuthorizationError,
    FencedInstanceIdError,
    KafkaError,
    MessageSizeTooLargeError,
    SaslAuthenticationFailedError,
    TopicAlreadyExistsError,
    UnsupportedVersionError,
)

from shared.errors import DependencyError
from shared.settings import Settings

Headers = list[tuple[str, bytes]]

_BOOTSTRAP_TIMEOUT_MS = 10_000
_REQUEST_TIMEOUT_MS = 10_000
_TRANSACTION_TIMEOUT_MS = 10_000
"""How long a killed worker's open transaction holds back `read_committed` readers at most."""
_LARGEST_REQUEST = 16 << 20
"""Bytes; the topic's own limit decides, not the client's default of 1 MiB."""

_HOPELESS = (
    AuthorizationError,
    FencedInstanceIdError,
    MessageSizeTooLargeError,
    SaslAuthenticationFailedError,
    UnsupportedVersionError,
)
"""Trying again cannot help with these. Being fenced as a producer is not among them: nobody shares
our transactional id, so the coordinator has timed our transaction out, and a new start mends it."""

logging.getLogger("kafka").setLevel(logging.CRITICAL)  # what matters is raised, and we say it


class UnavailableError(DependencyError):
    """Kafka cannot do it now; the same may succeed later."""


class Record(Protocol):
    """A record as kafka-python gives it; only these attributes are used."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class Message(msgspec.Struct, frozen=True):
    """What is to be published."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers


class Batch(msgspec.Struct, frozen=True):
    """Records that were polled together, and what it takes to commit them.

    Attributes:
        records: in order of their offsets within each partition.
        offsets: the position behind the last record of each partition.
        membership: the group's metadata at the time of the poll, by which a member that has since
            lost its partitions is fenced.
    """

    records: list[Record]
    offsets: dict[Any, Any]
    membership: Any


@contextlib.contextmanager
def kafka_errors(doing: str) -> Iterator[None]:
    """Turns kafka-python's errors into ours."""
    try:
        yield
    except KafkaError as error:
        message = f"Kafka: {doing}: {error}"
        if isinstance(error, _HOPELESS):
            raise DependencyError(message) from error
        raise UnavailableError(message) from error


def check_topics(settings: Settings) -> None:
    """Looks for the broker and for the three topics.

    Raises:
        DependencyError: if no broker answers within 10 s, or naming the topics that are missing.
    """
    with _connecting(settings), contextlib.closing(_consumer(settings)) as consumer:
        there = consumer.topics()
    wanted = (settings.input_topic, settings.alerts_topic, settings.dead_letters_topic)
    missing = [topic for topic in wanted if topic not in there]
    if missing:
        raise DependencyError(
            f"Kafka at {settings.kafka_bootstrap_servers} has no topic {', '.join(missing)}: "
            "create it, or set TRIAGE_INPUT_TOPIC, TRIAGE_ALERTS_TOPIC, TRIAGE_DEAD_LETTERS_TOPIC"
        )


class Source:
    """A member of the consumer group that reads the input topic from its oldest record on."""

    def __init__(self, settings: Settings) -> None:
        self._batch_size = settings.batch_size
        self._wait = settings.batch_wait_ms / 1000
        self._unfinished: list[Record] = []  # polled, but neither delivered nor part of a batch
        with _connecting(settings):
            self.consumer = _consumer(
                settings,
                group_id=settings.group_id,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                isolation_level="read_committed",
                session_timeout_ms=settings.session_timeout_ms,
                heartbeat_interval_ms=settings.session_timeout_ms // 3,
            )
        self.consumer.subscribe([settings.input_topic])

    def receive(self, timeout: float) -> Batch | None:
        """Waits for a first record, then a little for more.

        Args:
            timeout: seconds to wait for the first record.

        Returns:
            A batch of 1 to `batch_size` records, or None if there was no record in time.

        Raises:
            DependencyError: from Kafka.
        """
        self._go_back()
        records = self._unfinished
        memberships: list[Any] = []
        deadline = time.monotonic() + timeout
        while len(records) < self._batch_size:
            wait = max(0, deadline - time.monotonic())
            with kafka_errors("poll"):
                polled = self.consumer.poll(
                    timeout_ms=int(wait * 1000), max_records=self._batch_size - len(records)
                )
                memberships.append(self.consumer.group_metadata())
            if polled and not records:
                deadline = time.monotonic() + self._wait
            records += _flat(polled)
            # A batch must come from one generation of the group: what was polled under an older one
            # may be another member's by now, and one below 0 would switch the broker's fencing off.
            generations = {membership.generation_id for membership in memberships}
            if len(generations) > 1 or min(generations) < 0:
                return None
            if not polled:
                break
        self._unfinished = []
        if not records:
            return None
        offsets = {_partition(r): OffsetAndMetadata(r.offset + 1, "", -1) for r in records}
        return Batch(records, offsets, memberships[-1])

    def rewind(self, batch: Batch) -> None:
        """Lets a batch that was not delivered come again."""
        self._unfinished = batch.records

    def _go_back(self) -> None:
        """Goes back to where the group's commits stand, if records were polled but not delivered.

        It asks Kafka, because a delivery that failed for us may have succeeded there.
        """
        first: dict[Any, int] = {}
        for record in self._unfinished:
            first.setdefault(_partition(record), record.offset)
        with kafka_errors("go back"):
            for partition in self.consumer.assignment() & first.keys():
                committed = self.consumer.committed(partition, timeout_ms=_REQUEST_TIMEOUT_MS)
                self.consumer.seek(partition, first[partition] if committed is None else committed)
        self._unfinished = []

    def close(self) -> None:
        """Leaves the group, so that the partitions move on at once."""
        with contextlib.suppress(KafkaError):
            self.consumer.close()


class Sink:
    """Publishes messages and commits offsets: both or neither, if transactions are allowed."""

    def __init__(self, settings: Settings, source: Source) -> None:
        self._settings = settings
        self._source = source
        self._transactions = settings.delivery == "exactly-once"
        self._transactional_id = f"{settings.group_id}-{uuid.uuid4()}"
        with _connecting(settings):
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
                _send(self._producer, messages)
                self._producer.send_offsets_to_transaction(batch.offsets, batch.membership)
                self._producer.commit_transaction()
            else:
                sent = _send(self._producer, messages)
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
        producer = _producer(self._settings, **(transactional if self._transactions else {}))
        if self._transactions:
            producer.init_transactions()
        return producer


class Publisher:
    """Publishes messages outside any transaction, to replay tweets."""

    def __init__(self, settings: Settings) -> None:
        with _connecting(settings):
            self._producer = _producer(settings)

    def publish(self, messages: Iterable[Message]) -> list[tuple[int, int]]:
        """Publishes messages, and waits until Kafka has them.

        Returns:
            Partition and offset of each.

        Raises:
            DependencyError: from Kafka.
        """
        with kafka_errors("publish"):
            sent = _send(self._producer, messages)
            self._producer.flush(timeout=60)
            places = [future.get(timeout=0) for future in sent]
        return [(place.partition, place.offset) for place in places]

    def close(self) -> None:
        """Closes the connections."""
        self._producer.close(timeout=5)


def create_topics(settings: Settings, topics: Mapping[str, int]) -> None:
    """Creates topics, given with their numbers of partitions; those that exist stay as they are.

    Raises:
        DependencyError: from Kafka.
    """
    with _connecting(settings):
        admin = KafkaAdminClient(
            bootstrap_servers=settings.kafka_bootstrap_servers.split(","),
            bootstrap_timeout_ms=_BOOTSTRAP_TIMEOUT_MS,
        )
        try:
            for topic, partitions in topics.items():
                with contextlib.suppress(TopicAlreadyExistsError):
                    admin.create_topics({topic: {"num_partitions": partitions}})
        finally:
            admin.close()


def follow(settings: Settings, topic: str, *, from_beginning: bool) -> Iterator[Record]:
    """All committed records of a topic, as they come, without end.

    Args:
        from_beginning: start with the oldest record, or with the next one to come.

    Raises:
        DependencyError: from Kafka, or if there is no such topic.
    """
    with _connecting(settings):
        consumer = _consumer(
            settings,
            group_id=None,
            isolation_level="read_committed",
            auto_offset_reset="earliest" if from_beginning else "latest",
        )
    with contextlib.closing(consumer), kafka_errors(f"read {topic}"):
        if topic not in consumer.topics():
            raise DependencyError(
                f"Kafka at {settings.kafka_bootstrap_servers} has no topic {topic}"
            )
        partitions = [TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic)]
        consumer.assign(partitions)
        while True:
            yield from _flat(consumer.poll(timeout_ms=200))


def _send(producer: Any, messages: Iterable[Message]) -> list[Any]:
    send = producer.send
    return [send(m.topic, value=m.value, key=m.key, headers=m.headers) for m in messages]


def _consumer(settings: Settings, **options: Any) -> Any:
    return KafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers.split(","),
        bootstrap_timeout_ms=_BOOTSTRAP_TIMEOUT_MS,
        request_timeout_ms=_REQUEST_TIMEOUT_MS + settings.session_timeout_ms,
        allow_auto_create_topics=False,
        **options,
    )


def _producer(settings: Settings, **options: Any) -> Any:
    return KafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap_servers.split(","),
        bootstrap_timeout_ms=_BOOTSTRAP_TIMEOUT_MS,
        request_timeout_ms=_REQUEST_TIMEOUT_MS,
        allow_auto_create_topics=False,
        max_request_size=_LARGEST_REQUEST,
        compression_type="lz4",
        batch_size=256 << 10,
        linger_ms=5,
        **options,
    )


@contextlib.contextmanager
def _connecting(settings: Settings) -> Iterator[None]:
    """Says which servers were tried when connecting fails."""
    try:
        yield
    except KafkaError as error:
        raise DependencyError(
            f"Kafka at {settings.kafka_bootstrap_servers} cannot be used: {error}; "
            "expected TRIAGE_KAFKA_BOOTSTRAP_SERVERS to name a broker that runs"
        ) from error


def _flat(polled: Mapping[Any, list[Record]]) -> list[Record]:
    return [record for records in polled.values() for record in records]


def _partition(record: Record) -> Any:
    return TopicPartition(record.topic, record.partition)

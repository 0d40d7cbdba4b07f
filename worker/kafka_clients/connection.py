"""New Kafka clients by the settings, and kafka-python's errors turned into ours.

Errors of kafka-python leave this folder as `UnavailableError` where trying again can help (a broker
is away, the group rebalances), as a plain `DependencyError` where it cannot (no permission).
"""

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import (
    AuthorizationError,
    FencedInstanceIdError,
    InvalidSessionTimeoutError,
    KafkaConfigurationError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    SaslAuthenticationFailedError,
    UnsupportedVersionError,
)
from kafka.future import Future

from shared.errors import DependencyError, UnavailableError
from shared.settings import Settings
from worker.kafka_clients.mends import Client
from worker.kafka_clients.records import Headers, Message
from worker.kafka_clients.security import check_connection, security_options
from worker.kafka_clients.transactions import TransactionalClient, speak_version_2

REQUEST_TIMEOUT_MS = 10_000
_BOOTSTRAP_TIMEOUT_MS = 10_000
PATIENCE_MS = 15_000
"""How long any step of a delivery may take; Kafka elects a new leader within ten seconds."""
_RECONNECT_MS = 1_000
"""Between attempts to connect at most, as in Kafka's own clients; kafka-python's 30 s would let a
worker wait for long after a broker is back."""
_TRANSACTION_TIMEOUT_MS = 10_000
"""How long a killed worker's open transaction holds back `read_committed` readers at most."""
_RETRY_MS = 10
"""Between a transactional request and the next attempt. After a commit Kafka refuses the next
transaction until it has written its markers, some milliseconds; kafka-python's 100 ms would make
most commits under load take that long."""
_TURN = 1000
"""Messages without a key that go to one partition before another's turn. For each partition of
a transaction its coordinator is asked, and Kafka marks each at the end."""
_SMALL = 64 << 10
"""Bytes; larger messages are rare, and go the way that checks their size."""
_LARGEST_BATCH = 512 << 10
"""Bytes of a partition's messages that go in one request, before they are compressed. The next ones
wait for its answer, 2 ms; and no topic with Kafka's limit of 1 MiB refuses so many."""
_LARGEST_REQUEST = 16 << 20
"""Bytes; the topic's own limit decides, not the client's default of 1 MiB."""

_HOPELESS = (
    AuthorizationError,
    FencedInstanceIdError,
    InvalidSessionTimeoutError,
    KafkaConfigurationError,
    MessageSizeTooLargeError,
    SaslAuthenticationFailedError,
    UnsupportedVersionError,
)
"""Trying again cannot help with these. Being fenced as a producer is not among them: the
coordinator has timed our transaction out, and a new start mends it. If another worker has taken our
instance id instead, we are fenced as a member, too."""

logging.getLogger("kafka").setLevel(logging.CRITICAL)  # what matters is raised, and we say it


@contextlib.contextmanager
def kafka_errors(doing: str) -> Iterator[None]:
    """Turns kafka-python's errors into ours."""
    try:
        yield
    except KafkaError as error:
        raise _ours(error, f"Kafka: {doing}: {error}") from error


@contextlib.contextmanager
def connecting(settings: Settings) -> Iterator[None]:
    """Says which servers were tried when a client cannot start."""
    try:
        yield
    except KafkaError as error:
        where = f"Kafka at {settings.kafka_bootstrap_servers}"
        raise _ours(error, f"{where} cannot be used: {error}") from error


def _ours(error: KafkaError, message: str) -> DependencyError:
    if isinstance(error, AuthorizationError):
        message += (
            "; expected the user (TRIAGE_KAFKA_SASL_USERNAME, or whom the certificate or the "
            "token names) to have the rights that deploy/README.md lists"
        )
    elif isinstance(error, FencedInstanceIdError):
        message += (
            "; another worker of the group has come with this TRIAGE_INSTANCE_ID: "
            "expected one of its own for each"
        )
    elif isinstance(error, InvalidSessionTimeoutError):
        message += (
            "; expected TRIAGE_SESSION_TIMEOUT_MS to lie between the broker's "
            "group.min.session.timeout.ms and group.max.session.timeout.ms"
        )
    kind = DependencyError if isinstance(error, _HOPELESS) else UnavailableError
    return kind(message)


def new_consumer(settings: Settings, **options: Any) -> Any:
    """A consumer with these options beside those of the settings."""
    return KafkaConsumer(
        **_connection(settings),
        request_timeout_ms=REQUEST_TIMEOUT_MS + settings.session_timeout_ms,
        allow_auto_create_topics=False,
        metrics_enabled=False,  # kafka-python's own, which nobody reads
        **options,
    )


def new_producer(settings: Settings, transactional_id: str | None = None) -> Any:
    """A producer that is ready; one for transactions ends those that its id has left open."""
    options = _connection(settings)
    if transactional_id is not None:
        options["kafka_client"] = TransactionalClient
        options["transactional_id"] = transactional_id
        options["transaction_timeout_ms"] = _TRANSACTION_TIMEOUT_MS
    producer = KafkaProducer(
        request_timeout_ms=REQUEST_TIMEOUT_MS,
        retry_backoff_ms=_RETRY_MS,
        allow_auto_create_topics=False,
        metrics_enabled=False,  # kafka-python's own, which nobody reads
        max_block_ms=PATIENCE_MS,
        max_request_size=_LARGEST_REQUEST,
        compression_type="lz4",
        batch_size=_LARGEST_BATCH,
        linger_ms=5,
        **options,
    )
    if transactional_id is not None:
        speak_version_2(producer)
        try:
            producer.init_transactions()
        except KafkaError:
            discard(producer)  # or its thread would go on for ever
            raise
    return producer


def begin_offsets(producer: Any, offsets: Any, membership: Any) -> Any:
    """Does what `send_offsets_to_transaction` does, without waiting: its answers come while
    messages are published.

    Returns:
        What waits for it, or raises its error, by `wait(milliseconds)`, which is false if there is
        no answer in time.
    """
    result = producer._transaction_manager.send_offsets_to_transaction(offsets, membership)
    producer._sender.wakeup()
    return result


def commit(producer: Any, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Does what `commit_transaction` does, which would wait without a limit.

    Args:
        meanwhile: is called while Kafka commits.

    Raises:
        KafkaTimeoutError: if it is not known in time whether the transaction is committed.
    """
    result = producer._transaction_manager.begin_commit()
    producer._sender.wakeup()
    meanwhile()
    if not result.wait(PATIENCE_MS):
        raise KafkaTimeoutError(f"no answer to the commit within {PATIENCE_MS} ms")


def discard(producer: Any) -> None:
    """Ends a producer together with what it still holds."""
    try:
        producer.close(timeout=0)
    except KafkaTimeoutError:  # it goes on trying, unless its thread is told that it is in vain
        producer._sender.force_close()
        with contextlib.suppress(KafkaError):
            producer.close(timeout=1)


def new_admin(settings: Settings) -> Any:
    """A client that creates topics."""
    return KafkaAdminClient(**_connection(settings))


def _connection(settings: Settings) -> dict[str, Any]:
    """What all clients are told, after a look whether a broker takes it."""
    security = security_options(settings)
    check_connection(settings, security)
    return {
        "bootstrap_servers": settings.kafka_bootstrap_servers.split(","),
        "bootstrap_timeout_ms": _BOOTSTRAP_TIMEOUT_MS,
        "reconnect_backoff_max_ms": _RECONNECT_MS,
        "kafka_client": Client,
        **security,
    }


def send(producer: Any, messages: Iterable[Message]) -> Iterator[Any]:
    """Gives the messages to a producer; yields the futures of their acknowledgements.

    One that exceeds `_LARGEST_REQUEST` has failed at once, as it would at a broker.
    """
    transactional = producer._transaction_manager.is_transactional()
    places: dict[tuple[str, bytes | None], Any] = {}
    for number, message in enumerate(messages):
        if number % _TURN == 0:
            places.clear()
        headers = message.headers + message.added
        size = len(message.value or b"") + len(message.key or b"")
        if transactional and message.partition is None and size < _SMALL:
            if (place := places.get((message.topic, message.key))) is None:
                place = _begin_partition(producer, message.topic, message.key)
                places[message.topic, message.key] = place
            yield _append(producer, place, message, headers)
            continue
        try:
            yield producer.send(
                message.topic, message.value, message.key, headers, message.partition
            )
        except MessageSizeTooLargeError as error:
            yield Future().failure(error)


def _begin_partition(producer: Any, topic: str, key: bytes | None) -> TopicPartition:
    """The partition that a key belongs to, or any for none, as a part of the transaction."""
    producer.partitions_for(topic)  # waits until they are known
    partition = producer._partition(topic, None, key, b"", key, b"")
    place = TopicPartition(topic, partition)
    producer._transaction_manager.maybe_add_partition_to_transaction(place)
    return place


def _append(producer: Any, place: TopicPartition, message: Message, headers: Headers) -> Any:
    """Does what `send` does of kafka-python behind its checks, in 8 µs instead of 17.

    The checks are of types, of the partition and the transaction for each message anew, and of the
    size twice.
    """
    future, full, new, _ = producer._accumulator.append(
        place, None, message.key, message.value, headers
    )
    if full or new:
        producer._sender.wakeup()
    return future

"""Connection: create Kafka clients from the settings, and turn kafka-python's errors into ours.

This package raises `UnavailableError` if a retry can help (a broker is unavailable, the group
rebalances), and a plain `DependencyError` if it cannot (no permission).
"""

import contextlib
import logging
import re
from collections.abc import Iterator
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import (
    AuthorizationError,
    FencedInstanceIdError,
    GroupMaxSizeReachedError,
    InconsistentGroupProtocolError,
    InvalidRecordError,
    InvalidSessionTimeoutError,
    InvalidTimestampError,
    InvalidTransactionTimeoutError,
    KafkaConfigurationError,
    KafkaError,
    KafkaStorageError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    NotEnoughReplicasError,
    SaslAuthenticationFailedError,
    UnsupportedVersionError,
)

from shared.errors import DependencyError, UnavailableError
from worker.kafka.record_batches import LARGEST_REQUEST
from worker.kafka.security import connect, security_options
from worker.kafka.unpack import bound_decompression
from worker.kafka.workarounds import close_producer
from worker.settings import Settings

REQUEST_TIMEOUT_MS = 10_000
PATIENCE_MS = 15_000
"""How long a step of a delivery may take; Kafka elects a new leader within ten seconds."""
_RECONNECT_MS = 250
"""The pause before the second attempt to connect. It doubles for each further one, up to:"""
_RECONNECT_MAX_MS = 1_000
"""As in Kafka's own clients. With kafka-python's 30 s, a worker would keep waiting after a broker
is back."""
_FETCH_WAIT_MS = 20
"""How long Kafka may wait for records before it answers a fetch. kafka-python fetches only
partitions of which it has no records left, and sends a broker one fetch at a time."""
_TRANSACTION_TIMEOUT_MS = 10_000
"""How long the open transaction of a killed worker holds back `read_committed` readers."""
_RETRY_MS = 10
"""The pause before a transaction's request is sent again. After a commit, Kafka refuses the next
transaction for some milliseconds, until it has written its markers. With kafka-python's 100 ms,
most commits under load would take that long."""
_LARGEST_BATCH = 512 << 10
"""Bytes of a partition's messages in one request, before compression."""

_PRODUCE_ERROR = re.compile(
    r"error produce response on topic-partition TopicPartition\(topic='(.+)', partition=(\d+)\),"
    r" retrying \(.*?\): (.+)"
)
_NO_TOPIC = re.compile(r"Topic (\S+) not found in cluster metadata")
"""What kafka-python logs while it retries."""
_MOST_CAUSES = 3

_HOPELESS = (
    AuthorizationError,
    FencedInstanceIdError,
    InconsistentGroupProtocolError,
    InvalidSessionTimeoutError,
    InvalidTransactionTimeoutError,
    KafkaConfigurationError,
    MessageSizeTooLargeError,
    SaslAuthenticationFailedError,
    UnsupportedVersionError,
)
"""Retries cannot help with these errors. A fenced producer is not among them: its transaction timed
out, and a new producer can continue. A worker whose instance id was taken is also fenced as a
member.
"""

_REMEDIES: dict[type[KafkaError], str] = {
    AuthorizationError: (
        "expected the user (TRIAGE_KAFKA_SASL_USERNAME, or whom the certificate or the "
        "token names) to have the rights that deploy/README.md lists"
    ),
    SaslAuthenticationFailedError: (
        "expected TRIAGE_KAFKA_SASL_USERNAME and TRIAGE_KAFKA_SASL_PASSWORD, or the token, "
        "to be right; were they changed at the broker?"
    ),
    FencedInstanceIdError: (
        "another worker of the group has come with this TRIAGE_INSTANCE_ID: "
        "expected one of its own for each"
    ),
    InvalidSessionTimeoutError: (
        "expected TRIAGE_SESSION_TIMEOUT_MS to lie between the broker's "
        "group.min.session.timeout.ms and group.max.session.timeout.ms"
    ),
    InconsistentGroupProtocolError: (
        "another program uses this group and divides the partitions in another way: "
        "expected TRIAGE_GROUP_ID to name a group that only workers join"
    ),
    GroupMaxSizeReachedError: (
        "the group has as many members as the broker's group.max.size allows: "
        "stop some of its workers, or raise group.max.size"
    ),
    InvalidTransactionTimeoutError: (
        "expected the broker's transaction.max.timeout.ms to be at least "
        f"{_TRANSACTION_TIMEOUT_MS}: raise it, or set TRIAGE_DELIVERY=at-least-once"
    ),
    NotEnoughReplicasError: (
        "expected as many replicas in sync as min.insync.replicas of the topic says: start the "
        "brokers that are down"
    ),
    KafkaStorageError: (
        "a broker cannot write to its disk: make room there, and start the broker again"
    ),
    InvalidTimestampError: (
        "the clock of this machine or of the broker is wrong: expected both to be right, and the "
        "topic's message.timestamp.before.max.ms and message.timestamp.after.max.ms to allow for "
        "the rest"
    ),
}
"""What to do about an error, for the end of its message."""


@contextlib.contextmanager
def kafka_errors(action: str) -> Iterator[None]:
    """Turn kafka-python's errors into ours."""
    try:
        yield
    except KafkaError as error:
        raise _translate(error, f"Kafka: {action}: {error}") from error


class _RetriedErrors(logging.Handler):
    """Keeps the last errors that kafka-python only logs, because it retries."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.errors: dict[str, None] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Keep an error of a partition or a topic."""
        found = _PRODUCE_ERROR.search(text := record.getMessage())
        if found is not None:
            topic, partition, error = found.groups()
            self.errors[f"{topic}-{partition}: {error}"] = None
        elif (missing := _NO_TOPIC.search(text)) is not None:
            self.errors[f"there is no topic {missing[1]}"] = None


@contextlib.contextmanager
def publishing(action: str) -> Iterator[None]:
    """Turn kafka-python's errors into ours. After a timeout, say why nothing was confirmed."""
    retried = _RetriedErrors()
    kafka_log = logging.getLogger("kafka")
    kafka_log.addHandler(retried)
    try:
        yield
    except KafkaError as error:
        message = f"Kafka: {action}: {error}"
        if isinstance(error, KafkaTimeoutError) and retried.errors:
            message += f" ({'; '.join(list(retried.errors)[-_MOST_CAUSES:])})"
            for cause in (NotEnoughReplicasError, KafkaStorageError):
                if cause.__name__ in message:
                    message += f"; {_REMEDIES[cause]}"
        raise _translate(error, message) from error
    finally:
        kafka_log.removeHandler(retried)


@contextlib.contextmanager
def connecting(settings: Settings) -> Iterator[None]:
    """Name the servers in the error when a client cannot start."""
    try:
        yield
    except KafkaError as error:
        server = f"Kafka at {settings.kafka_bootstrap_servers}"
        raise _translate(error, f"{server} cannot be used: {error}") from error


def _translate(error: KafkaError, message: str) -> DependencyError:
    for cause, remedy in _REMEDIES.items():
        if isinstance(error, cause):
            message += f"; {remedy}"
    if isinstance(error, InvalidRecordError) and "timestamp" in str(error).lower():
        message += f"; {_REMEDIES[InvalidTimestampError]}"  # several records have the same problem
    kind = DependencyError if isinstance(error, _HOPELESS) else UnavailableError
    return kind(message)


def new_consumer(settings: Settings, **options: Any) -> Any:
    """Create a consumer with the settings' options and these.

    Raises:
        DependencyError: as `security.connect` does.
    """
    bound_decompression()
    return KafkaConsumer(
        **_connection(settings),
        request_timeout_ms=REQUEST_TIMEOUT_MS + settings.session_timeout_ms,
        fetch_max_wait_ms=_FETCH_WAIT_MS,
        metrics_enabled=False,  # kafka-python's metrics, which nobody reads
        allow_auto_create_topics=False,
        **options,
    )


def new_producer(settings: Settings, transactional_id: str | None = None) -> Any:
    """Create a producer. With transactions, it aborts those that its id has left open.

    Raises:
        DependencyError: as `security.connect` does.
        KafkaError: if transactions cannot be used.
    """
    options = _connection(settings)
    if transactional_id is not None:
        options["transactional_id"] = transactional_id
        options["transaction_timeout_ms"] = _TRANSACTION_TIMEOUT_MS
    producer = KafkaProducer(
        request_timeout_ms=REQUEST_TIMEOUT_MS,
        retry_backoff_ms=_RETRY_MS,
        allow_auto_create_topics=False,
        max_block_ms=PATIENCE_MS,
        max_request_size=LARGEST_REQUEST,
        compression_type="lz4",
        batch_size=_LARGEST_BATCH,
        linger_ms=5,
        metrics_enabled=False,
        **options,
    )
    if transactional_id is not None:
        try:
            producer.init_transactions()
        except KafkaError as error:
            close_producer(producer)
            if InvalidTransactionTimeoutError.__name__ in str(error):  # kafka-python wraps it
                raise InvalidTransactionTimeoutError from error
            raise
    return producer


def new_admin(settings: Settings) -> Any:
    """Create a client that creates topics.

    Raises:
        DependencyError: as `security.connect` does.
    """
    return KafkaAdminClient(**_connection(settings))


def _connection(settings: Settings) -> dict[str, Any]:
    """Return the options that all clients have."""
    return {
        "bootstrap_servers": settings.kafka_bootstrap_servers.split(","),
        "reconnect_backoff_ms": _RECONNECT_MS,
        "reconnect_backoff_max_ms": _RECONNECT_MAX_MS,
        "kafka_client": lambda **options: connect(settings, options),
        **security_options(settings),
    }

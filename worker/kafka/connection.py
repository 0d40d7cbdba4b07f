"""New Kafka clients by the settings, and kafka-python's errors turned into ours.

Errors of kafka-python leave this folder as `UnavailableError` where trying again can help (a broker
is away, the group rebalances), as a plain `DependencyError` where it cannot (no permission).
"""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer
from kafka.errors import (
    AuthorizationError,
    FencedInstanceIdError,
    InvalidSessionTimeoutError,
    KafkaConfigurationError,
    KafkaError,
    MessageSizeTooLargeError,
    SaslAuthenticationFailedError,
    UnsupportedVersionError,
)

from shared.errors import DependencyError, UnavailableError
from worker.kafka.mends import Client, Selector, trace_nothing
from worker.kafka.producer import PATIENCE_MS, Producer
from worker.kafka.security import check_connection, security_options
from worker.kafka.transactions import TransactionalClient
from worker.settings import Settings

REQUEST_TIMEOUT_MS = 10_000
_BOOTSTRAP_TIMEOUT_MS = 10_000
_RECONNECT_MS = 1_000
"""Between attempts to connect at most, as in Kafka's own clients; kafka-python's 30 s would let a
worker wait for long after a broker is back."""
_TRANSACTION_TIMEOUT_MS = 10_000
"""How long a killed worker's open transaction holds back `read_committed` readers at most."""
_RETRY_MS = 10
"""Between a transactional request and the next attempt. After a commit Kafka refuses the next
transaction until it has written its markers, some milliseconds; kafka-python's 100 ms would make
most commits under load take that long."""
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
trace_nothing()


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


def new_producer(settings: Settings, transactional_id: str | None = None) -> Producer:
    """A producer that is ready; one for transactions ends those that its id has left open."""
    options = _connection(settings)
    if transactional_id is not None:
        options["kafka_client"] = TransactionalClient
        options["transactional_id"] = transactional_id
        options["transaction_timeout_ms"] = _TRANSACTION_TIMEOUT_MS
    return Producer(
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
        "selector": Selector,
        **security,
    }

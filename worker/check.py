"""Check: what a worker needs before it starts, one finding each."""

import functools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from shared.bundle.load import load_bundle
from shared.errors import DependencyError, TriageError, UnavailableError
from shared.registry.open import open_registry
from shared.settings import variable_of
from worker.kafka.rights import Rights, connected
from worker.settings import Settings

_TOPICS = (
    ("input_topic", "READ"),
    ("alerts_topic", "WRITE"),
    ("review_topic", "WRITE"),
    ("dead_letters_topic", "WRITE"),
)
"""The setting of each topic that a worker uses, and the operation that it needs."""
_PATIENCE = 10
"""Seconds in which an unavailable part must come: a new Kafka makes its internal topics first."""
_PAUSE = 0.5
_GRANT = (
    "grant it to the user (TRIAGE_KAFKA_SASL_USERNAME, or whom the certificate or the token "
    "names); deploy/README.md lists the access rights"
)


class Finding(msgspec.Struct, frozen=True):
    """The result of one check.

    Attributes:
        exit_code: what the worker would exit with, as `shared.errors` lists it; 0 unless it failed.
    """

    subject: str
    status: Literal["ok", "failed", "skipped"]
    detail: str
    exit_code: int = 0

    def __str__(self) -> str:
        return f"{self.status:7} {self.subject}: {self.detail}"


def check(settings: Settings) -> Iterator[Finding]:
    """Check Kafka, the bundle and the threshold. Publishes nothing and joins no group.

    The bundle is fetched into the cache, loaded and verified, as when a worker starts.
    """
    yield from _check_kafka(settings)
    yield from _check_bundle(settings, "bundle", settings.model_alias)
    if settings.shadow_alias is not None:
        yield from _check_bundle(settings, "shadow bundle", settings.shadow_alias)


def failed(subject: str, error: TriageError) -> Finding:
    """Return a failed finding with the message and the exit code of an error."""
    return Finding(subject, "failed", str(error), error.exit_code)


def _attempt(subject: str, action: Callable[[], str]) -> Finding:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return Finding(subject, "ok", action())
        except UnavailableError as error:
            if time.monotonic() >= deadline:
                return failed(subject, error)
            time.sleep(_PAUSE)
        except TriageError as error:
            return failed(subject, error)


def _check_kafka(settings: Settings) -> Iterator[Finding]:
    topics = {
        f"topic {getattr(settings, field)}": (field, right)
        for field, right in _TOPICS
        if getattr(settings, field) is not None
    }
    group = f"group {settings.group_id}"
    try:
        with connected(settings) as rights:
            yield _attempt("brokers", functools.partial(_describe_brokers, rights, settings))
            for subject, (field, right) in topics.items():
                topic = getattr(settings, field)
                describe = functools.partial(_describe_topic, rights, topic, field, right)
                yield _attempt(subject, describe)
            yield _attempt(group, functools.partial(_read_group, rights, settings))
            if settings.delivery == "exactly-once":
                begin = functools.partial(_begin_transactions, rights, settings)
                yield _attempt("transactions", begin)
    except TriageError as error:
        yield failed("brokers", error)
        for subject in (*topics, group, "transactions"):
            yield Finding(subject, "skipped", "Kafka cannot be used")


def _describe_brokers(rights: Rights, settings: Settings) -> str:
    return f"{rights.brokers()} of {settings.kafka_bootstrap_servers}"


def _describe_topic(rights: Rights, topic: str, field: str, right: str) -> str:
    found = rights.topic(topic)
    if found is None:
        raise DependencyError(
            f"it does not exist: run triage-worker create-topics, or correct {variable_of(field)}"
        )
    if right not in found.operations:
        raise DependencyError(f"expected the right {right} on it: {_GRANT}")
    if found.leaderless:
        raise DependencyError(
            f"{found.leaderless} of {found.partitions} partitions have no leader: "
            "start the brokers that have their replicas"
        )
    return f"{found.partitions} partitions, right {right}"


def _read_group(rights: Rights, settings: Settings) -> str:
    rights.read_group(settings.group_id)
    return "right READ"


def _begin_transactions(rights: Rights, settings: Settings) -> str:
    rights.register_transactional_id(f"{settings.group_id}-check")
    return f"right WRITE on transactional ids that begin with {settings.group_id}-"


def _check_bundle(settings: Settings, subject: str, alias: str) -> Iterator[Finding]:
    threshold = "threshold" if subject == "bundle" else f"threshold of the {subject}"
    try:
        registry = open_registry(settings.registry)
        version = registry.resolve(alias)
        bundle = load_bundle(registry.fetch(version, Path(settings.cache).expanduser()))
    except TriageError as error:
        yield failed(subject, error)
        yield Finding(threshold, "skipped", "there is no bundle")
        return
    manifest = bundle.manifest
    yield Finding(subject, "ok", f"{alias} is version {version.number}, {manifest.name}")
    yield _attempt(
        threshold,
        lambda: f"{settings.threshold} is {manifest.threshold_at(settings.threshold):.3f}",
    )

"""Topics: check that the topics exist, create them."""

import contextlib
from collections.abc import Mapping, Sequence

from kafka.errors import (
    NoError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)

from shared.errors import DependencyError, UnavailableError
from worker.kafka.connection import connecting, new_admin
from worker.settings import Settings


class MissingTopicError(DependencyError):
    """A topic does not exist."""


def find_partitions(settings: Settings, topics: Sequence[str]) -> dict[str, list[int]]:
    """Return the numbers of the partitions of each topic.

    A consumer's own `topics` and `partitions_for_topic` wait for Kafka without a limit.

    Raises:
        MissingTopicError: naming the topics that do not exist.
        DependencyError: from Kafka, or if it does not answer within 10 s.
    """
    with connecting(settings), contextlib.closing(new_admin(settings)) as admin:
        described = {topic["name"]: topic for topic in admin.describe_topics(list(topics))}
        errors = {name: for_code(topic["error_code"]) for name, topic in described.items()}
        missing = [name for name in topics if errors[name] is UnknownTopicOrPartitionError]
        if missing:
            raise MissingTopicError(
                f"Kafka at {settings.kafka_bootstrap_servers} has no topic {', '.join(missing)}; "
                "create it with `triage-worker create-topics`"
            )
        for error in errors.values():
            if error is not NoError:
                raise error
    return {
        name: sorted(partition["partition_index"] for partition in topic["partitions"])
        for name, topic in described.items()
    }


def check_topics(settings: Settings) -> None:
    """Check that a broker answers and that the topics that the worker uses exist.

    Raises:
        DependencyError: if no broker answers within 10 s, or if topics are missing, with their
            names.
    """
    with connecting(settings), contextlib.closing(new_admin(settings)) as admin:
        existing = admin.list_topics()
    wanted = [settings.input_topic, settings.alerts_topic, settings.dead_letters_topic]
    if settings.review_topic is not None:
        wanted.append(settings.review_topic)
    missing = [topic for topic in wanted if topic not in existing]
    if missing:
        raise DependencyError(
            f"Kafka at {settings.kafka_bootstrap_servers} has no topic {', '.join(missing)}: "
            "create it, let the user (TRIAGE_KAFKA_SASL_USERNAME, or whom the certificate or the "
            "token names) see it, or set TRIAGE_INPUT_TOPIC, TRIAGE_ALERTS_TOPIC, "
            "TRIAGE_DEAD_LETTERS_TOPIC, TRIAGE_REVIEW_TOPIC"
        )


def is_missing(settings: Settings, topic: str) -> bool:
    """Return whether Kafka says that a topic does not exist; False if it does not answer."""
    try:
        with connecting(settings), contextlib.closing(new_admin(settings)) as admin:
            return topic not in admin.list_topics()
    except UnavailableError:
        return False


def create_topics(settings: Settings, topics: Mapping[str, int]) -> list[str]:
    """Create topics, given with their numbers of partitions.

    Returns:
        The topics that existed already. They are not changed.

    Raises:
        DependencyError: from Kafka.
    """
    existing = []
    with connecting(settings), contextlib.closing(new_admin(settings)) as admin:
        for topic, partitions in topics.items():
            try:
                admin.create_topics({topic: {"num_partitions": partitions}})
            except TopicAlreadyExistsError:
                existing.append(topic)
    return existing

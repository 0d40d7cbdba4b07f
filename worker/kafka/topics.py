"""Topics: check that the topics exist, create them."""

import contextlib
from collections.abc import Mapping

from kafka.errors import TopicAlreadyExistsError

from shared.errors import DependencyError, UnavailableError
from worker.kafka.connection import connecting, new_admin
from worker.settings import Settings


def check_topics(settings: Settings) -> None:
    """Check that a broker answers and that the three topics exist.

    Raises:
        DependencyError: if no broker answers within 10 s, or if topics are missing, with their
            names.
    """
    with connecting(settings), contextlib.closing(new_admin(settings)) as admin:
        existing = admin.list_topics()
    wanted = (settings.input_topic, settings.alerts_topic, settings.dead_letters_topic)
    missing = [topic for topic in wanted if topic not in existing]
    if missing:
        raise DependencyError(
            f"Kafka at {settings.kafka_bootstrap_servers} has no topic {', '.join(missing)}: "
            "create it, let the user (TRIAGE_KAFKA_SASL_USERNAME, or whom the certificate or the "
            "token names) see it, or set TRIAGE_INPUT_TOPIC, TRIAGE_ALERTS_TOPIC, "
            "TRIAGE_DEAD_LETTERS_TOPIC"
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

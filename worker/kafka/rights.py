"""Rights: ask Kafka about its topics, and find out what the user may do."""

import contextlib
import uuid
from collections.abc import Iterator
from typing import Any

import msgspec
from kafka.admin import MemberToRemove
from kafka.errors import TopicAuthorizationFailedError

from worker.kafka.connection import connecting, kafka_errors, new_admin, new_producer
from worker.kafka.workarounds import close_producer
from worker.settings import Settings

_NO_LEADER = -1


class DescribedTopic(msgspec.Struct, frozen=True):
    """A topic that exists.

    Attributes:
        leaderless: how many of its partitions have no leader now.
        operations: what the user may do with it, by Kafka's names, such as `READ` and `WRITE`.
    """

    partitions: int
    leaderless: int
    operations: frozenset[str]


class Rights:
    """Answers questions about one Kafka. Make it with `connected`.

    Each method raises a `DependencyError` if Kafka does not answer or refuses.
    """

    def __init__(self, settings: Settings, admin: Any) -> None:
        self._settings = settings
        self._admin = admin

    def brokers(self) -> int:
        """Return the number of brokers."""
        with kafka_errors("describe the cluster"):
            return len(self._admin.describe_cluster()["brokers"])

    def topic(self, name: str) -> DescribedTopic | None:
        """Return a topic, or None if it does not exist."""
        with kafka_errors(f"describe the topic {name}"):
            (found,) = self._admin.describe_topics([name])
            if found["error_code"] == TopicAuthorizationFailedError.errno:
                raise TopicAuthorizationFailedError(name)
        if found["error_code"]:
            return None
        partitions = found["partitions"]
        leaderless = sum(partition["leader_id"] == _NO_LEADER for partition in partitions)
        return DescribedTopic(
            len(partitions), leaderless, frozenset(found["authorized_operations"])
        )

    def read_group(self, name: str) -> None:
        """Use the right to read as a consumer group, which need not exist yet.

        It removes a member that the group does not have. Unlike a description of the group, that
        needs the right READ, and works before the first member has joined.
        """
        nobody = MemberToRemove(member_id=str(uuid.uuid4()))
        with kafka_errors(f"read as the group {name}"):
            self._admin.remove_group_members(name, [nobody])

    def register_transactional_id(self, transactional_id: str) -> None:
        """Register a transactional id, as a worker does first. Nothing is published."""
        with kafka_errors(f"use the transactional id {transactional_id}"):
            close_producer(new_producer(self._settings, transactional_id))


@contextlib.contextmanager
def connected(settings: Settings) -> Iterator[Rights]:
    """Connect to Kafka.

    Raises:
        DependencyError: if no broker answers within 10 s, or it refuses the user.
    """
    with connecting(settings):
        admin = new_admin(settings)
    with contextlib.closing(admin):
        yield Rights(settings, admin)

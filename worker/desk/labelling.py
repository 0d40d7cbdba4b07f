"""Labelling: publish a person's label of a tweet, and undo it."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from shared.errors import DependencyError, UnavailableError
from worker.desk.queries import find_tweet, last_label
from worker.desk.store import Store
from worker.kafka.publisher import Publisher
from worker.kafka.records import Message
from worker.messages.alert import decode_alert
from worker.messages.label import Label, Verdict, encode_label, label_key, make_label
from worker.settings import Settings


class Labelling:
    """Publishes labels. Several threads may use it.

    A label counts once Kafka has it. It is added to the store at once. The feed reads it again from
    the topic, and the store recognises it by its offset.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings, self._store, self._clock = settings, store, clock
        self._lock = threading.Lock()
        self._publisher: Publisher | None = None

    def label(self, alert_id: str, verdict: Verdict, by: str) -> Label | None:
        """Publish a label, and return it, or None if there is no such tweet.

        Raises:
            DependencyError: if Kafka does not take it.
        """
        found = find_tweet(self._store.reader(), alert_id)
        if found is None:
            return None
        alert = decode_alert(found["value"])
        label = make_label(alert, verdict, by, self._clock(), found["queue"])
        message = Message(
            self._settings.labels_topic, label_key(label.source), encode_label(label), []
        )
        ((partition, offset),) = self._publish(message)
        self._store.add(labels=[(partition, offset, label)])
        return label

    def undo(self, by: str) -> Label | None:
        """Undo a person's last label, and return the published label, or None.

        Raises:
            DependencyError: if Kafka does not take it.
        """
        last = last_label(self._store.reader(), by)
        return None if last is None else self.label(last["alert_id"], "withdrawn", by)

    def _publish(self, message: Message) -> list[tuple[int, int]]:
        if not self._lock.acquire(timeout=20):
            raise UnavailableError("Kafka has not answered for 20 s")
        try:
            if self._publisher is None:
                self._publisher = Publisher(self._settings)
            return self._publisher.publish([message])
        except DependencyError:
            if self._publisher is not None:
                self._publisher.close()
                self._publisher = None
            raise
        finally:
            self._lock.release()

    def close(self) -> None:
        """Close the connections to Kafka."""
        if self._publisher is not None:
            self._publisher.close()


def is_verdict(text: str) -> bool:
    """Return whether a text is a label that a person can give."""
    try:
        msgspec.convert(text, Verdict)
    except msgspec.ValidationError:
        return False
    return text != "withdrawn"

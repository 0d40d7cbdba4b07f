"""The feed brings alerts and labels from their topics into the store, once, and says why if not."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest

from tests.desk.alerts import NEWS, new_alert, new_label
from tests.desk.processes import desk_settings
from tests.kafka.processes import wait_for
from worker.demo.local_kafka import LocalKafka
from worker.desk import queries
from worker.desk.feed import Feed
from worker.desk.metrics import Metrics
from worker.desk.store import Store
from worker.kafka.connection import new_admin
from worker.kafka.publisher import Publisher
from worker.kafka.records import Message
from worker.kafka.topics import create_topics
from worker.messages.alert import encode_alert
from worker.messages.label import encode_label
from worker.settings import Settings


def publish(settings: Settings, topic: str, *values: bytes | None) -> None:
    with closing(Publisher(settings)) as publisher:
        publisher.publish(Message(topic, b"key", value, []) for value in values)


class Desk:
    """A store with its feed."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.store = Store(folder / "desk.sqlite3")
        self.metrics = Metrics()
        self.changes: list[set[int]] = []
        self.feed = Feed(settings, self.store, self.metrics, self.changes.append)

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"triage_desk_{name}", labels) or 0.0

    def alerts(self) -> int:
        return queries.alert_count(self.store.reader())


@contextmanager
def reading(settings: Settings, folder: Path) -> Iterator[Desk]:
    desk = Desk(settings, folder)
    desk.feed.start()
    try:
        yield desk
    finally:
        desk.feed.stop()
        desk.store.close()


def test_alerts_and_labels_are_read_once(kafka: LocalKafka, tmp_path: Path) -> None:
    settings = desk_settings(kafka, "feed-once", tmp_path)
    alerts = [new_alert(text) for text in NEWS]
    publish(settings, settings.alerts_topic, *map(encode_alert, alerts), b"{broken")
    labels = [encode_label(new_label(alert, "relevant")) for alert in alerts[:2]]
    publish(settings, settings.labels_topic, *labels, None, b"[]")
    with reading(settings, tmp_path) as desk:
        wait_for(lambda: desk.feed.not_ready() is None)
        assert desk.alerts() == 5
        assert desk.value("alerts_read_total") == 5
        assert desk.value("labels_read_total") == 2
        for topic in (settings.alerts_topic, settings.labels_topic):
            assert desk.value("unreadable_records_total", topic=topic) == 1
        assert any(len(numbers) == 5 for numbers in desk.changes)
        assert queries.totals(desk.store.reader(), desk.store.index).labelled == 2
    publish(settings, settings.alerts_topic, encode_alert(alerts[0]), encode_alert(new_alert("x")))
    with reading(settings, tmp_path) as desk:  # it goes on where it had got to
        wait_for(lambda: desk.feed.not_ready() is None)
        assert desk.value("alerts_read_total") == 2
        assert desk.alerts() == 6
        publish(settings, settings.alerts_topic, encode_alert(new_alert("y")))
        wait_for(lambda: desk.alerts() == 7)


def test_it_waits_for_a_topic_and_names_it(kafka: LocalKafka, tmp_path: Path) -> None:
    settings = desk_settings(kafka, "feed-waits", tmp_path)
    settings = msgspec.structs.replace(settings, labels_topic="feed-waits.later")
    with reading(settings, tmp_path) as desk:
        wait_for(lambda: "has no topic feed-waits.later" in (desk.feed.not_ready() or ""))
        assert desk.value("kafka_retries_total") >= 1
        create_topics(settings, {settings.labels_topic: 1})
        publish(settings, settings.alerts_topic, encode_alert(new_alert("x")))
        wait_for(lambda: desk.feed.not_ready() is None)
        assert desk.alerts() == 1


@pytest.mark.slow
def test_a_topic_that_was_created_anew_is_read_anew(kafka: LocalKafka, tmp_path: Path) -> None:
    settings = desk_settings(kafka, "feed-anew", tmp_path)
    publish(settings, settings.alerts_topic, *(encode_alert(new_alert(text)) for text in NEWS))
    with reading(settings, tmp_path) as desk:
        wait_for(lambda: desk.feed.not_ready() is None)
    with closing(new_admin(settings)) as admin:
        admin.delete_topics([settings.alerts_topic])
        wait_for(lambda: settings.alerts_topic not in admin.list_topics())
    create_topics(settings, {settings.alerts_topic: 3})
    publish(settings, settings.alerts_topic, encode_alert(new_alert("x")))
    with reading(settings, tmp_path) as desk:
        wait_for(lambda: desk.feed.not_ready() is None)
        assert desk.value("rebuilds_total") == 1
        assert desk.alerts() == 1


def test_a_fault_is_named_and_ends_the_feed(kafka: LocalKafka, tmp_path: Path) -> None:
    settings = desk_settings(kafka, "feed-fault", tmp_path)
    desk = Desk(settings, tmp_path)
    desk.store.close()
    desk.feed.start()
    wait_for(lambda: desk.feed.failed is not None)
    assert "reading has ended: ProgrammingError" in (desk.feed.not_ready() or "")
    desk.feed.stop()

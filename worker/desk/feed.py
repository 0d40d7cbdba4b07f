"""Feed: the thread that reads the topics of alerts, review tweets and labels into the store."""

import logging
import threading
import time
from collections.abc import Callable

from shared.errors import DependencyError, RecordError
from worker.desk.metrics import Metrics
from worker.desk.store import Notify, Store
from worker.kafka.reader import PositionLostError, Reader
from worker.kafka.records import Record
from worker.messages.alert import Alert, decode_alert
from worker.messages.label import Label, decode_label
from worker.messages.review import ReviewTweet, decode_review_tweet
from worker.settings import Settings

log = logging.getLogger("triage")

_LONGEST_PAUSE = 10
"""Seconds between attempts to reach Kafka."""
_TOGETHER = 0.2
"""Seconds in which records are gathered for one transaction of the store."""
_MOST_TOGETHER = 1000


class Feed:
    """Reads the topics into the store, from its last position, until stopped.

    Args:
        changed: called with the numbers of the incidents that a transaction changed.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        metrics: Metrics,
        changed: Callable[[set[int]], object],
    ) -> None:
        self._settings, self._store, self._metrics = settings, store, metrics
        self._changed = changed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
        self.waiting: str | None = "the desk is starting"
        """Why it does not read now, or None."""
        self.failed: str | None = None
        """The error that ended it, or None."""
        self.caught_up = False

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reading, and wait for the last transaction."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(30)

    def _run(self) -> None:
        pause = 0.5
        try:
            while not self._stop.is_set():
                try:
                    self._read()
                    pause = 0.5
                except PositionLostError as error:
                    log.warning("the desk is rebuilt from the topics: %s", error)
                    self._metrics.rebuilds.inc()
                    self._store.rebuild()
                except DependencyError as error:
                    if self.waiting is None:
                        pause = 0.5
                    self.waiting = str(error)
                    self._metrics.retries.inc()
                    log.warning("waiting for Kafka, next attempt in %.1f s: %s", pause, error)
                    self._changed(set())
                    self._stop.wait(pause)
                    pause = min(_LONGEST_PAUSE, 2 * pause)
        except Exception as error:  # otherwise the thread would end silently
            log.exception("the desk has stopped reading")
            self.failed = f"reading has ended: {type(error).__name__}: {error}"
            self._changed(set())

    def _read(self) -> None:
        topics = [self._settings.alerts_topic, self._settings.labels_topic]
        if self._settings.review_topic is not None:
            topics.append(self._settings.review_topic)
        reader = Reader(self._settings, topics, self._store.positions())
        try:
            if self.waiting is not None:
                log.info("reading %s", ", ".join(topics))
                self.waiting = None
                self._changed(set())
            looked, counted = 0.0, 0
            while not self._stop.is_set():
                if skipped := sum(reader.skipped.values()) - counted:
                    log.warning("%d records were deleted before the desk read them", skipped)
                    self._metrics.skipped.inc(skipped)
                    counted += skipped
                records = self._gather(reader)
                if records:
                    self._add(records)
                if time.monotonic() - looked > (5 if self.caught_up else 1):
                    looked = time.monotonic()
                    behind = reader.behind()
                    self._metrics.behind.set(behind)
                    self.caught_up = self.caught_up or behind == 0
        finally:
            reader.close()

    def _gather(self, reader: Reader) -> list[Record]:
        records = reader.poll(0.5)
        until = time.monotonic() + _TOGETHER
        while records and len(records) < _MOST_TOGETHER:
            left = until - time.monotonic()
            if left <= 0 or not self.caught_up or self._stop.wait(min(left, 0.05)):
                break
            records += reader.poll(0)
        return records

    def _add(self, records: list[Record]) -> None:
        alerts: list[tuple[Alert, bytes]] = []
        reviews: list[tuple[ReviewTweet, bytes]] = []
        labels: list[tuple[int, int, Label]] = []
        positions: dict[tuple[str, int], int] = {}
        for record in records:
            positions[record.topic, record.partition] = record.offset + 1
            value = record.value or b""
            try:
                if record.topic == self._settings.alerts_topic:
                    alerts.append((decode_alert(value), value))
                elif record.topic == self._settings.review_topic:
                    reviews.append((decode_review_tweet(value), value))
                elif value:
                    labels.append((record.partition, record.offset, decode_label(value)))
            except RecordError as error:
                self._metrics.unreadable.labels(record.topic).inc()
                log.warning(
                    "%s-%d-%d is skipped: %s", record.topic, record.partition, record.offset, error
                )
        notify = None
        if self._settings.webhook_url is not None:
            notify = Notify(
                self._settings.webhook_size,
                self._settings.webhook_probability,
            )
        started = time.perf_counter()
        changed = self._store.add(alerts, labels, positions, notify, reviews)
        self._metrics.add_seconds.observe(time.perf_counter() - started)
        self._metrics.alerts.inc(len(alerts))
        self._metrics.labels.inc(len(labels))
        self._metrics.reviews.inc(len(reviews))
        self._changed(changed)

    def not_ready(self) -> str | None:
        """Return the reason why the desk is not ready, or None."""
        if self.failed or self.waiting:
            return self.failed or self.waiting
        return None if self.caught_up else "the desk reads what is in the topics"

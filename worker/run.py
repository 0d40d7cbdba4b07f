"""The worker's loop: receive a batch, triage it, deliver the outcome, until told to stop."""

import gc
import logging
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from shared.errors import UnavailableError
from worker.kafka.records import Batch, Lag, Message, PositionReset, Record
from worker.model.shadow import Shadow
from worker.ops.health import Health
from worker.ops.metrics import Metrics
from worker.settings import Settings
from worker.triage import Outcome

log = logging.getLogger("triage")

_POLL_SECONDS = 0.2
"""The longest wait for the first record of a batch, after which the worker can stop."""
_LAG_SECONDS = 5
"""Seconds between two requests for the ends of the partitions."""
_SHORTEST_BACK_OFF = 0.2
_LONGEST_BACK_OFF = 10.0
"""Seconds before the next attempt after a dependency failed."""
_WINDOW = 1000
"""Records over which the share of dead letters is computed."""
_YOUNG_OBJECTS = 50_000
"""The garbage collector runs when this many more objects were created than freed."""
_PROBE = 20
"""Records in a batch while the worker is paused for dead letters, to test whether it can
continue."""

T = TypeVar("T")


class Source(Protocol):
    """Where batches of records come from, as a member of a group that shares them.

    Each method but `joined` may raise a `DependencyError`, which is an `UnavailableError` if trying
    again can help.
    """

    @property
    def joined(self) -> bool:
        """Whether it is a member of the group now."""

    def connect(self) -> None:
        """Connect if it is not connected."""

    def receive(self, timeout: float, max_records: int) -> Batch | None:
        """Return the next batch, or None if there is no record within `timeout` seconds."""

    def truncate(self, batch: Batch, records: int) -> Batch:
        """Return the first records of the last batch. The others come with the next one."""

    def rewind(self) -> None:
        """Read uncommitted records again."""

    def lag(self) -> dict[tuple[str, int], Lag]:
        """Return how many records wait, by (topic, partition); empty without partitions."""


class Sink(Protocol):
    """Where a batch's messages are published and its records committed.

    Each method may raise a `DependencyError`, which is an `UnavailableError` if trying again can
    help.
    """

    def connect(self) -> None:
        """Connect, or reconnect after a failure."""

    def deliver(self, batch: Batch, messages: Sequence[Message]) -> None:
        """Publish the messages and commit the batch."""


class BatchTriage(Protocol):
    """Decides about records with one bundle, as `worker.triage.Triage` does."""

    threshold: float

    def __call__(self, records: Sequence[Record]) -> Outcome:
        """Return the outcome of the records, or of the first of them."""


class _StoppedError(Exception):
    """The worker was told to stop while it waited."""


class Loop:
    """The loop of a member of the consumer group.

    Args:
        check_topics: called first; raises if a topic is missing.
        load: loads the first bundle.
        reload: returns the new triage after a promotion, otherwise None.
        stop: ends the loop after the current batch.
        clock: returns seconds and never goes back.
    """

    def __init__(
        self,
        settings: Settings,
        source: Source,
        sink: Sink,
        load: Callable[[], BatchTriage],
        reload: Callable[[], BatchTriage | None],
        metrics: Metrics,
        health: Health,
        stop: threading.Event,
        check_topics: Callable[[], None] = lambda: None,
        shadow: Shadow | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._source = source
        self._sink = sink
        self._load = load
        self._reload = reload
        self._metrics = metrics
        self._health = health
        self._stop = stop
        self._check_topics = check_topics
        self._shadow = shadow
        self._clock = clock
        self._back_off: dict[str, float] = {}
        self._idle = False  # whether no record waited at the last check
        self._lag_error: str | None = None  # why the last check failed, as logged

    def run(self) -> None:
        """Prepare, then process batches until told to stop.

        Raises:
            RegistryError, BundleError: if no bundle can be loaded, not even from the cache.
            DependencyError: if Kafka cannot be used, or this worker may not publish any more.
        """
        try:
            self._run()
        except _StoppedError:
            return

    def _run(self) -> None:
        settings, source, sink = self._settings, self._source, self._sink
        self._keep_trying("kafka", self._check_topics)
        self._recovered("kafka")
        triage = self._keep_trying("registry", self._load)
        self._recovered("registry")
        self._keep_trying("kafka", source.connect)
        self._keep_trying("kafka", sink.connect)
        log.info(
            "consuming %s as a member of %s, %s",
            settings.input_topic,
            settings.group_id,
            settings.delivery,
        )
        self._health.tick()
        self._recovered("worker")
        _freeze()
        dead_letters = DeadLetterShare(settings.dead_letter_limit)
        next_lag = 0.0
        while not self._stop.is_set():
            self._health.tick()
            self._check_membership()
            if (reloaded := self._reload()) is not None:
                triage = reloaded
                _freeze()
            if self._clock() >= next_lag:
                self._measure_lag()
                next_lag = self._clock() + _LAG_SECONDS
            try:
                with self._metrics.step("receive"):
                    most = _PROBE if dead_letters.exceeded else settings.batch_size
                    batch = source.receive(_POLL_SECONDS, most)
            except UnavailableError as error:
                self._recover(error)
                continue
            if batch is None and self._idle and self._source.joined:
                self._recovered("kafka")  # no record waits
            if batch is None or (outcome := self._process(batch, triage)) is None:
                continue
            if self._shadow is not None:
                self._shadow.compare(outcome.texts, outcome.probabilities, triage.threshold)
            self._pause_for_dead_letters(dead_letters, outcome)

    def _process(self, batch: Batch, triage: BatchTriage) -> Outcome | None:
        """Triage and deliver a batch. If a dependency fails, the batch is read again."""
        try:
            outcome = triage(batch.records)
        except UnavailableError as error:
            self._source.rewind()
            self._failed("memory", error)
            return None
        if outcome.records < len(batch.records):
            batch = self._source.truncate(batch, outcome.records)
        try:
            with self._metrics.step("deliver"):
                self._sink.deliver(batch, outcome.messages)
        except UnavailableError as error:
            self._source.rewind()
            if self._settings.delivery == "exactly-once":
                self._metrics.transactions.labels("aborted").inc()
            self._recover(error)
            return None
        self._recovered("memory")
        self._recovered("kafka")
        self._account(outcome)
        return outcome

    def _recover(self, error: UnavailableError) -> None:
        """Reconnect source and sink. Only a delivery proves that all is well."""
        self._idle = False
        self._failed("kafka", error)
        self._keep_trying("kafka", self._source.connect)
        self._keep_trying("kafka", self._sink.connect)

    def _keep_trying(self, dependency: str, attempt: Callable[[], T]) -> T:
        """Try until it succeeds.

        Raises:
            _StoppedError: if the worker is told to stop meanwhile.
        """
        while True:
            try:
                return attempt()
            except UnavailableError as error:
                self._health.lag(0)  # as far as known
                self._failed(dependency, error)

    def _failed(self, dependency: str, error: UnavailableError) -> None:
        """Wait, longer after each failure, and randomly, so that workers retry apart."""
        self._health.mark_waiting(dependency, str(error))
        self._metrics.retries.labels(dependency).inc()
        log.warning("%s; trying again", error)
        wait = self._back_off.get(dependency, _SHORTEST_BACK_OFF)
        self._back_off[dependency] = min(_LONGEST_BACK_OFF, 2 * wait)
        self._wait(wait)

    def _recovered(self, dependency: str) -> None:
        self._back_off.pop(dependency, None)
        self._health.mark_ready(dependency)

    def _wait(self, seconds: float) -> None:
        self._health.tick()
        if self._stop.wait(seconds * random.uniform(0.5, 1)):
            raise _StoppedError

    def _pause_for_dead_letters(self, share: "DeadLetterShare", outcome: Outcome) -> None:
        read = len(outcome.texts) + len(outcome.dead_letter_reasons)
        if not read:  # a batch without tweets and dead letters does not change the share
            return
        share.add(read, outcome.dead_letter_reasons)
        if not share.exceeded:
            self._health.mark_ready("records")
            return
        reason = f"{share}, TRIAGE_DEAD_LETTER_LIMIT={self._settings.dead_letter_limit:g}"
        log.error("paused: %s; trying %d records at a time", reason, _PROBE)
        self._health.mark_waiting("records", reason)
        self._wait(_LONGEST_BACK_OFF)

    def _check_membership(self) -> None:
        if self._source.joined:
            self._health.mark_ready("group")
        else:
            self._health.mark_waiting("group", f"it joins {self._settings.group_id}")

    def _measure_lag(self) -> None:
        """Ask for the ends of the partitions, which also checks that Kafka answers.

        A missing broker is no reason to stop, because other partitions may continue.
        """
        try:
            lags = self._source.lag()
        except UnavailableError as error:
            self._idle = False
            self._health.mark_waiting("kafka", str(error))
            self._health.lag(0)
            self._metrics.retries.labels("kafka").inc()
            if str(error) != self._lag_error:
                log.warning("%s; trying again", error)
            self._lag_error = str(error)
            return
        self._lag_error = None
        self._metrics.lag.clear()  # of partitions that moved to other members
        self._metrics.held_back.clear()
        for (topic, partition), lag in lags.items():
            self._metrics.lag.labels(topic, str(partition)).set(lag.records)
            self._metrics.held_back.labels(topic, str(partition)).set(lag.held_back)
        waiting = sum(lag.readable for lag in lags.values())
        self._health.lag(waiting)
        self._idle = not waiting

    def _account(self, outcome: Outcome) -> None:
        metrics, now = self._metrics, time.time()
        metrics.batch_size.observe(outcome.records)
        metrics.alerts.inc(len(outcome.alerts))
        metrics.not_relevant.inc(outcome.not_relevant)
        metrics.other_language.inc(outcome.other_language)
        for kind, number in Counter(outcome.notices).items():
            metrics.notices.labels(kind).inc(number)
        for reason in outcome.dead_letter_reasons:
            metrics.dead_letters.labels(reason).inc()
        for reason, number in Counter(outcome.review_reasons).items():
            metrics.review_tweets.labels(reason).inc(number)
        if self._settings.delivery == "exactly-once":
            metrics.transactions.labels("committed").inc()
        metrics.probability.observe(outcome.probabilities)
        metrics.words.inc(outcome.words)
        metrics.unknown_words.inc(outcome.unknown_words)
        for histogram, moments in (
            (metrics.record_to_alert_seconds, [a.source.timestamp for a in outcome.alerts]),
            (metrics.tweet_to_alert_seconds, [a.tweet.created_at for a in outcome.alerts]),
        ):
            histogram.observe([max(0.0, now - m.timestamp()) for m in moments if m is not None])
        metrics.consumed.inc(outcome.consumed)  # last: a reader finds the others counted
        metrics.last_progress.set(now)
        self._health.progress()


def _freeze() -> None:
    """Hide long-lived objects from the garbage collector, after collecting garbage once.

    Libraries and models are a million objects that are never freed. Each full collection took 0.3 s
    while tweets waited, a tenth of the worker's CPU time in all. A batch's objects are freed by
    reference counts; Python's default of a collection for every 700 of them took another 3 %.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)


def note_position_reset(metrics: Metrics, reset: PositionReset) -> None:
    """Log and count a position that Kafka does not have."""
    metrics.position_resets.labels(reset.cause).inc()
    metrics.skipped_records.inc(reset.skipped)
    what = {
        "expired": f"{reset.skipped} records were deleted before they were read",
        "truncated": "the partition ends before the position; Kafka has lost records",
        "recreated": "the topic was deleted and created again",
        "uncommitted": "the group has no commit, because it is new or offsets.retention.minutes "
        "has passed",
    }[reset.cause]
    instead = "" if reset.old is None else f" instead of {reset.old}"
    log.log(
        logging.WARNING if reset.old is None else logging.ERROR,
        "%s, partition %d: %s; continuing at offset %d%s",
        *(reset.topic, reset.partition, what, reset.new, instead),
    )


class DeadLetterShare:
    """The share of dead letters among the last records, and whether it exceeds the limit.

    Once it does, each batch is judged by itself, until one is within the limit. Notices and tweets
    in other languages do not count.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._batches: deque[tuple[int, Counter[str]]] = deque()
        self._records = 0
        self._reasons: Counter[str] = Counter()
        self.exceeded = False

    def add(self, records: int, reasons: Iterable[str]) -> None:
        """Count a batch: its scored tweets, and its dead letters by reason."""
        if self.exceeded:
            self._batches.clear()
            self._records = 0
            self._reasons.clear()
        dead = Counter(reasons)
        self._batches.append((records, dead))
        self._records += records
        self._reasons += dead
        while self._records - self._batches[0][0] >= _WINDOW:
            old_records, old_dead = self._batches.popleft()
            self._records -= old_records
            self._reasons -= old_dead
        if self.exceeded or self._records >= _WINDOW:
            self.exceeded = self._reasons.total() > self._limit * self._records

    def __str__(self) -> str:
        shares = ", ".join(
            f"{reason} {number / self._records:.0%}"
            for reason, number in self._reasons.most_common()
        )
        dead = self._reasons.total()
        return f"{dead} of the last {self._records} records were dead letters ({shares})"

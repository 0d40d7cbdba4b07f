"""The worker's loop: receive a batch, triage it, deliver the outcome, until told to stop."""

import contextlib
import gc
import logging
import random
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from shared.errors import UnavailableError
from shared.registry.base import open_registry
from worker.kafka.records import Batch
from worker.kafka.sink import Sink
from worker.kafka.source import Source
from worker.kafka.topics import check_topics
from worker.messages.alert import Model
from worker.messages.decode import new_decoder
from worker.messages.languages import Languages
from worker.model.follower import Follower, Loaded
from worker.model.shadow import Shadow
from worker.ops.health import Health, serve, watch
from worker.ops.metrics import Metrics
from worker.settings import Settings
from worker.triage import Outcome, Triage

log = logging.getLogger("triage")

_POLL_SECONDS = 0.2
"""How long a wait for the first record of a batch may hide that the worker is to stop."""
_LAG_SECONDS = 5
"""How often the ends of the partitions are asked for."""
_SHORTEST_BACK_OFF = 0.2
_LONGEST_BACK_OFF = 10.0
"""Seconds between attempts to go on after a dependency failed."""
_WINDOW = 1000
"""Records over which the share of dead letters is taken."""
SWITCH_SECONDS = 0.0005
"""After which a thread hands the interpreter over to one that waits for it. With Python's 5 ms the
consumer's thread would ask for records, and take them, late while a batch is scored."""
_YOUNG_OBJECTS = 50_000
"""After so many more new objects than gone ones the collector looks for garbage among them."""
_PROBE = 20
"""Records that a worker which has paused for dead letters takes at a time, to see if it may go on.
"""

T = TypeVar("T")


def run(settings: Settings, stop: threading.Event) -> None:
    """Triages until `stop` is set; then the batch at hand is finished and the group is left.

    Raises:
        RegistryError, BundleError: if there is nothing to score with, nor was before.
        DependencyError: if Kafka cannot be used, or this worker may not publish any more.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    health = Health(settings.stall_seconds)
    metrics = Metrics(health)
    port = serve(health, metrics.registry, settings.metrics_address, settings.metrics_port)
    log.info("metrics at http://%s:%d/metrics", settings.metrics_address, port)
    watch(health)
    with contextlib.suppress(_StoppedError), contextlib.ExitStack() as stack:
        Worker(settings, metrics, health, stop, stack).run()
    log.info("stopped")


class _StoppedError(Exception):
    """The worker was told to stop while it waited."""


class Worker:
    """A member of the consumer group, with all that it needs to go round.

    Args:
        stack: closes what is opened here.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        health: Health,
        stop: threading.Event,
        stack: contextlib.ExitStack,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._health = health
        self._stop = stop
        self._stack = stack
        self._back_off: dict[str, float] = {}

    def run(self) -> None:
        """Gets ready, and then goes round until told to stop."""
        settings = self._settings
        self._keep_trying("kafka", lambda: check_topics(settings))
        self._goes_on("kafka")
        production = self._follower(settings.model_alias, self._count_reload)
        triage = self._triage_with(self._keep_trying("registry", production.first))
        self._goes_on("registry")
        self._follow(production)
        shadow = self._shadow()
        source = self._keep_trying("kafka", lambda: Source(settings, self._count_rebalance))
        self._stack.callback(source.close)
        sink = self._keep_trying("kafka", lambda: Sink(settings, source))
        self._stack.callback(sink.close)
        log.info(
            "consuming %s as a member of %s, %s",
            settings.input_topic,
            settings.group_id,
            settings.delivery,
        )
        self._health.tick()
        self._goes_on("worker")
        _freeze()
        dead_letters = DeadLetterShare(settings.dead_letter_limit)
        next_lag = 0.0
        while not self._stop.is_set():
            self._health.tick()
            self._look_whether_joined(source)
            if (loaded := production.take()) is not None:
                triage = self._triage_with(loaded)
                _freeze()
            if time.monotonic() >= next_lag:
                self._look_for_lag(source)
                next_lag = time.monotonic() + _LAG_SECONDS
            try:
                with self._metrics.step("receive"):
                    most = _PROBE if dead_letters.exceeded else settings.batch_size
                    batch = source.receive(_POLL_SECONDS, most)
            except UnavailableError as error:
                self._recover(sink, error)
                continue
            if batch is None:
                continue
            outcome = self._process(batch, triage, source, sink)
            if outcome is None:
                continue
            if shadow is not None:
                shadow.compare(outcome.texts, outcome.probabilities, triage.threshold)
            self._pause_for_dead_letters(dead_letters, outcome)

    def _process(self, batch: Batch, triage: Triage, source: Source, sink: Sink) -> Outcome | None:
        """Triages and delivers a batch, or lets it come again after a dependency failed."""
        try:
            outcome = triage(batch.records)
        except UnavailableError as error:
            source.rewind(batch)
            self._failed("memory", error)
            return None
        if outcome.records < len(batch.records):
            batch = source.shorten(batch, outcome.records)
        try:
            with self._metrics.step("deliver"):
                sink.deliver(batch, outcome.messages)
        except UnavailableError as error:
            source.rewind(batch)
            if self._settings.delivery == "exactly-once":
                self._metrics.transactions.labels("aborted").inc()
            self._recover(sink, error)
            return None
        self._goes_on("memory")
        self._goes_on("kafka")
        self._account(outcome)
        return outcome

    def _recover(self, sink: Sink, error: UnavailableError) -> None:
        """Waits until the sink can start anew. Only a delivery shows that all is well again."""
        self._failed("kafka", error)
        self._keep_trying("kafka", sink.reset)

    def _keep_trying(self, dependency: str, attempt: Callable[[], T]) -> T:
        """Tries until it succeeds.

        Raises:
            _StoppedError: if the worker is told to stop meanwhile.
        """
        while True:
            try:
                return attempt()
            except UnavailableError as error:
                self._health.lag(0)  # for all that is known
                self._failed(dependency, error)

    def _failed(self, dependency: str, error: UnavailableError) -> None:
        """Waits, longer each time until it goes on, and not in step with other workers."""
        self._health.waits(dependency, str(error))
        self._metrics.retries.labels(dependency).inc()
        log.warning("%s; trying again", error)
        wait = self._back_off.get(dependency, _SHORTEST_BACK_OFF)
        self._back_off[dependency] = min(_LONGEST_BACK_OFF, 2 * wait)
        self._wait(wait)

    def _goes_on(self, dependency: str) -> None:
        self._back_off.pop(dependency, None)
        self._health.goes_on(dependency)

    def _wait(self, seconds: float) -> None:
        self._health.tick()
        if self._stop.wait(seconds * random.uniform(0.5, 1)):
            raise _StoppedError

    def _pause_for_dead_letters(self, share: "DeadLetterShare", outcome: Outcome) -> None:
        read = len(outcome.texts) + len(outcome.dead_letter_reasons)
        if not read:  # notices and other languages alone say nothing about the share
            return
        share.add(read, outcome.dead_letter_reasons)
        if not share.exceeded:
            self._health.goes_on("records")
            return
        reason = f"{share}, TRIAGE_DEAD_LETTER_LIMIT={self._settings.dead_letter_limit:g}"
        log.error("paused: %s; %d records at a time are tried", reason, _PROBE)
        self._health.waits("records", reason)
        self._wait(_LONGEST_BACK_OFF)

    def _follower(self, alias: str, tell: Callable[[str], None]) -> Follower:
        registry = open_registry(self._settings.registry)
        cache = Path(self._settings.cache).expanduser()
        batch_size, threshold = self._settings.batch_size, self._settings.threshold
        return Follower(registry, alias, cache, batch_size, tell, threshold)

    def _follow(self, follower: Follower) -> None:
        follower.start(self._settings.reload_seconds)
        self._stack.callback(follower.stop)

    def _shadow(self) -> Shadow | None:
        if self._settings.shadow_alias is None:
            return None
        follower = self._follower(self._settings.shadow_alias, lambda _: None)
        self._follow(follower)
        return Shadow(follower, self._metrics)

    def _triage_with(self, loaded: Loaded) -> Triage:
        settings, bundle = self._settings, loaded.bundle
        model = Model(bundle.manifest.name, loaded.number, bundle.digest)
        self._metrics.model.info(
            {
                "name": model.name,
                "version": str(model.version),
                "digest": model.digest,
                "device": bundle.scorer.device,
            }
        )
        self._metrics.model_loaded.set_to_current_time()
        log.info(
            "scoring with %s, version %d, on the %s, threshold %.3f (%s)",
            model.name,
            model.version,
            bundle.scorer.device.upper(),
            loaded.threshold,
            settings.threshold,
        )
        return Triage(
            bundle.scorer,
            model,
            loaded.threshold,
            settings.alerts_topic,
            settings.dead_letters_topic,
            lambda: datetime.now(UTC),
            self._metrics.step,
            lambda: self._metrics.retries.labels("memory").inc(),
            new_decoder(settings),
            Languages(
                settings.languages.split(",") if settings.languages else bundle.manifest.languages
            ),
        )

    def _count_reload(self, result: str) -> None:
        self._metrics.model_reloads.labels(result).inc()

    def _count_rebalance(self, assigned: int) -> None:
        self._metrics.rebalances.inc()
        self._metrics.assigned_partitions.set(assigned)

    def _look_whether_joined(self, source: Source) -> None:
        if source.joined:
            self._health.goes_on("group")
        else:
            self._health.waits("group", f"it joins {self._settings.group_id}")

    def _look_for_lag(self, source: Source) -> None:
        """Asks for the ends of the partitions, which on an idle topic tells whether Kafka is there.

        A broker that is missing is no reason to stop: other partitions may go on.
        """
        try:
            lags = source.lag()
        except UnavailableError as error:
            self._health.waits("kafka", str(error))
            self._health.lag(0)
            self._metrics.retries.labels("kafka").inc()
            log.warning("%s", error)
            return
        self._metrics.lag.clear()  # of partitions that have moved on
        for (topic, partition), lag in lags.items():
            self._metrics.lag.labels(topic, str(partition)).set(lag)
        waiting = sum(lags.values())
        self._health.lag(waiting)
        if not waiting:
            self._goes_on("kafka")

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
        metrics.consumed.inc(outcome.consumed)  # last, so that who reads it finds the rest counted
        metrics.last_progress.set(now)
        self._health.progress()


def _freeze() -> None:
    """Takes what is there out of the garbage collector's sight, but for what is garbage.

    Libraries and models are a million objects that stay. To walk through them took the collector
    .3 s each time while tweets waited, in all a tenth of the worker's CPU time. And a batch's
    objects go without it; to look at each 700 of them took another 3 %.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)


class DeadLetterShare:
    """The share of dead letters among the last records, and whether it exceeds a limit.

    Notices and tweets in other languages are neither read nor broken, and do not count.

    Once it does, it is judged batch by batch, until one is within the limit.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._batches: deque[tuple[int, Counter[str]]] = deque()
        self._records = 0
        self._reasons: Counter[str] = Counter()
        self.exceeded = False

    def add(self, records: int, reasons: Iterable[str]) -> None:
        """Count a batch: its scored tweets and dead letters, and the latter's reasons."""
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

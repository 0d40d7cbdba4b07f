"""Metrics: each declared once, with its unit, by Prometheus' conventions.

Conservation, for what was committed: consumed = alerts + not relevant + other language + skipped
notices + dead letters. A record that holds several posts counts once for each of them.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from shared.version import commit, version
from worker.messages.notices import KINDS as NOTICE_KINDS
from worker.messages.review import REASONS
from worker.ops.health import Health

_STEP_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_PROBABILITY_BUCKETS = tuple(n / 20 for n in range(1, 21))


class ArrayHistogram(Collector):
    """A histogram that takes a batch's values at once.

    prometheus_client's own takes values one by one, at 1.5 µs each: more than receiving a tweet
    takes.
    """

    def __init__(
        self, name: str, help_text: str, buckets: Sequence[float], registry: CollectorRegistry
    ) -> None:
        self._name, self._help, self._buckets = name, help_text, np.array(buckets)
        self._counts = np.zeros(len(buckets) + 1, np.int64)
        self._sum = 0.0
        self._lock = threading.Lock()
        registry.register(self)

    def observe(self, values: npt.ArrayLike) -> None:
        """Count values of any shape, each in the first bucket whose bound is not below it."""
        values = np.asarray(values, np.float64).ravel()
        places = np.searchsorted(self._buckets, values, side="left")
        with self._lock:
            self._counts += np.bincount(places, minlength=len(self._counts))
            self._sum += float(values.sum())

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Yield the histogram for Prometheus."""
        with self._lock:
            counts, total = np.cumsum(self._counts), self._sum
        bounds = [*map(str, self._buckets.tolist()), "+Inf"]
        buckets = list(zip(bounds, counts.tolist(), strict=True))
        yield HistogramMetricFamily(self._name, self._help, buckets=buckets, sum_value=total)


class Metrics:
    """The worker's metrics, in a registry of their own."""

    def __init__(self, health: Health) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)

        def counter(name: str, help_text: str, *labels: str) -> Counter:
            return Counter(f"triage_{name}", help_text, labels, registry=registry)

        def gauge(name: str, help_text: str, *labels: str) -> Gauge:
            return Gauge(f"triage_{name}", help_text, labels, registry=registry)

        def histogram(name: str, help_text: str, buckets: Sequence[float]) -> ArrayHistogram:
            return ArrayHistogram(f"triage_{name}", help_text, buckets, registry)

        build = Info("triage_build", "The program's version and commit", registry=registry)
        build.info({"version": version(), "commit": commit() or "unknown"})
        self.consumed = counter(
            "tweets_consumed",
            "Records consumed and committed; one that holds several posts counts once for each",
        )
        self.alerts = counter("alerts", "Alerts published")
        self.not_relevant = counter("tweets_not_relevant", "Tweets scored below the threshold")
        self.other_language = counter(
            "other_language", "Tweets left out because the model does not know their language"
        )
        self.notices = counter(
            "skipped_notices", "Messages that are no posts, such as deletions, by kind", "kind"
        )
        self.dead_letters = counter("dead_letters", "Records kept as dead letters", "reason")
        self.review_tweets = counter(
            "review_tweets", "Tweets chosen for people to label, by why", "reason"
        )
        self.batch_size = histogram(
            "batch_size_records", "Records in a batch", [2**n for n in range(17)]
        )
        self.step_seconds = Histogram(
            "triage_step_seconds",
            "Time a step takes for a batch",
            ["step"],
            buckets=_STEP_BUCKETS,
            registry=registry,
        )
        self.record_to_alert_seconds = histogram(
            "record_to_alert_seconds",
            "From the source record's timestamp to the committed alert",
            _LATENCY_BUCKETS,
        )
        self.tweet_to_alert_seconds = histogram(
            "tweet_to_alert_seconds",
            "From the tweet's own creation time to the committed alert",
            _LATENCY_BUCKETS,
        )
        self.probability = histogram(
            "probability", "Probabilities that tweets were given", _PROBABILITY_BUCKETS
        )
        self.words = counter(
            "words", "Words of the texts that were scored; one that comes again is not"
        )
        self.unknown_words = counter(
            "unknown_words",
            "Those of them that the vocabulary lacks; 0 with a recipe that leaves them out",
        )

        self.lag = gauge(
            "consumer_lag_records",
            "Offsets not consumed yet, up to the end of the partition",
            "topic",
            "partition",
        )
        self.held_back = gauge(
            "held_back_records",
            "Those of them that cannot be read yet, because a producer's transaction is open",
            "topic",
            "partition",
        )
        self.assigned_partitions = gauge("assigned_partitions", "Partitions of this member")
        self.rebalances = counter("rebalances", "Changes of the assigned partitions")
        self.position_resets = counter(
            "position_resets", "Positions that Kafka did not have, by why", "cause"
        )
        self.skipped_records = counter(
            "skipped_records", "Offsets skipped because their records were deleted unread"
        )
        self.transactions = counter("transactions", "Transactions by their end", "result")
        self.retries = counter(
            "retries", "Attempts begun anew after a dependency failed", "dependency"
        )
        self.last_progress = gauge(
            "last_progress_timestamp_seconds", "When a batch was last committed, as Unix time"
        )
        gauge("healthy", "Whether /healthz says so").set_function(
            lambda: health.not_healthy() is None
        )
        gauge("ready", "Whether /readyz says so").set_function(lambda: health.not_ready() is None)

        self.model = Info("triage_model", "The bundle that scores", registry=registry)
        self.model_loaded = gauge(
            "model_loaded_timestamp_seconds", "When that bundle was loaded, as Unix time"
        )
        self.model_reloads = counter(
            "model_reloads", "Attempts to follow the alias to another bundle", "result"
        )
        self.shadow_model = Info(
            "triage_shadow_model", "The bundle that scores in the shadow", registry=registry
        )
        self.shadow_tweets = counter(
            "shadow_tweets", "Tweets by which of the two bundles finds them relevant", "decision"
        )
        self.shadow_difference = histogram(
            "shadow_difference",
            "How far the two bundles' probabilities lie apart",
            _PROBABILITY_BUCKETS,
        )
        for metric, labels in (
            (self.transactions, ("committed", "aborted")),
            (self.retries, ("kafka", "registry", "memory")),
            (self.position_resets, ("expired", "truncated", "recreated", "uncommitted")),
            (self.model_reloads, ("loaded", "refused", "unavailable")),
            (self.shadow_tweets, ("both", "production", "shadow", "neither")),
            (self.notices, NOTICE_KINDS),
            (self.review_tweets, REASONS),
        ):
            for label in labels:
                metric.labels(label)  # so that they exist, as 0, before the first event

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure the time of one step of a batch."""
        start = time.perf_counter()
        yield
        self.step_seconds.labels(name).observe(time.perf_counter() - start)

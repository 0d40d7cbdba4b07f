"""Metrics: each declared once, with its unit, by Prometheus' conventions.

Conservation: consumed = alerts + not relevant + dead letters, of what was committed.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    start_http_server,
)

from shared.errors import UsageError

_STEP_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """The worker's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.consumed = Counter(
            "triage_tweets_consumed", "Records consumed and committed", registry=registry
        )
        self.alerts = Counter("triage_alerts", "Alerts published", registry=registry)
        self.not_relevant = Counter(
            "triage_tweets_not_relevant", "Tweets scored below the threshold", registry=registry
        )
        self.dead_letters = Counter(
            "triage_dead_letters", "Records kept as dead letters", ["reason"], registry=registry
        )
        self.batch_size = Histogram(
            "triage_batch_size_records",
            "Records in a batch",
            buckets=[2**n for n in range(17)],
            registry=registry,
        )
        self.step_seconds = Histogram(
            "triage_step_seconds",
            "Time a step takes for a batch",
            ["step"],
            buckets=_STEP_BUCKETS,
            registry=registry,
        )
        self.tweet_to_alert_seconds = Histogram(
            "triage_tweet_to_alert_seconds",
            "From the source record's timestamp to the committed alert",
            buckets=_LATENCY_BUCKETS,
            registry=registry,
        )
        self.retries = Counter(
            "triage_retries", "Batches begun anew after Kafka failed", registry=registry
        )
        self.last_progress = Gauge(
            "triage_last_progress_timestamp_seconds",
            "When a batch was last committed, as Unix time",
            registry=registry,
        )
        self.model = Info("triage_model", "The bundle that scores", registry=registry)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measures a step of the way of a batch."""
        start = time.perf_counter()
        yield
        self.step_seconds.labels(name).observe(time.perf_counter() - start)

    def serve(self, address: str, port: int) -> int:
        """Serves /metrics in a thread of its own.

        Returns:
            The port, which was chosen by the system if 0 was given.

        Raises:
            UsageError: if the address cannot be bound.
        """
        try:
            server, _ = start_http_server(port, address, self.registry)
        except OSError as error:
            raise UsageError(
                f"TRIAGE_METRICS_ADDRESS={address!r}, TRIAGE_METRICS_PORT={port}: "
                f"expected an address and a free port of this machine: {error.strerror}"
            ) from error
        return int(server.server_port)

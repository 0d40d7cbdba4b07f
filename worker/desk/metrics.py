"""Metrics of the desk: each declared once, with its unit."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 5)


class Metrics:
    """The desk's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)

        def counter(name: str, help_text: str, *labels: str) -> Counter:
            return Counter(f"triage_desk_{name}", help_text, labels, registry=registry)

        def gauge(name: str, help_text: str, *labels: str) -> Gauge:
            return Gauge(f"triage_desk_{name}", help_text, labels, registry=registry)

        def histogram(name: str, help_text: str, *labels: str) -> Histogram:
            return Histogram(
                f"triage_desk_{name}", help_text, labels, buckets=_SECONDS, registry=registry
            )

        self.alerts = counter("alerts_read", "Alerts read from the topic")
        self.labels = counter("labels_read", "Labels read from the topic")
        self.reviews = counter("review_tweets_read", "Review tweets read from the topic")
        self.labelled = counter("labels_given", "Labels published by this desk", "label")
        self.unreadable = counter("unreadable_records", "Records skipped", "topic")
        self.skipped = counter(
            "skipped_records", "Records that Kafka removed before they were read"
        )
        self.rebuilds = counter("rebuilds", "Times that the store was rebuilt from the topics")
        self.retries = counter("kafka_retries", "Attempts to reach Kafka again")
        self.notifications = counter(
            "notifications", "Notifications by what became of them", "result"
        )
        self.explained = counter(
            "explained_scores", "Scores whose words were asked for, by what became of it", "result"
        )
        self.models_loaded = counter("models_loaded", "Models loaded to find words behind scores")
        self.refused = counter("requests_refused", "Requests refused", "reason")
        self.behind = gauge("behind_records", "Offsets of the topics that are not read yet")
        self.viewers = gauge("viewers", "Pages that are open and updated live")
        window = (
            "of the newest model over 7 days, by labelled review tweets; with its 95 % interval"
        )
        self.precision = gauge("live_precision", f"Precision {window}", "bound")
        self.recall = gauge("live_recall", f"Recall {window}", "bound")
        self.ready = gauge("ready", "Whether /readyz says so")
        self.add_seconds = histogram("add_seconds", "Time to add what was read to the store")
        self.request_seconds = histogram("request_seconds", "Time to answer a request", "page")
        for result in ("sent", "failed", "retried", "unknown"):
            self.notifications.labels(result)
        for result in ("found", "unavailable", "failed", "dropped"):
            self.explained.labels(result)
        for reason in ("login", "csrf", "rate", "host", "address"):
            self.refused.labels(reason)
        for label in ("relevant", "not-relevant", "skip", "withdrawn"):
            self.labelled.labels(label)

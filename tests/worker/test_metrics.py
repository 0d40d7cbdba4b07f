"""Metrics follow Prometheus' conventions."""

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from worker.health import Health
from worker.metrics import ArrayHistogram, Metrics


def test_metrics_are_named_and_explained() -> None:
    metrics = Metrics(Health(60))
    metrics.dead_letters.labels("invalid_json").inc()
    with metrics.step("decode"):
        pass
    text = generate_latest(metrics.registry).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    ours = {name for name in families if name.startswith("triage_") and "_created" not in name}
    assert {
        "triage_tweets_consumed",
        "triage_alerts",
        "triage_tweets_not_relevant",
        "triage_dead_letters",
        "triage_step_seconds",
        "triage_record_to_alert_seconds",
        "triage_tweet_to_alert_seconds",
        "triage_healthy",
        "triage_ready",
        "triage_probability",
    } <= ours
    assert all(families[name].documentation for name in ours)
    (sample, *_) = families["triage_dead_letters"].samples
    assert (sample.labels, sample.value) == ({"reason": "invalid_json"}, 1)
    assert "process_resident_memory_bytes" in families


def test_an_array_histogram_counts_like_a_histogram() -> None:
    registry = CollectorRegistry()
    histogram = ArrayHistogram("share", "A share", (0.25, 0.5, 1.0), registry)
    histogram.observe(np.array([[0.1, 0.25], [0.26, 2.0]], np.float32))
    histogram.observe([])
    histogram.observe(1.0)
    (family,) = text_string_to_metric_families(generate_latest(registry).decode())
    assert (family.name, family.type) == ("share", "histogram")
    assert [(s.name, s.labels.get("le"), round(s.value, 6)) for s in family.samples] == [
        ("share_bucket", "0.25", 2),
        ("share_bucket", "0.5", 3),
        ("share_bucket", "1.0", 4),
        ("share_bucket", "+Inf", 5),
        ("share_count", None, 5),
        ("share_sum", None, 3.61),
    ]

"""Metrics follow Prometheus' conventions."""

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from worker.ops.health import Health
from worker.ops.metrics import ArrayHistogram, Metrics

FAMILIES = {
    "triage_tweets_consumed": "counter",
    "triage_alerts": "counter",
    "triage_tweets_not_relevant": "counter",
    "triage_dead_letters": "counter",
    "triage_batch_size_records": "histogram",
    "triage_step_seconds": "histogram",
    "triage_record_to_alert_seconds": "histogram",
    "triage_tweet_to_alert_seconds": "histogram",
    "triage_retries": "counter",
    "triage_consumer_lag_records": "gauge",
    "triage_assigned_partitions": "gauge",
    "triage_rebalances": "counter",
    "triage_transactions": "counter",
    "triage_last_progress_timestamp_seconds": "gauge",
    "triage_healthy": "gauge",
    "triage_ready": "gauge",
    "triage_model": "info",
    "triage_model_loaded_timestamp_seconds": "gauge",
    "triage_model_reloads": "counter",
    "triage_probability": "histogram",
    "triage_words": "counter",
    "triage_unknown_words": "counter",
    "triage_shadow_model": "info",
    "triage_shadow_tweets": "counter",
    "triage_shadow_difference": "histogram",
}
"""What dashboards and alerting rules build on."""


def test_metrics_are_named_and_explained() -> None:
    metrics = Metrics(Health(60))
    metrics.dead_letters.labels("invalid_json").inc()
    metrics.lag.labels("tweets.raw", "2").set(7)
    metrics.model.info({"name": "LSTM", "version": "7", "digest": "0", "device": "cpu"})
    with metrics.step("decode"):
        pass
    found = {family.name: family for family in metrics.registry.collect()}
    ours = {name: family.type for name, family in found.items() if name.startswith("triage_")}
    assert ours == FAMILIES
    assert all(len(found[name].documentation) > 10 for name in ours)
    assert {"process_resident_memory_bytes", "python_info"} <= found.keys()

    text = generate_latest(metrics.registry).decode()
    assert list(text_string_to_metric_families(text))
    for line in (
        'triage_dead_letters_total{reason="invalid_json"} 1.0',
        'triage_consumer_lag_records{partition="2",topic="tweets.raw"} 7.0',
        'triage_model_info{device="cpu",digest="0",name="LSTM",version="7"} 1.0',
        'triage_retries_total{dependency="registry"} 0.0',
        'triage_transactions_total{result="aborted"} 0.0',
        'triage_model_reloads_total{result="refused"} 0.0',
        'triage_shadow_tweets_total{decision="both"} 0.0',
        "triage_words_total 0.0",
        "triage_healthy 1.0",
        "triage_ready 0.0",
    ):
        assert line in text.splitlines()


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

"""Metrics follow Prometheus' conventions and are served over HTTP."""

import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from shared.errors import UsageError
from worker.metrics import Metrics


def test_served_metrics_are_named_and_explained() -> None:
    metrics = Metrics()
    metrics.dead_letters.labels("invalid_json").inc()
    with metrics.step("decode"):
        pass
    port = metrics.serve("127.0.0.1", 0)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        families = {f.name: f for f in text_string_to_metric_families(answer.read().decode())}
    ours = {name for name in families if name.startswith("triage_") and "_created" not in name}
    assert {
        "triage_tweets_consumed",
        "triage_alerts",
        "triage_tweets_not_relevant",
        "triage_dead_letters",
        "triage_step_seconds",
        "triage_tweet_to_alert_seconds",
    } <= ours
    assert all(families[name].documentation for name in ours)
    (sample, *_) = families["triage_dead_letters"].samples
    assert (sample.labels, sample.value) == ({"reason": "invalid_json"}, 1)
    assert "process_resident_memory_bytes" in families


def test_a_taken_port_is_named() -> None:
    metrics = Metrics()
    port = metrics.serve("127.0.0.1", 0)
    with pytest.raises(UsageError, match=rf"TRIAGE_METRICS_PORT={port}: expected .* free port"):
        Metrics().serve("127.0.0.1", port)

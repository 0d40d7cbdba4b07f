"""Metrics follow Prometheus' conventions."""

import re

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import ROOT
from worker.desk.metrics import Metrics as DeskMetrics
from worker.ops.health import Health
from worker.ops.metrics import ArrayHistogram, Metrics


def named_in(text: str) -> set[str]:
    """Return the worker's metrics that a text names, without the suffix of their samples."""
    names = re.findall(r"\b(triage_[a-z_]+)\b", text)
    return {re.sub(r"_(total|info|bucket|sum|count)$", "", name) for name in names}


def test_metrics_are_named_and_explained() -> None:
    metrics = Metrics(Health(60))
    metrics.dead_letters.labels("invalid_json").inc()
    metrics.lag.labels("tweets.raw", "2").set(7)
    metrics.model.info({"name": "LSTM", "version": "7", "digest": "0", "device": "cpu"})
    with metrics.step("decode"):
        pass
    found = {family.name: family for family in metrics.registry.collect()}
    found |= {family.name: family for family in DeskMetrics().registry.collect()}
    ours = {name for name in found if name.startswith("triage_")}
    assert all(len(found[name].documentation) > 10 for name in ours)
    rules = (ROOT / "deploy" / "prometheus" / "rules.yml").read_text()
    dashboard = (ROOT / "deploy" / "grafana" / "dashboard.json").read_text()
    shown = named_in(rules) | named_in(dashboard)
    assert len(shown) > 15
    assert shown <= ours
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
        'triage_skipped_notices_total{kind="delete"} 0.0',
        "triage_other_language_total 0.0",
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

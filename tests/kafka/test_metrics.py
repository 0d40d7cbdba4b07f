"""Every metric moves as far as the tweets do, through promotions, a refusal, and a shadow."""

import json
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from shared.bundle.files import GOLDEN
from shared.bundle.load import Bundle, load_bundle
from shared.registry.folder import FolderRegistry
from tests.conftest import Trained
from tests.kafka.processes import (
    Worker,
    environment_of,
    read_all,
    running,
    settings_of,
    source_of,
    wait_for,
)
from tests.kafka.test_worker import publish, some_texts
from tests.shared.bundle.test_bundle import replace_file
from worker.demo.local_kafka import LocalKafka
from worker.messages.alert import Alert, decode_alert
from worker.settings import Settings

NAMES = ("Vanilla-Feedforward-NN", "LSTM", "Bidirectional-RNN")
"""Versions 1 to 3; 4 is a bundle that does not score its golden texts as it says."""
CREATED = datetime(2018, 10, 10, 20, 19, 24, tzinfo=UTC)


class Feed:
    """Tweets, each with a text of its own."""

    def __init__(self, settings: Settings, worker: Worker) -> None:
        self._settings = settings
        self._worker = worker
        self.texts: dict[str, str] = {}
        """By topic, partition and offset."""

    def until(self, condition: Callable[[], bool]) -> None:
        """Publish tweets until the condition holds, and some more, and wait for their alerts."""
        deadline, last = time.monotonic() + 90, False
        while not last:
            assert time.monotonic() < deadline, self._worker.log()
            last = condition()
            number = len(self.texts)
            texts = [f"{text} x{number}" for text in some_texts(40, seed=number)]
            tweets = [{"text": text, "created_at": CREATED.isoformat()} for text in texts]
            places = publish(self._settings, [json.dumps(tweet).encode() for tweet in tweets])
            self.texts |= dict(zip(places, texts, strict=True))
        wait_for(lambda: self._worker.consumed() == len(self.texts))


def value(worker: Worker, name: str, **labels: str) -> float:
    """Return the only sample of this name whose labels include these."""
    (found,) = [
        sample.value
        for sample in worker.samples()
        if sample.name == f"triage_{name}" and labels.items() <= sample.labels.items()
    ]
    return found


@pytest.fixture
def registry(trained: Trained, tmp_path: Path) -> FolderRegistry:
    """Return a registry with version 1 in production."""
    registry = FolderRegistry(tmp_path / "registry")
    for name in NAMES:
        registry.register(trained.bundles / name)
    forgetful = shutil.copytree(trained.bundles / "LSTM", tmp_path / "forgetful")
    golden = json.loads((forgetful / GOLDEN).read_text())
    golden[0]["probability"] = 1 - golden[0]["probability"]
    replace_file(forgetful, GOLDEN, json.dumps(golden).encode())
    registry.register(forgetful)
    registry.promote("1")
    return registry


@pytest.mark.slow
def test_every_metric_moves(
    kafka: LocalKafka, trained: Trained, registry: FolderRegistry, tmp_path: Path
) -> None:
    settings = msgspec.structs.replace(
        settings_of(kafka, "metrics"),
        registry=registry.url,
        cache=str(tmp_path / "cache"),
        reload_seconds=0.2,
        threshold=0.000001,  # every tweet becomes an alert
        shadow_alias="trial",
    )
    with running(environment_of(settings), tmp_path / "log") as worker:
        feed = Feed(settings, worker)

        def reloads(result: str) -> float:
            return value(worker, "model_reloads_total", result=result)

        feed.until(lambda: True)
        registry.promote("2")
        feed.until(lambda: reloads("loaded") == 1)
        registry.rollback()
        feed.until(lambda: reloads("loaded") == 2)
        registry.promote("4")
        feed.until(lambda: reloads("refused") == 1)
        registry.promote("3", "trial")
        feed.until(lambda: value(worker, "shadow_difference_count") > 0)
        registry.promote("2")
        feed.until(lambda: reloads("loaded") == 3)
        bundles = {n: load_bundle(trained.bundles / name) for n, name in enumerate(NAMES, 1)}
        check_metrics(worker, bundles, len(feed.texts))
        assert worker.stop() == 0

    alerts = [decode_alert(value) for value, _ in read_all(settings, settings.alerts_topic)]
    assert sorted(map(source_of, alerts)) == sorted(feed.texts)
    assert all(alert.tweet.text == feed.texts[source_of(alert)] for alert in alerts)
    assert {alert.model.version for alert in alerts} == {1, 2}
    for number in (1, 2):
        check_probabilities([a for a in alerts if a.model.version == number], bundles[number])
    assert worker.log().count("does not reproduce its golden probabilities") == 1


def check_probabilities(alerts: list[Alert], bundle: Bundle) -> None:
    assert {alert.model.name for alert in alerts} == {bundle.manifest.name}
    assert {alert.model.digest for alert in alerts} == {bundle.digest}
    own = bundle.scorer.score([alert.tweet.text for alert in alerts])
    assert [alert.probability for alert in alerts] == pytest.approx(own.tolist(), abs=1e-5)


def check_metrics(worker: Worker, bundles: dict[int, Bundle], tweets: int) -> None:
    wait_for(lambda: worker.metrics().get("triage_consumer_lag_records") == 0)
    assert worker.partitions() == {0, 1, 2}
    sums = {name.removeprefix("triage_"): figure for name, figure in worker.metrics().items()}
    assert sums["tweets_consumed_total"] == sums["alerts_total"] == tweets
    assert sums["tweets_not_relevant_total"] == 0
    assert sums["batch_size_records_sum"] == tweets
    assert sums["probability_count"] == sums["record_to_alert_seconds_count"] == tweets
    assert sums["tweet_to_alert_seconds_count"] == tweets
    assert 0 < sums["record_to_alert_seconds_sum"] < 60 * tweets
    days = sums["tweet_to_alert_seconds_sum"] / tweets / (24 * 3600)
    assert days == pytest.approx((datetime.now(UTC) - CREATED).total_seconds() / 86400, abs=1)
    assert 0 < sums["probability_sum"] < tweets
    assert tweets <= sums["unknown_words_total"] < sums["words_total"]
    assert sums["assigned_partitions"] == 3
    assert sums["rebalances_total"] >= 1
    assert abs(sums["last_progress_timestamp_seconds"] - time.time()) < 60
    assert abs(sums["model_loaded_timestamp_seconds"] - time.time()) < 60
    assert sums["healthy"] == sums["ready"] == 1
    assert sums["process_resident_memory_bytes"] > 1e8

    batches = sums["batch_size_records_count"]
    assert value(worker, "transactions_total", result="committed") == batches
    assert value(worker, "transactions_total", result="aborted") == 0
    assert value(worker, "model_reloads_total", result="unavailable") == 0
    assert value(worker, "model_info", version="2", digest=bundles[2].digest) == 1
    assert value(worker, "shadow_model_info", version="3", digest=bundles[3].digest) == 1
    assert 0 < sums["shadow_tweets_total"] == sums["shadow_difference_count"] < tweets
    assert sums["shadow_difference_sum"] > 0
    for step in ("decode", "encode", "pad", "predict", "decide", "deliver"):
        assert value(worker, "step_seconds_count", step=step) == batches
    assert value(worker, "step_seconds_count", step="receive") >= batches

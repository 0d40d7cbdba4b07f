"""A promotion and a rollback reach a worker while tweets flow, whichever registry tells it."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shared.bundle.load import load_bundle
from shared.registry.base import Registry
from shared.registry.open import open_registry
from tests.conftest import Trained
from tests.kafka.processes import environment_of, read_all, running, settings_of, wait_for
from tests.kafka.test_worker import publish, some_texts
from tests.wandb.server.server import WandbServer
from tests.wandb.server.store import ENTITY
from worker.demo.local_kafka import LocalKafka
from worker.messages.alert import decode_alert
from worker.settings import Settings

MODELS = ("LSTM", "Bidirectional-RNN")


@pytest.fixture(params=["folder", pytest.param("wandb", marks=pytest.mark.slow)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the address of an empty registry of each kind."""
    if request.param == "folder":
        return f"file:{tmp_path / 'registry'}"
    request.getfixturevalue("wandb_server")
    return f"wandb:{ENTITY}/model/tweet-triage"


@contextmanager
def flowing(settings: Settings) -> Iterator[list[str]]:
    """Publish 20 tweets a second until the end; yield the growing list of their texts."""
    stop = threading.Event()
    out: list[str] = []

    def run() -> None:
        texts = some_texts(20_000, seed=5)
        while not stop.wait(1):
            some = texts[len(out) : len(out) + 20]
            publish(settings, [json.dumps({"text": text}).encode() for text in some])
            out.extend(some)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield out
    finally:
        stop.set()
        thread.join()


def trainer(environment: dict[str, str], *arguments: str | Path) -> str:
    """Call `triage-trainer` as a process, and return its output."""
    done = subprocess.run(
        [sys.executable, "-m", "trainer.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done.stdout


def test_each_alert_comes_once_from_the_version_it_names(
    kafka: LocalKafka, trained: Trained, tmp_path: Path, url: str
) -> None:
    settings = settings_of(kafka, f"promotion-{url.partition(':')[0]}")
    environment = environment_of(settings) | {
        "TRIAGE_REGISTRY": url,
        "TRIAGE_CACHE": str(tmp_path / "cache"),
        "TRIAGE_RELOAD_SECONDS": "0.5",
    }
    environment.pop("WANDB_SERVICE", None)
    trainer(environment, "register", trained.bundles / MODELS[0])
    trainer(environment, "promote", "candidate")

    def scoring(name: str) -> bool:
        """Return whether the newest alert names this model."""
        alerts = [decode_alert(value) for value, _ in read_all(settings, settings.alerts_topic)]
        newest = max(alerts, key=lambda alert: alert.scored_at, default=None)
        return newest is not None and newest.model.name == name

    with running(environment, tmp_path / "log") as worker:
        with flowing(settings) as texts:
            wait_for(lambda: scoring(MODELS[0]))
            trainer(environment, "register", trained.bundles / MODELS[1])
            trainer(environment, "promote", "candidate", "--reason", "better")
            wait_for(lambda: scoring(MODELS[1]))
            trainer(environment, "rollback", "--reason", "worse")
            wait_for(lambda: scoring(MODELS[0]))
        wait_for(lambda: worker.consumed() == len(texts))
        assert worker.stop() == 0
    expect_each_alert_once(settings, open_registry(url), texts, tmp_path / "cache")


def expect_each_alert_once(
    settings: Settings, registry: Registry, texts: list[str], cache: Path
) -> None:
    """Compare the alerts with each version's probabilities of the texts."""
    versions = {version.number: version for version in registry.versions()}
    bundles = {n: load_bundle(registry.fetch(version, cache)) for n, version in versions.items()}
    said = {
        n: dict(zip(texts, bundle.scorer.score(texts).tolist(), strict=True))
        for n, bundle in bundles.items()
    }
    alerts = [decode_alert(value) for value, _ in read_all(settings, settings.alerts_topic)]
    assert len({alert.tweet.text for alert in alerts}) == len(alerts)
    assert {alert.model.version for alert in alerts} == versions.keys()
    for alert in alerts:
        version = versions[alert.model.version]
        assert (alert.model.name, alert.model.digest) == (version.manifest.name, version.digest)
        assert alert.probability == pytest.approx(said[version.number][alert.tweet.text], abs=1e-5)
    alerted = {alert.tweet.text for alert in alerts}
    above = [
        {text for text in texts if said[n][text] >= bundle.manifest.threshold}
        for n, bundle in bundles.items()
    ]
    assert set.intersection(*above) <= alerted <= set.union(*above)


@pytest.mark.slow
def test_wandb_goes_away_in_the_middle(
    kafka: LocalKafka, trained: Trained, tmp_path: Path, wandb_server: WandbServer
) -> None:
    settings = settings_of(kafka, "wandb-away")
    environment = environment_of(settings) | {
        "TRIAGE_REGISTRY": f"wandb:{ENTITY}/model/tweet-triage",
        "TRIAGE_CACHE": str(tmp_path / "cache"),
        "TRIAGE_RELOAD_SECONDS": "0.5",
    }
    environment.pop("WANDB_SERVICE", None)
    for name in MODELS:
        trainer(environment, "register", trained.bundles / name)
    trainer(environment, "promote", "0")
    with running(environment, tmp_path / "log") as worker:
        wandb_server.stop()
        wait_for(lambda: "scoring with version 0 meanwhile" in worker.log())
        publish(settings, [text.encode() for text in some_texts(100, seed=6)])
        wait_for(lambda: worker.consumed() == 100)
        wandb_server.start()
        wait_for(lambda: "production: the registry answers again" in worker.log())
        trainer(environment, "promote", "1")
        wait_for(lambda: ", version 1, on the " in worker.log())
        assert worker.stop() == 0
    wandb_server.stop()  # and a worker that starts without it scores with what it has
    with running(environment, tmp_path / "second log") as worker:
        assert "scoring with version 1 meanwhile" in worker.log()
        assert worker.stop() == 0

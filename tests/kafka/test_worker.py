"""Tweets in, alerts out, through a real Kafka: each one once, whatever happens to the worker."""

import csv
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from tests.conftest import SAMPLE, Trained
from tests.kafka.processes import (
    Worker,
    broker_process,
    environment_of,
    read_all,
    running,
    settings_of,
    source_of,
    wait_for,
)
from worker.demo.local_kafka import LocalKafka
from worker.kafka.publisher import Publisher
from worker.kafka.records import Message
from worker.messages.alert import decode_alert
from worker.settings import Settings

BROKEN = (b'{"text": "cut', b'{"text": 7}', b'{"id": 1}', b"\xff\xfe", b"{}", b'{"text": ""}')
SKIPPED = (b'{"delete": {"status": {"id": 1}}}', b"\r\n", b'{"limit": {"track": 5}}')
OTHER = b'{"id": 1, "text": "Incendio en la sierra", "lang": "es"}'


def some_texts(count: int, seed: int) -> list[str]:
    """Return distinct texts of the sample's words, many of them near the threshold."""
    with SAMPLE.open(newline="", encoding="utf-8") as file:
        sample = [row["text"] for row in csv.DictReader(file)]
    choose = random.Random(seed)
    texts = []
    for number in range(count):
        first, second = choose.choice(sample).split(), choose.choice(sample).split()
        mixed = first[: choose.randint(1, len(first))] + second[: choose.randint(0, len(second))]
        texts.append(" ".join([*mixed, f"no{number}"]))
    return texts


def publish(settings: Settings, values: list[bytes]) -> list[str]:
    """Publish records, and return topic, partition and offset of each, as `source_of` does."""
    publisher = Publisher(settings)
    places = publisher.publish(Message(settings.input_topic, None, value, []) for value in values)
    publisher.close()
    return [f"{settings.input_topic}-{partition}-{offset}" for partition, offset in places]


def predicted(trained: Trained, texts: list[str]) -> list[dict[str, object]]:
    """Return the probabilities that `triage-trainer predict --json` prints for the texts."""
    answer = subprocess.run(
        [sys.executable, "-m", "trainer.cli", "predict", "--json"],
        input="\n".join(texts),
        capture_output=True,
        text=True,
        check=True,
        env=environment_of(Settings(), trained),
    )
    return [json.loads(line) for line in answer.stdout.splitlines()]


@pytest.mark.parametrize(
    "delivery", ["exactly-once", pytest.param("at-least-once", marks=pytest.mark.slow)]
)
def test_the_account_of_5000_tweets_is_exact(
    kafka: LocalKafka, trained: Trained, tmp_path: Path, delivery: str
) -> None:
    settings = settings_of(kafka, f"account-{delivery}")
    texts = some_texts(4900, seed=1)
    tweets = [{"id": n, "text": text, "lang": "en"} for n, text in enumerate(texts)]
    values = [json.dumps(tweet).encode() for tweet in tweets[:4400]]
    values += [json.dumps(tweets[n : n + 5]).encode() for n in range(4400, 4900, 5)]
    values += [BROKEN[n % len(BROKEN)] for n in range(100)]
    values += [SKIPPED[n % len(SKIPPED)] for n in range(300)]
    values += [OTHER] * 50
    random.Random(2).shuffle(values)
    settings = msgspec.structs.replace(settings, languages=None, delivery=delivery)  # as the bundle
    environment = environment_of(settings, trained)
    with running(environment, tmp_path / "log") as worker:
        identifiers = publish(settings, values)
        wait_for(lambda: worker.consumed() == 5350)
        figures = worker.metrics()
        assert worker.stop() == 0
    expected = {
        entry["text"]: entry["probability"]
        for entry in predicted(trained, texts)
        if entry["relevant"]
    }
    assert 500 < len(expected) < 4400
    assert figures["triage_alerts_total"] == len(expected)
    assert figures["triage_dead_letters_total"] == 100
    assert figures["triage_tweets_not_relevant_total"] == 4900 - len(expected)
    assert figures["triage_skipped_notices_total"] == 300
    assert figures["triage_other_language_total"] == 50

    alerts = [decode_alert(value) for value, _ in read_all(settings, settings.alerts_topic)]
    assert {alert.tweet.text for alert in alerts} == expected.keys()
    assert len(alerts) == len(expected)
    for alert in alerts:
        assert alert.probability == pytest.approx(expected[alert.tweet.text], abs=1e-5)
    assert len({alert.alert_id for alert in alerts}) == len(alerts)
    assert set(map(source_of, alerts)) < set(identifiers)
    assert {alert.source.index for alert in alerts} == {None, 0, 1, 2, 3, 4}

    dead = read_all(settings, settings.dead_letters_topic)
    assert sorted(value for value, _ in dead) == sorted(v for v in values if v in BROKEN)
    for value, headers in dead:
        place = "-".join(
            headers[f"triage-source-{part}"].decode() for part in ("topic", "partition", "offset")
        )
        assert values[identifiers.index(place)] == value


def test_kill_and_restart_lose_and_double_nothing(
    kafka: LocalKafka, trained: Trained, tmp_path: Path
) -> None:
    settings = settings_of(kafka, "killed")
    environment = environment_of(settings, trained) | {
        "TRIAGE_BATCH_SIZE": "50",
        "TRIAGE_SESSION_TIMEOUT_MS": "6000",
        "TRIAGE_THRESHOLD": "0.000001",  # every tweet becomes an alert
    }
    texts = some_texts(6000, seed=3)
    identifiers: list[str] = []
    with running(environment, tmp_path / "first") as worker:
        identifiers += publish(settings, [text.encode() for text in texts[:3000]])
        wait_for(lambda: worker.consumed() > 500)
        worker.process.kill()
    with running(environment, tmp_path / "second") as worker:
        identifiers += publish(settings, [text.encode() for text in texts[3000:]])
        wait_for(lambda: worker.consumed() > 500)
        assert worker.stop(signal.SIGTERM) == 0
        before = worker.log()
    assert "stopped" in before
    with running(environment, tmp_path / "third") as worker:
        wait_for(lambda: len(read_all(settings, settings.alerts_topic)) >= 6000, every=1)
        assert worker.stop(signal.SIGINT) == 0
    alerts = [decode_alert(value) for value, _ in read_all(settings, settings.alerts_topic)]
    assert sorted(map(source_of, alerts)) == sorted(identifiers)


@pytest.mark.slow
def test_two_members_share_the_partitions(
    kafka: LocalKafka, trained: Trained, tmp_path: Path
) -> None:
    settings = settings_of(kafka, "shared", partitions=4)
    environment = environment_of(settings, trained)
    values = [text.encode() for text in some_texts(2000, seed=4)]
    with (
        running(environment, tmp_path / "one") as one,
        running(environment, tmp_path / "two") as two,
    ):

        def both_consume() -> bool:
            publish(settings, values)
            return min(one.consumed(), two.consumed()) > 0

        wait_for(both_consume)
        assert one.stop() == 0
        assert two.stop() == 0


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"TRIAGE_INPUT_TOPIC": "no.such"}, 6, "has no topic no.such"),
        (
            {"TRIAGE_MODEL_ALIAS": "no-such"},
            5,
            "no version or alias 'no-such': expected one",
        ),
        ({"TRIAGE_BATCH_SIZE": "many"}, 2, "TRIAGE_BATCH_SIZE='many': expected a whole number"),
        ({"TRIAGE_BATCHSIZE": "1"}, 2, "TRIAGE_BATCHSIZE is not a setting"),
        ({"TRIAGE_METRICS_ADDRESS": "192.0.2.1"}, 2, "TRIAGE_METRICS_ADDRESS='192.0.2.1'"),
        ({"TRIAGE_REGISTRY": "ftp:x"}, 2, "TRIAGE_REGISTRY='ftp:x': expected file:FOLDER"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    kafka: LocalKafka,
    trained: Trained,
    tmp_path: Path,
    change: dict[str, str],
    code: int,
    message: str,
) -> None:
    settings = settings_of(kafka, "wrong")
    worker = Worker(environment_of(settings, trained) | change, tmp_path / "log")
    assert worker.process.wait(60) == code
    assert "Traceback" not in worker.log()
    errors = [line for line in worker.log().splitlines() if "INFO" not in line]
    assert len(errors) == 1
    assert errors[0].startswith("error: settings: ") or " CRITICAL " in errors[0]
    assert message in errors[0]


@pytest.mark.slow
def test_a_broker_that_hangs_costs_time_alone(
    kafka: LocalKafka, trained: Trained, tmp_path: Path
) -> None:
    settings = settings_of(kafka, "hanging")
    environment = environment_of(settings, trained) | {
        "TRIAGE_BATCH_SIZE": "4",  # so that it is not done before its broker hangs
        "TRIAGE_THRESHOLD": "0.000001",  # every tweet becomes an alert
    }
    broker = broker_process(kafka)
    with running(environment, tmp_path / "log") as worker:
        identifiers = publish(settings, [text.encode() for text in some_texts(3000, seed=5)])
        wait_for(lambda: worker.consumed() > 100)
        broker.suspend()
        try:
            time.sleep(13)  # longer than a request waits, and than a transaction may last
        finally:
            broker.resume()
        # Not the worker's own count, which lacks a batch whose commit it was not told of.
        wait_for(lambda: len(read_all(settings, settings.alerts_topic)) >= len(identifiers), 180)
        assert worker.stop() == 0
        assert "trying again" in worker.log()
    alerts = [decode_alert(value) for value, _ in read_all(settings, settings.alerts_topic)]
    assert sorted(map(source_of, alerts)) == sorted(identifiers)

"""The tweet replayer of compose.yaml publishes the sample's tweets, and some broken records."""

import csv
import os
import signal
import subprocess
from pathlib import Path

import pytest

from shared.errors import RecordError
from tests.conftest import ROOT, SAMPLE
from tests.deploy.kafka_tools import install_tools
from tests.kafka.processes import read_all, settings_of, wait_for
from worker.demo.local_kafka import LocalKafka
from worker.messages.decode import Decoded, Decoder
from worker.messages.tweet import Tweet


def decoded(value: bytes) -> Decoded | RecordError:
    try:
        return Decoder()(value)
    except RecordError as error:
        return error


@pytest.mark.slow
def test_it_replays_the_sample(kafka: LocalKafka, tmp_path: Path) -> None:
    settings = settings_of(kafka, "replayed", partitions=1)
    install_tools(tmp_path)
    replayer = subprocess.Popen(
        ["sh", ROOT / "deploy" / "compose" / "replay.sh", SAMPLE],
        env=os.environ
        | {
            "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
            "TRIAGE_KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "TRIAGE_INPUT_TOPIC": settings.input_topic,
            "TWEETS_PER_SECOND": "1000",
        },
        start_new_session=True,
    )
    try:
        wait_for(lambda: len(read_all(settings, settings.input_topic)) > 700, 120, 0.5)
    finally:
        os.killpg(replayer.pid, signal.SIGTERM)
        replayer.wait()
    records = [decoded(value) for value, _ in read_all(settings, settings.input_topic)]
    with SAMPLE.open(newline="", encoding="utf-8") as file:
        texts = [row["text"].replace("\n", " ") for row in csv.DictReader(file)]
    assert len(texts) == 640  # after which it begins anew
    for number, (record, text) in enumerate(zip(records, texts + texts, strict=False)):
        if number % 640 % 160 == 159:
            assert isinstance(record, RecordError)
        else:
            assert isinstance(record, Tweet)
            assert record.text == text
            assert record.created_at is not None

"""`triage-worker ingest` as a process, against a real Kafka."""

import gzip
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kafka.processes import environment_of, read_all, settings_of, wait_for
from worker.demo.local_kafka import LocalKafka
from worker.settings import Settings

LINES = [json.dumps({"id": n, "text": f"flood {n}"}).encode() for n in range(5000)]


def ingest(settings: Settings, cache: Path, *arguments: str, lines: bytes = b"") -> str:
    done = subprocess.run(
        [sys.executable, "-m", "worker.cli", "ingest", *arguments],
        input=lines,
        stdout=subprocess.PIPE,
        env=environment_of(settings) | {"TRIAGE_CACHE": str(cache)},
        check=True,
    )
    return done.stdout.decode()


@pytest.mark.parametrize(
    "delivery", ["exactly-once", pytest.param("at-least-once", marks=pytest.mark.slow)]
)
def test_it_continues_after_it_was_killed(kafka: LocalKafka, tmp_path: Path, delivery: str) -> None:
    settings = settings_of(kafka, f"ingest-{delivery}")
    path = tmp_path / "archive.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n".join(LINES)))
    environment = environment_of(settings) | {"TRIAGE_CACHE": str(tmp_path)}
    environment["TRIAGE_DELIVERY"] = delivery
    command = [sys.executable, "-m", "worker.cli", "ingest", str(path), "--rate", "500"]
    killed = subprocess.Popen(command, env=environment)
    try:
        wait_for(lambda: len(read_all(settings, settings.input_topic)) > 200, 60, 0.2)
    finally:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    del command[-2:]
    shown = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout
    assert b"lines were sent before" in shown
    values = [value for value, _ in read_all(settings, settings.input_topic)]
    assert set(values) == set(LINES)
    assert len(values) - len(LINES) in (0, 50)  # the chunk whose position was not written yet


def test_standard_input(kafka: LocalKafka, tmp_path: Path) -> None:
    settings = settings_of(kafka, "ingest-stdin")
    shown = ingest(settings, tmp_path, lines=b"\n".join(LINES[:100]))
    assert shown == f"standard input: 100 records sent to {settings.input_topic}\n"
    assert sorted(v for v, _ in read_all(settings, settings.input_topic)) == sorted(LINES[:100])

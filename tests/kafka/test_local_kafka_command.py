"""`triage-worker kafka` runs a Kafka with the topics, and leaves nothing behind."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from kafka import KafkaAdminClient

from tests.kafka.processes import wait_for
from worker.demo.local_kafka import hold_port


def test_a_local_kafka_runs_until_it_is_told_to_stop(tmp_path: Path) -> None:
    with hold_port() as held:
        port = held.getsockname()[1]
    log = tmp_path / "log"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TRIAGE_")}
    command = [sys.executable, "-m", "worker.cli", "kafka", "--partitions", "2"]
    with log.open("wb") as output:
        program = subprocess.Popen(
            [*command, "--port", str(port)],
            env=environment | {"TMPDIR": str(tmp_path)},
            stdout=output,
            stderr=output,
        )
    try:
        wait_for(lambda: "Ctrl-C" in log.read_text() or program.poll() is not None)
        assert program.poll() is None, log.read_text()
        admin = KafkaAdminClient(bootstrap_servers=f"127.0.0.1:{port}")
        topics = {topic["name"]: len(topic["partitions"]) for topic in admin.describe_topics()}
        admin.close()
        names = ("tweets.raw", "tweets.alerts", "tweets.dead-letters", "tweets.labels")
        assert topics == dict.fromkeys(names, 2)
        program.send_signal(signal.SIGINT)
        assert program.wait(30) == 0, log.read_text()
    finally:
        program.kill()
        program.wait()
    assert list(tmp_path.iterdir()) == [log]


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "worker.cli", "kafka", "--port", str(port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (
        2,
        f"error: port {port} cannot be used: Address already in use; "
        "choose another one with --port\n",
    )

"""What an operator sees while a worker waits, pauses or hangs, and that it goes on."""

import os
import re
import select
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shared.registry.folder import FolderRegistry
from tests.conftest import Trained
from tests.kafka.processes import (
    Worker,
    broker_process,
    environment_of,
    read_all,
    settings_of,
    wait_for,
)
from tests.kafka.test_worker import publish
from worker.demo.local_kafka import LocalKafka

OK = (200, "ok\n")
LOGS = re.compile(r"^thread MainThread:\n(?:  .*\n)*?  .*logging/__init__\.py:", re.MULTILINE)
"""The main thread's calls in a page, from the outermost to the first that logs."""


@pytest.mark.slow
def test_a_worker_waits_for_kafka_and_says_so(
    own_kafka: LocalKafka, trained: Trained, tmp_path: Path
) -> None:
    settings = settings_of(own_kafka, "waiting")
    environment = environment_of(settings, trained) | {"TRIAGE_THRESHOLD": "0.000001"}
    own_kafka.kill_broker(1)
    worker = Worker(environment, tmp_path / "log")
    try:
        wait_for(lambda: "trying again" in worker.log())
        where = f"Kafka at {settings.kafka_bootstrap_servers} cannot be used"
        assert where in worker.log()
        status, reason = worker.page("/readyz")
        assert status == 503
        assert f"kafka: {where}" in reason
        assert worker.page("/healthz") == OK
        own_kafka.start_broker(1)
        own_kafka.wait_for_broker(1)
        worker.wait_until_consuming()
        publish(settings, [b"forest fire"])
        wait_for(lambda: worker.consumed() == 1)
        wait_for(lambda: worker.page("/readyz") == OK)

        broker = broker_process(own_kafka)
        broker.suspend()
        try:
            wait_for(lambda: worker.page("/readyz")[0] == 503)
            assert worker.page("/readyz")[1].startswith("kafka: Kafka: look for the ends of the ")
            assert worker.page("/healthz") == OK
        finally:
            broker.resume()
        wait_for(lambda: worker.page("/readyz") == OK)
        publish(settings, [b"forest fire"])
        wait_for(lambda: worker.consumed() == 2)
        assert worker.metrics()["triage_retries_total"] >= 2
        assert worker.stop() == 0
    finally:
        worker.process.kill()
        worker.process.wait()
    assert len(read_all(settings, settings.alerts_topic)) == 2


class Pipe:
    """Takes a process' log into a file, except while it is full."""

    def __init__(self, log: Path) -> None:
        self._read, self.write = os.pipe()
        self._flows, self._ended = threading.Event(), threading.Event()
        self._flows.set()
        self._thread = threading.Thread(target=self._copy, args=(log,))
        self._thread.start()

    def _copy(self, log: Path) -> None:
        while not self._ended.is_set():
            self._flows.wait()
            if select.select([self._read], [], [], 0.05)[0] and self._flows.is_set():
                with log.open("ab") as file:
                    file.write(os.read(self._read, 1 << 16).replace(b"\0", b""))

    @contextmanager
    def full(self) -> Iterator[None]:
        """Fill the pipe while nobody reads, so that the next write would block."""
        self._flows.clear()
        time.sleep(0.2)
        # Opened anew, so that only our own end does not wait.
        own = os.open(f"/proc/self/fd/{self.write}", os.O_WRONLY | os.O_NONBLOCK)
        for size in (1 << 12, 1):
            try:
                while True:
                    os.write(own, bytes(size))
            except BlockingIOError:
                pass
        os.close(own)
        try:
            yield
        finally:
            self._flows.set()

    def close(self) -> None:
        self._flows.set()
        self._ended.set()
        self._thread.join()
        os.close(self._read)
        os.close(self.write)


@pytest.mark.slow
def test_a_loop_that_hangs_is_unhealthy_and_it_is_said_where(
    kafka: LocalKafka, trained: Trained, tmp_path: Path
) -> None:
    """Whoever takes its log has stopped, so that the loop hangs when it has something to say."""
    registry = FolderRegistry(tmp_path / "registry")
    for name in ("LSTM", "Vanilla-Feedforward-NN"):
        registry.register(trained.bundles / name)
    registry.promote("1")
    settings = settings_of(kafka, "hangs")
    environment = environment_of(settings) | {
        "TRIAGE_REGISTRY": registry.url,
        "TRIAGE_CACHE": str(tmp_path / "cache"),
        "TRIAGE_RELOAD_SECONDS": "0.2",
        "TRIAGE_STALL_SECONDS": "3",
        "TRIAGE_BATCH_SIZE": "100",
    }
    pipe = Pipe(tmp_path / "log")
    worker = Worker(environment, tmp_path / "log", pipe.write)
    try:
        worker.wait_until_consuming()
        wait_for(lambda: worker.page("/readyz") == OK)
        assert worker.page("/healthz") == OK
        with pipe.full():
            registry.promote("2")
            # A slow machine's loop may be late for another reason before that.
            wait_for(lambda: LOGS.search(worker.page("/healthz")[1]) is not None)
            status, reason = worker.page("/healthz")
            assert status == 503
            assert reason.startswith("no turn of the loop for ")
            (main,) = LOGS.findall(reason)
            assert "worker/service.py" in main
            assert worker.metrics()["triage_healthy"] == 0
            publish(settings, [b"forest fire"])
            time.sleep(3)  # until whoever watches has looked, too, and waits to say so
        wait_for(lambda: worker.consumed() == 1)
        wait_for(lambda: worker.page("/healthz") == OK)
        wait_for(lambda: "healthy again" in worker.log())
        assert "ERROR unhealthy: no turn of the loop for " in worker.log()
        assert worker.metrics()["triage_healthy"] == 1
        assert worker.stop() == 0
    finally:
        worker.process.kill()
        worker.process.wait()
        pipe.close()

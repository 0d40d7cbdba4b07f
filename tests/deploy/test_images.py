"""The images, really built: what is in them, and that a worker does its work in one."""

import json
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from tests.conftest import SAMPLE, Trained
from tests.deploy.images import Images, need_buildah
from tests.kafka.processes import environment_of, read_all, settings_of, wait_for
from worker.demo.local_kafka import LocalKafka, hold_port
from worker.kafka.publisher import Publisher
from worker.kafka.records import Message

pytestmark = [pytest.mark.release, pytest.mark.timeout(1800)]

USER = 10001
LARGEST_CPU_IMAGE = 600_000_000
"""Bytes on disk. It has 538 million, of which 205 are the base."""
TWEET = b"Forest fire near La Ronge, two villages evacuated"


@pytest.fixture(scope="module")
def images() -> Iterator[Images]:
    need_buildah()
    folder = Path(tempfile.mkdtemp(prefix="triage-images-", dir="/var/tmp"))  # not a tmpfs
    yield Images(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def cpu(images: Images) -> str:
    return images.build("cpu")


@pytest.fixture
def port() -> Iterator[int]:
    with hold_port() as held:
        yield held.getsockname()[1]


def test_the_cpu_image_is_small(images: Images, cpu: str) -> None:
    size = images.size(cpu)
    print(f"{size:,} bytes")
    assert size <= LARGEST_CPU_IMAGE


def test_the_image_runs_the_worker_without_privileges(
    images: Images, cpu: str, tmp_path: Path
) -> None:
    configuration = json.loads(images.configuration(cpu))["OCIv1"]["config"]
    assert configuration["User"] == f"{USER}:{USER}"
    assert configuration["Entrypoint"] == ["tini", "--", "triage-worker"]
    assert configuration["StopSignal"] == "SIGTERM"
    log = tmp_path / "log"
    done = images.start(cpu, log, ["triage-worker", "--version"]).wait(120)
    assert done == 0, log.read_text()
    assert log.read_text().strip()


def test_the_desk_s_image_runs_its_program(images: Images, tmp_path: Path) -> None:
    name = images.build("desk")
    print(f"{images.size(name):,} bytes")
    configuration = json.loads(images.configuration(name))["OCIv1"]["config"]
    assert configuration["User"] == f"{USER}:{USER}"
    assert configuration["Cmd"] == ["desk"]
    log = tmp_path / "log"
    done = images.start(name, log, ["triage-worker", "desk", "--help"]).wait(120)
    assert done == 0, log.read_text()
    assert "triage-worker desk" in log.read_text()


def test_the_trainer_trains_and_registers_a_model_in_its_image(
    images: Images, tmp_path: Path
) -> None:
    name = images.build("trainer")
    print(f"{images.size(name):,} bytes")
    log, inside = tmp_path / "log", "/labelled.csv"
    # The image's volume is not mounted here, so one container does both.
    script = f"triage-trainer train --data {inside} --recipe article && triage-trainer list"
    running = images.start(name, log, ["sh", "-c", script], volumes={SAMPLE: inside})
    assert running.wait(300) == 0, log.read_text()
    listing = log.read_text().rpartition("version aliases")[2]
    assert "candidate" in listing


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_a_worker_does_its_work_in_its_image(
    target: str, images: Images, kafka: LocalKafka, trained: Trained, port: int, tmp_path: Path
) -> None:
    name = images.build(target)
    print(f"{images.size(name):,} bytes")
    registry = tmp_path / "registry"
    shutil.copytree(trained.registry.folder, registry)
    subprocess.run(["chmod", "-R", "a+rX", registry], check=True)
    settings = settings_of(kafka, "image")
    environment = environment_of(settings)
    ours = {k: v for k, v in environment.items() if k.startswith("TRIAGE_")}
    ours = {k: v for k, v in ours.items() if k not in ("TRIAGE_REGISTRY", "TRIAGE_CACHE")}
    ours["TRIAGE_METRICS_PORT"] = str(port)
    log = tmp_path / "log"
    command = ["tini", "--", "triage-worker", "run"]
    running = images.start(name, log, command, ours, {registry: "/var/lib/triage/registry"})
    try:
        wait_for(lambda: "consuming" in log.read_text() or running.poll() is not None, 120)
        assert running.poll() is None, log.read_text()
        wait_for(lambda: is_ready(port))
        with closing(Publisher(settings)) as publisher:
            publisher.publish([Message(settings.input_topic, None, TWEET, [])])
        wait_for(lambda: len(read_all(settings, settings.alerts_topic)) == 1)
        (tini,) = (process for process in processes(running) if process.name() == "tini")
        tini.terminate()  # not buildah, which would not pass the signal on
        assert running.wait(60) == 0, log.read_text()
        assert log.read_text().splitlines()[-1].endswith("INFO stopped")
    finally:
        for process in processes(running):
            process.kill()
        running.wait()


def processes(running: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return what runs in the container, and buildah's own children."""
    if running.poll() is not None:
        return []
    return psutil.Process(running.pid).children(recursive=True)


def is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz"):
            return True
    except (urllib.error.URLError, ConnectionError):
        return False

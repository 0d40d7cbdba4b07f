"""Demonstration: run the whole system on this machine, from labelled tweets to alerts.

It starts a real Kafka, trains and promotes a model with `triage-trainer`, starts
`triage-worker run` and `triage-worker alerts`, replays the tweets that training held out together
with some broken records, and prints a summary.
"""

import contextlib
import csv
import importlib.util
import itertools
import json
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import msgspec
from prometheus_client.parser import text_string_to_metric_families
from rich import box
from rich.table import Table
from rich.text import Text

from shared.console import Console, check_writable
from shared.errors import DataError, DependencyError, UsageError
from worker.alerts import alert_line
from worker.demo.local_kafka import LocalKafka
from worker.kafka.publisher import Publisher
from worker.kafka.records import Message
from worker.kafka.topics import create_topics
from worker.messages.alert import Alert, decode_alert
from worker.settings import Settings, worker_topics

SAMPLE = Path(__file__).parent / "demo_tweets.csv"

_PACED = 100
"""Tweets that are replayed slowly enough to read. The others follow at full speed."""
_PER_SECOND = 40
_AT_FULL_SPEED = 10_000
_AT_A_SLOW_PACE = 3
"""Tweets per second while people look at the desk."""
_BROKEN = (
    b'{"id": 1, "text": "cut in the midd',
    b'{"id": 2, "text": 42}',
    b'{"id": 3, "user": {"screen_name": "nobody"}}',
    b"\xff\xfe not UTF-8",
    b'{"id": 4, "text": "   "}',
)
_NEXT = (
    "This model was trained on 640 tweets. Trained on the published data set, it decides 82 % of\n"
    "the test tweets correctly. Next:\n"
    '  uv run triage-trainer train --data "$(uv run triage-trainer fetch-data)"  # published set\n'
    "  uv run triage-worker kafka  # runs a Kafka on this machine\n"
    "  uv run triage-worker run    # runs a worker\n"
)


_Labels = dict[tuple[int, int], bool | None]
"""Labels of records by partition and offset; None for a broken record."""


class _Replayed(msgspec.Struct, frozen=True):
    """A record to replay. `relevant` is its label, or None for a broken record."""

    value: bytes
    relevant: bool | None


def demo(
    data: Path | None, picture: Path | None, columns: Mapping[str, str], *, desk: bool = False
) -> None:
    """Run the demonstration, and stop every process that it started.

    Args:
        data: labelled tweets, as `triage-trainer train` reads them; None for the sample.
        picture: the SVG file that receives a picture of the output, or None.
        columns: options of `triage-trainer train` that say how to read `data`, by name.
        desk: serve the desk, and replay tweets at a slow pace until an interruption.

    Raises:
        UsageError: if a file cannot be read or written, or the desk is not installed.
        DataError: if a model cannot be trained on `data`.
        DependencyError: if Kafka or one of the programs fails.
    """
    if data is not None and not data.is_file():
        raise UsageError(f"--data {data}: expected a file")
    if data is None and columns:
        raise UsageError(f"--{next(iter(columns)).replace('_', '-')} goes with --data")
    if desk and importlib.util.find_spec("starlette") is None:
        raise UsageError("--desk needs the package starlette: install tweet-triage[desk]")
    if picture is not None:
        try:
            check_writable(picture)
        except DataError as error:
            raise UsageError(f"--picture {picture}: expected a file that can be written") from error
    width = None if sys.stdout.isatty() and picture is None else 100
    console = Console(record=picture is not None, highlight=False, width=width)
    started = time.monotonic()
    for number in (signal.SIGINT, signal.SIGTERM):  # both stop it and every process it started
        signal.signal(number, signal.default_int_handler)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="triage-demo-")))
        replay_on = _demo(data or SAMPLE, columns, folder, console, stack, desk=desk)
        if desk:
            replay_on()
        console.print(f"[dim]{time.monotonic() - started:.0f} s in all; stopping[/]")
        console.print(_NEXT if data is None else "")
    if picture is not None:
        console.save_svg(str(picture), title="triage-worker demo")


def _demo(
    data: Path,
    columns: Mapping[str, str],
    folder: Path,
    console: Console,
    stack: contextlib.ExitStack,
    *,
    desk: bool,
) -> Callable[[], None]:
    """Run the demonstration, and return the function that continues until an interruption."""
    kafka = LocalKafka()
    stack.callback(kafka.stop)
    settings = Settings(kafka_bootstrap_servers=kafka.bootstrap_servers)
    programs = _Programs(folder, settings, console.width)
    stack.callback(programs.end)
    held_out = folder / "held_out.csv"

    _say(console, "triage-trainer train", f"trains on {data.name} while a Kafka starts")
    failed: list[DependencyError] = []
    starting = threading.Thread(target=_start, args=(kafka, failed, programs.end))
    starting.start()
    stack.callback(starting.join)
    options = [f"--{name.replace('_', '-')}={value}" for name, value in columns.items()]
    try:
        trained = programs.call(
            "trainer",
            "train",
            f"--data={data.resolve()}",
            f"--test-out={held_out}",
            "--recipe=tuned",  # the default for small data takes minutes
            *options,
        )
    except DependencyError as error:
        if failed:
            raise failed[0] from error
        raise
    console.print(Text.from_ansi(trained))
    _say(console, "triage-trainer promote candidate", "makes it the model of all workers")
    console.print(Text.from_ansi(programs.call("trainer", "promote", "candidate")))
    starting.join()
    if failed:
        raise failed[0]
    create_topics(settings, dict.fromkeys(worker_topics(settings), 2))

    alerts: queue.Queue[tuple[float, Alert]] = queue.Queue()
    subscriber = programs.start("worker", "alerts", "--json", "--from-beginning")
    threading.Thread(target=_read_alerts, args=(subscriber.stdout, alerts), daemon=True).start()
    _say(
        console,
        "triage-worker run",
        f"joins its consumer group on Kafka at {kafka.bootstrap_servers}",
    )
    metrics = _start_worker(programs, console)
    address = _start_desk(programs, console) if desk else ""
    publisher = Publisher(settings)
    stack.callback(publisher.close)

    replayed = _records(held_out)
    _say(console, "triage-worker alerts", f"prints the alerts of {_PACED} tweets as they come")
    labels: _Labels = {}
    received: list[tuple[float, Alert]] = []
    paced = replayed[:_PACED]
    for start in range(0, len(paced), _PER_SECOND // 5):
        labels |= _publish(publisher, settings.input_topic, paced[start : start + _PER_SECOND // 5])
        received += _show(alerts, console, 0.2)
    figures = _wait_until_consumed(metrics, len(labels), programs)
    received += _show(alerts, console, 0.5)
    latencies = sorted(
        moment - alert.source.timestamp.timestamp()
        for moment, alert in received
        if alert.source.timestamp
    )

    rest = replayed[_PACED:] or replayed
    burst = (rest * -(-_AT_FULL_SPEED // len(rest)))[: max(_AT_FULL_SPEED, len(rest))]
    _say(console, "triage-worker run", f"processes {len(burst)} more at full speed")
    before = time.time()
    labels |= _publish(publisher, settings.input_topic, burst)
    figures = _wait_until_consumed(metrics, len(labels), programs)
    rate = len(burst) / (figures["triage_last_progress_timestamp_seconds"] - before)
    expected = int(figures["triage_alerts_total"])
    deadline = time.monotonic() + 30
    while len(received) < expected and time.monotonic() < deadline:
        received += _drain(alerts, 0.2)
    console.print(_summary(figures, labels, [alert for _, alert in received], rate, latencies))

    def replay_on() -> None:
        _say(console, "triage-worker desk", f"is at {address} until Ctrl-C")
        console.print("Tweets go on at a slow pace. Label some: press r, n, s or u.")
        with contextlib.suppress(KeyboardInterrupt):
            for start in itertools.count(0, _AT_A_SLOW_PACE):
                some = [replayed[n % len(replayed)] for n in range(start, start + _AT_A_SLOW_PACE)]
                _publish(publisher, settings.input_topic, some)
                for _ in _drain(alerts, 1.0):
                    pass

    return replay_on


class _Programs:
    """Start the programs as a user does, and stop them at the end."""

    def __init__(self, folder: Path, settings: Settings, columns: int) -> None:
        self._folder = folder
        self._running: list[subprocess.Popen[str]] = []
        own = {name: value for name, value in os.environ.items() if not name.startswith("TRIAGE_")}
        self._environment = own | {
            "TRIAGE_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
            "TRIAGE_REGISTRY": "file:registry",
            "TRIAGE_CACHE": "cache",
            "TRIAGE_METRICS_ADDRESS": "127.0.0.1",
            "TRIAGE_METRICS_PORT": "0",
            "TRIAGE_DESK_PORT": "0",
            "COLUMNS": str(columns),
        }

    def call(self, package: str, *arguments: str) -> str:
        """Run a program to its end and return its output. Its progress is visible meanwhile."""
        process = self._popen(package, arguments, stderr=None)
        output, _ = process.communicate()
        if process.returncode:
            kind = DataError if process.returncode == DataError.exit_code else DependencyError
            raise kind(f"triage-{package} {arguments[0]} ended with exit code {process.returncode}")
        return output.rstrip()

    def start(self, package: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a program that runs until the demonstration ends. Its log goes to a file."""
        with self.log(arguments[0]).open("w") as log:
            return self._popen(package, arguments, stderr=log)

    def log(self, command: str) -> Path:
        """Return the log file of a started program."""
        return self._folder / f"{command}.log"

    def _popen(
        self, package: str, arguments: Sequence[str], stderr: IO[str] | None
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", f"{package}.cli", *arguments],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,  # Ctrl-C goes to the demonstration, which stops them
        )
        self._running.append(process)
        return process

    def end(self) -> None:
        """Stop all programs that still run."""
        for process in self._running:
            process.terminate()
        for process in self._running:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _start(kafka: LocalKafka, failed: list[DependencyError], give_up: Callable[[], object]) -> None:
    """Start Kafka. If that fails, keep the error and give up, so that nobody waits for training."""
    try:
        kafka.start()
    except DependencyError as error:
        failed.append(error)
        give_up()


def _start_worker(programs: _Programs, console: Console) -> str:
    """Start the worker, wait until it consumes, and return the URL of its metrics."""
    worker = programs.start("worker", "run")
    log = programs.log("run")
    with console.status("loading the bundle"):
        while "consuming" not in log.read_text():
            if worker.poll() is not None:
                raise DependencyError(f"triage-worker run ended: {log.read_text()}")
            time.sleep(0.1)
    for line in log.read_text().splitlines():
        console.print(f"[dim]{line}[/]", markup=True)
    found = re.search(r"http://\S+/metrics", log.read_text())
    if found is None:
        raise DependencyError(f"triage-worker run named no metrics: {log.read_text()}")
    return found[0]


def _start_desk(programs: _Programs, console: Console) -> str:
    """Start the desk and return its address, once it answers."""
    _say(console, "triage-worker desk", "serves the pages of incidents and labels")
    started = programs.start("worker", "desk")
    assert started.stdout is not None  # noqa: S101  # a pipe, as of all programs
    line = started.stdout.readline().strip()
    if "http://" not in line:
        raise DependencyError(f"triage-worker desk ended: {programs.log('desk').read_text()}")
    console.print(line)
    return line.rsplit(" ", 1)[1]


def _records(held_out: Path) -> list[_Replayed]:
    """Read the held-out tweets, put them into several formats, and add broken records."""
    records = []
    with held_out.open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file)):
            relevant = row["choose_one"] == "Relevant"
            records.append(_Replayed(_in_some_format(number, row["text"]), relevant))
            if number % 40 == 20:
                records.append(_Replayed(_BROKEN[number // 40 % len(_BROKEN)], None))
    return records


def _in_some_format(number: int, text: str) -> bytes:
    identifier = str(10**18 + number)
    made: tuple[Any, ...] = (
        {"id_str": identifier, "full_text": text, "user": {"screen_name": f"user{number}"}},
        {"data": {"id": identifier, "text": text, "author_id": str(number)}},
        {"id": identifier, "text": text},
    )
    if number % 4 == 3 and not text.lstrip().startswith("{"):
        return text.encode()
    return json.dumps(made[number % 3]).encode()


def _publish(publisher: Publisher, topic: str, records: Sequence[_Replayed]) -> _Labels:
    """Publish records and return their labels by partition and offset."""
    coordinates = publisher.publish(Message(topic, None, record.value, []) for record in records)
    relevant = [record.relevant for record in records]
    return dict(zip(coordinates, relevant, strict=True))


def _read_alerts(lines: IO[str] | None, alerts: "queue.Queue[tuple[float, Alert]]") -> None:
    for line in lines or ():
        alerts.put((time.time(), decode_alert(line.encode())))


def _drain(
    alerts: "queue.Queue[tuple[float, Alert]]", seconds: float
) -> Iterator[tuple[float, Alert]]:
    deadline = time.monotonic() + seconds
    with contextlib.suppress(queue.Empty):
        while True:
            yield alerts.get(timeout=max(0.001, deadline - time.monotonic()))


def _show(
    alerts: "queue.Queue[tuple[float, Alert]]", console: Console, seconds: float
) -> list[tuple[float, Alert]]:
    shown = []
    for received in _drain(alerts, seconds):
        console.print(alert_line(received[1]), no_wrap=True, overflow="ellipsis")
        shown.append(received)
    return shown


def _wait_until_consumed(metrics: str, count: int, programs: _Programs) -> dict[str, float]:
    """Read the worker's metrics until it has consumed `count` records."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with urllib.request.urlopen(metrics) as answer:  # noqa: S310  # of the worker's log
            families = list(text_string_to_metric_families(answer.read().decode()))
        figures: dict[str, float] = {}
        for family in families:
            for sample in family.samples:
                figures[sample.name] = figures.get(sample.name, 0.0) + sample.value
        if figures["triage_tweets_consumed_total"] >= count:
            return figures
        time.sleep(0.1)
    raise DependencyError(
        f"the worker did not consume {count} records in 60 s: {programs.log('run').read_text()}"
    )


def _summary(
    figures: dict[str, float],
    labels: _Labels,
    alerts: list[Alert],
    rate: float,
    latencies: list[float],
) -> Table:
    consumed, alerted, not_relevant, other, skipped, dead_letters = (
        int(figures[f"triage_{name}_total"])
        for name in (
            *("tweets_consumed", "alerts", "tweets_not_relevant"),
            *("other_language", "skipped_notices", "dead_letters"),
        )
    )
    skipped += other
    found = sum(labels[alert.source.partition, alert.source.offset] is True for alert in alerts)
    relevant = sum(label is True for label in labels.values())
    table = Table("summary", "", box=box.SIMPLE_HEAD)
    sign = "=" if consumed == alerted + not_relevant + skipped + dead_letters else "≠"
    table.add_row("consumed", str(consumed))
    table.add_row(
        f"{sign} alerts + not relevant + skipped + dead letters",
        f"{alerted} + {not_relevant} + {skipped} + {dead_letters}",
    )
    once = "each once" if len({a.alert_id for a in alerts}) == len(alerts) else "some twice"
    table.add_row("alerts that the subscriber received", f"{len(alerts)}, {once}")
    table.add_row(
        "compared with the labels",
        f"precision {found / max(1, len(alerts)):.3f}, recall {found / max(1, relevant):.3f}",
    )
    table.add_row("at full speed", f"{rate:,.0f} tweets per second")
    if latencies:
        table.add_row(
            "from tweet to alert, at 40 tweets per second",
            f"median {1000 * latencies[len(latencies) // 2]:.0f} ms, "
            f"longest {1000 * latencies[-1]:.0f} ms",
        )
    return table


def _say(console: Console, command: str, what: str) -> None:
    console.print(f"\n[bold green]$ {command}[/]  [dim]{what}[/]")

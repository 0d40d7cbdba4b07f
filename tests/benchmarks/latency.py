"""Latency: from a tweet's publication to its alert, at half of the load that a member can take."""

import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from itertools import product
from typing import Any

import numpy as np
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from rich import box
from rich.table import Table

from tests.benchmarks.bench import Bench, fill
from tests.benchmarks.burst import WARM_UP, begin, bursts, generator, members
from tests.benchmarks.watched import look
from tests.kafka.processes import environment_of
from worker.messages.alert import decode_alert
from worker.settings import Settings

_WAITS = (0, 2, 10, 30, 100)
"""Milliseconds."""
_SECONDS = 12
_LEFT_OUT = 2
"""Seconds at the beginning, while the generator and its connections start."""
_TWEETS = 40_000
_FORWARDED = 10
"""The wait at which the load is forwarded without a model, too."""
_AT_ONCE = 1000
"""Alerts that are taken together."""


def measure(bench: Bench, tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """Return latency quantiles in ms by batch wait: medians of the runs, and all runs.

    The load is half of what a burst just before shows a member to take beside broker and generator.
    At one wait the same load is then forwarded without a model, which shows what of it is Kafka's.
    """
    runs: dict[tuple[str, int], list[dict[str, float]]] = {}
    model = list(bench.models)[1]
    for number, wait in product(range(bench.runs), _WAITS):
        tell(f"run {number + 1} of {bench.runs}, {model}, batch wait {wait} ms")
        (most,) = bursts(bench, bench.settings(), model, 1, _TWEETS, 1)
        settings = bench.settings(batch_wait_ms=wait)
        run = _member(bench, settings, model, most.rate / 2)
        runs.setdefault((model, wait), []).append(run)
        if wait == _FORWARDED:
            tell(f"run {number + 1} of {bench.runs}, no model, batch wait {wait} ms")
            settings = bench.settings(batch_wait_ms=wait)
            forwarded = _forwarder(bench, settings, run["rate"], run["alerts"])
            runs.setdefault(("none", wait), []).append(forwarded)
    return [
        {"model": name, "batch_wait_ms": wait, "runs": some}
        | {figure: statistics.median(run[figure] for run in some) for figure in some[0]}
        for (name, wait), some in runs.items()
    ]


def _member(bench: Bench, settings: Settings, model: str, rate: float) -> dict[str, float]:
    tweets = int(rate * _SECONDS)
    with members(bench, settings, model, 1) as workers:
        before = look(workers)
        start, seen = _alerts(bench, settings, tweets, rate)
        after = look(workers)
    published = [decode_alert(value).source.timestamp for _, value in seen]
    moments = [moment.timestamp() for moment in published if moment is not None]
    return _quantiles(start, [now for now, _ in seen], moments) | {
        "rate": rate,
        "alerts": len(seen) / tweets,
        "batch": tweets / (after.batches - before.batches),
        "cpu": (after.cpu - before.cpu) / tweets * 1e6,
    }


def _forwarder(bench: Bench, settings: Settings, rate: float, share: float) -> dict[str, float]:
    tweets = int(rate * _SECONDS)
    command = [sys.executable, "-m", "tests.benchmarks.forwarder"]
    with subprocess.Popen(
        [*command, str(WARM_UP), str(tweets), str(share)],
        env=environment_of(settings),
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        fill(settings, bench.records("distinct", WARM_UP, bench.next_text(WARM_UP)))
        assert process.stdout.readline() == b"ready\n"
        start, seen = _alerts(bench, settings, tweets, rate)
        batches, cpu = process.stdout.readline().split()
    moments = [int(value.partition(b" ")[0]) / 1000 for _, value in seen]
    return _quantiles(start, [now for now, _ in seen], moments) | {
        "rate": rate,
        "alerts": len(seen) / tweets,
        "batch": tweets / int(batches),
        "cpu": float(cpu) / tweets * 1e6,
    }


def _alerts(
    bench: Bench, settings: Settings, tweets: int, rate: float
) -> tuple[float, list[tuple[float, bytes]]]:
    """Publish this many tweets at a rate, and follow their alerts.

    Returns:
        When they began, as Unix time, and their alerts, each with the time when it was seen.
    """
    seen: list[tuple[float, bytes]] = []
    with (
        generator(bench, settings, tweets, rate) as sender,
        closing(_reader(settings)) as reader,
    ):
        while reader.consume(_AT_ONCE, 0.5):  # what the warm-up left
            pass
        gc.freeze()  # or a collection here, of a third of a second, would be told as latency
        start = time.time()
        begin(sender)
        while alerts := _visible(reader):
            now = time.time()
            seen += [(now, alert) for alert in alerts]
    return start, seen


def _quantiles(start: float, seen: list[float], published: list[float]) -> dict[str, float]:
    """Return the quantiles of the times between two moments, in milliseconds."""
    times = [
        (now - moment) * 1000
        for now, moment in zip(seen, published, strict=True)
        if moment > start + _LEFT_OUT
    ]
    quantiles = np.quantile(times, (0.5, 0.99, 0.999)).tolist()
    return dict(zip(("p50", "p99", "p99.9"), quantiles, strict=True))


def _reader(settings: Settings) -> Consumer:
    """Return a reader of alerts that takes little CPU: it stands for another machine."""
    reader = Consumer(
        {
            "bootstrap.servers": settings.kafka_bootstrap_servers,
            "group.id": f"{settings.group_id}-reader",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
    )
    topic = settings.alerts_topic
    partitions = reader.list_topics(topic).topics[topic].partitions
    reader.assign([TopicPartition(topic, n, OFFSET_BEGINNING) for n in partitions])
    return reader


def _visible(reader: Consumer) -> list[bytes]:
    """Return the alerts that became visible, or none after a second without any."""
    first = reader.consume(1, 1)
    messages = first + reader.consume(_AT_ONCE, 0) if first else []
    return [message.value() for message in messages if message.error() is None]


def tables(found: list[dict[str, Any]]) -> list[Table]:
    """Return the results as tables."""
    table = Table(
        *("model", "tweets/s", "TRIAGE_BATCH_WAIT_MS", "p50, ms", "p99", "p99.9", "in a batch"),
        "CPU s / 10⁶",
        box=box.SIMPLE_HEAD,
        title="From publication to the visible alert, at half load",
    )
    for row in found:
        table.add_row(
            *(row["model"], f"{row['rate']:,.0f}", str(row["batch_wait_ms"])),
            *(f"{row[name]:.0f}" for name in ("p50", "p99", "p99.9", "batch", "cpu")),
        )
    return [table]

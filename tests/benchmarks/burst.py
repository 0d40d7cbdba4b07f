"""Burst: members at work while the load generator sends, and what each takes of the cores."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec
import psutil

from tests.benchmarks.bench import Bench, fill
from tests.benchmarks.watched import look, look_at, working
from tests.kafka.processes import Worker, broker_process, environment_of, wait_for
from worker.settings import Settings

WARM_UP = 15_000
"""Tweets that each member has seen when a measurement begins: most of the data's chunks."""


class Burst(msgspec.Struct, frozen=True):
    """What members did with tweets that came as fast as the generator could send them.

    Attributes:
        rate: tweets/s of all members, from the generator's first tweet to the last commit.
        batch: tweets in a batch, on average.
        cores: CPU seconds per second of wall time, of members, broker and generator.
    """

    rate: float
    batch: float
    cores: dict[str, float]


@contextlib.contextmanager
def members(bench: Bench, settings: Settings, model: str, count: int) -> Iterator[list[Worker]]:
    """Yield members that have joined the group, have their partitions, and are warm."""
    with contextlib.ExitStack() as stack:

        def start(number: int) -> Worker:
            log = bench.log(settings).with_suffix(f".{number}.log")
            return stack.enter_context(working(bench.environment(settings, model), log))

        with ThreadPoolExecutor(count) as pool:
            workers = list(pool.map(start, range(count)))
        wait_for(lambda: all(worker.partitions() for worker in workers), 120, every=0.5)
        warm_up = WARM_UP * count
        fill(settings, bench.records("distinct", warm_up, bench.next_text(warm_up)))
        look_at(workers, warm_up)
        yield workers


@contextlib.contextmanager
def generator(
    bench: Bench, settings: Settings, tweets: int, rate: float = 0
) -> Iterator[subprocess.Popen[bytes]]:
    """Yield a load generator with its tweets ready. `begin` starts it."""
    command = [sys.executable, "-m", "tests.benchmarks.generator"]
    process = subprocess.Popen(
        [*command, str(bench.texts), str(bench.next_text(tweets)), str(tweets), str(rate)],
        env=environment_of(settings),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process


def begin(process: subprocess.Popen[bytes]) -> None:
    """Let a generator send."""
    assert process.stdin is not None
    process.stdin.write(b"go\n")
    process.stdin.flush()


def bursts(
    bench: Bench, settings: Settings, model: str, count: int, tweets: int, runs: int
) -> list[Burst]:
    """Measure members with bursts of distinct tweets."""
    with members(bench, settings, model, count) as workers:
        return [burst(bench, settings, workers, tweets) for _ in range(runs)]


def burst(bench: Bench, settings: Settings, workers: Sequence[Worker], tweets: int) -> Burst:
    """Measure members with one burst."""
    with generator(bench, settings, tweets) as sender:
        broker, process = broker_process(bench.kafka), psutil.Process(sender.pid)
        before, cpu_before = look(workers), (_cpu(broker), _cpu(process))
        start = time.time()
        begin(sender)
        sent = cpu_before[1]
        while sender.poll() is None:
            with contextlib.suppress(psutil.Error):
                sent = max(sent, _cpu(process))  # a process that has ended tells 0
            time.sleep(0.05)
        after = look_at(workers, before.consumed + tweets)
    seconds = after.progress - start
    return Burst(
        rate=tweets / seconds,
        batch=tweets / (after.batches - before.batches),
        cores={
            "members": (after.cpu - before.cpu) / seconds,
            "broker": (_cpu(broker) - cpu_before[0]) / seconds,
            "generator": (sent - cpu_before[1]) / seconds,
        },
    )


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)

"""The worker as a contender: `triage-worker run` as a process, measured by its own page."""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import psutil
from kafka import KafkaConsumer, TopicPartition

from tests.benchmarks.bench import Bench
from tests.benchmarks.run import Run
from tests.kafka.processes import Worker, wait_for
from worker.settings import Settings

_PATIENCE = 600
"""Seconds that a machine may be busy with something else."""
_EVERY = 0.5
"""Seconds between two looks at the page, which cost the worker some milliseconds each."""


@contextmanager
def working(environment: dict[str, str], log: Path) -> Iterator[Worker]:
    """Start a worker, yield it once it consumes, and stop it at the end."""
    worker = Worker(environment, log)
    try:
        ends = worker.process.poll
        wait_for(lambda: "consuming" in worker.log() or ends() is not None, _PATIENCE)
        assert ends() is None, worker.log()
        yield worker
        worker.process.terminate()
        worker.process.wait(_PATIENCE)
    finally:
        worker.process.kill()
        worker.process.wait()


class Look(msgspec.Struct, frozen=True):
    """What the pages of some members showed at a moment, in sum.

    Attributes:
        batches: committed.
        progress: Unix time of the last commit.
        resident: bytes.
        steps: seconds by step.
    """

    consumed: float
    alerts: float
    batches: float
    progress: float
    cpu: float
    resident: float
    steps: dict[str, float]


def look(workers: Sequence[Worker]) -> Look:
    """Read the pages."""
    sums: dict[str, float] = {}
    progress = 0.0
    steps: dict[str, float] = {}
    for worker in workers:
        for sample in worker.samples():
            sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
            if sample.name == "triage_step_seconds_sum":
                step = sample.labels["step"]
                steps[step] = steps.get(step, 0.0) + sample.value
            elif sample.name == "triage_last_progress_timestamp_seconds":
                progress = max(progress, sample.value)
    return Look(
        consumed=sums["triage_tweets_consumed_total"],
        alerts=sums["triage_alerts_total"],
        batches=sums["triage_batch_size_records_count"],
        progress=progress,
        cpu=sums["process_cpu_seconds_total"],
        resident=sums["process_resident_memory_bytes"],
        steps=steps,
    )


def look_at(workers: Sequence[Worker], consumed: float) -> Look:
    """Wait until this many tweets are consumed, and return what the pages show."""
    looks = [look(workers)]

    def reached() -> bool:
        looks.append(look(workers))
        return looks[-1].consumed >= consumed

    wait_for(reached, _PATIENCE, every=_EVERY)
    return looks[-1]


def worker_run(bench: Bench, model: str, mix: str, warm_up: int, tweets: int) -> Run:
    """Return a run over a topic that was full when it started."""
    settings = msgspec.structs.replace(
        bench.settings(), input_topic=bench.filled(mix, warm_up + tweets)
    )
    with working(bench.environment(settings, model), bench.log(settings)) as worker:
        created = psutil.Process(worker.process.pid).create_time()
        first = look_at([worker], warm_up)
        last = look_at([worker], warm_up + tweets)
    done = last.consumed - first.consumed
    return Run(
        rate=done / (last.progress - first.progress),
        cpu=(last.cpu - first.cpu) / done * 1e6,
        resident=last.resident / 1e6,
        start_up=first_alert(settings) - created,
        alerts=last.alerts / last.consumed,
        steps={name: (last.steps[name] - first.steps[name]) / done * 1e6 for name in last.steps},
    )


def first_alert(settings: Settings) -> float:
    """Return when the first alert was published, in seconds since 1970."""
    consumer = KafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
    )
    times: list[float] = []
    with closing(consumer):
        topic = settings.alerts_topic
        consumer.assign([TopicPartition(topic, n) for n in consumer.partitions_for_topic(topic)])
        deadline = time.monotonic() + 10
        while not times and time.monotonic() < deadline:
            for records in consumer.poll(timeout_ms=500).values():
                times += [record.timestamp / 1000 for record in records]
    return min(times)

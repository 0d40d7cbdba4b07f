"""The programs as processes, as an engineer runs them, against a real Kafka."""

import os
import re
import signal
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import msgspec
import psutil
from kafka import KafkaConsumer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.conftest import Trained
from worker.demo.local_kafka import LocalKafka
from worker.kafka.topics import create_topics
from worker.messages.alert import Alert
from worker.settings import Settings


def settings_of(kafka: LocalKafka, name: str, partitions: int = 3) -> Settings:
    """Return settings with their own topics, created now. Tweets of any language are scored."""
    settings = Settings(
        kafka_bootstrap_servers=kafka.bootstrap_servers,
        input_topic=f"{name}.raw",
        alerts_topic=f"{name}.alerts",
        dead_letters_topic=f"{name}.dead",
        group_id=name,
        languages="any",  # the sample's halves, put together, make a language of their own
        metrics_address="127.0.0.1",
        metrics_port=0,
    )
    topics = (settings.input_topic, settings.alerts_topic, settings.dead_letters_topic)
    create_topics(settings, dict.fromkeys(topics, partitions))
    return settings


def environment_of(settings: Settings, trained: Trained | None = None) -> dict[str, str]:
    """Return the environment that gives a program these settings."""
    given = {k: v for k, v in os.environ.items() if not k.startswith("TRIAGE_")}
    for name, value in msgspec.structs.asdict(settings).items():
        if value is not None:
            given[f"TRIAGE_{name.upper()}"] = str(value)
    if trained is not None:
        given["TRIAGE_REGISTRY"] = trained.registry.url
        given["TRIAGE_CACHE"] = str(trained.registry.folder.parent / "cache")
    return given


class Worker:
    """`triage-worker run` as a process, with its pages.

    Args:
        log: a file that its log is appended to.
        stderr: where the log goes instead; it should get into the file from there.
    """

    def __init__(self, environment: dict[str, str], log: Path, stderr: int | None = None) -> None:
        self._log = log
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "worker.cli", "run"],
                env=environment,
                stderr=file if stderr is None else stderr,
            )

    def log(self) -> str:
        return self._log.read_text()

    def wait_until_consuming(self) -> None:
        wait_for(lambda: "consuming" in self.log() or self.process.poll() is not None)
        assert self.process.poll() is None, self.log()

    def page(self, path: str) -> tuple[int, str]:
        """Return status and body of a page, such as /readyz."""
        found = re.findall(r"(http://\S+)/metrics", self.log())
        try:
            with urllib.request.urlopen(found[-1] + path) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def samples(self) -> list[Sample]:
        _, text = self.page("/metrics")
        families = text_string_to_metric_families(text)
        return [sample for family in families for sample in family.samples]

    def metrics(self) -> dict[str, float]:
        """Return the sum of each metric over its labels."""
        sums: dict[str, float] = {}
        for sample in self.samples():
            sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
        return sums

    def consumed(self) -> int:
        return int(self.metrics()["triage_tweets_consumed_total"])

    def partitions(self) -> set[int]:
        """Return the partitions that the worker reports lag for, which it updates every 5 s."""
        lags = [s for s in self.samples() if s.name == "triage_consumer_lag_records"]
        return {int(sample.labels["partition"]) for sample in lags}

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(30)


@contextmanager
def running(environment: dict[str, str], log: Path) -> Iterator[Worker]:
    """Yield a worker that consumes. Kill it at the end if it still runs."""
    worker = Worker(environment, log)
    try:
        worker.wait_until_consuming()
        yield worker
    finally:
        worker.process.kill()
        worker.process.wait()


def wait_for(condition: Callable[[], bool], seconds: float = 60, every: float = 0.05) -> None:
    """Wait until a condition holds. Times are in seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(every)


def broker_process(kafka: LocalKafka) -> psutil.Process:
    """Return the process of a local Kafka with one broker."""
    servers = kafka.bootstrap_servers
    for child in psutil.Process().children():
        with suppress(psutil.Error):  # it has ended meanwhile
            command = child.cmdline()
            if "kafka.Kafka" in command and servers in Path(command[-1]).read_text():
                return child
    raise AssertionError(f"no broker runs at {servers}")


def log_of(kafka: LocalKafka, topic: str, partition: int) -> Path:
    """Return the file that holds the first records of a partition."""
    properties = Path(broker_process(kafka).cmdline()[-1]).read_text()
    (folder,) = re.findall(r"^log\.dirs=(.+)$", properties, re.MULTILINE)
    return Path(folder) / f"{topic}-{partition}" / f"{0:020}.log"


def cut_off(folder: Path, offset: int) -> None:
    """Cut a partition's log off before an offset, as a power cut may; its broker does not run."""
    log = max(folder.glob("*.log"))
    data, position = log.read_bytes(), 0
    while position < len(data):
        first, length = struct.unpack_from("!qi", data, position)
        if first >= offset:
            break
        position += struct.calcsize("!qi") + length
    os.truncate(log, position)
    for index in folder.glob("*index"):
        index.unlink()
    (folder.parent / "recovery-point-offset-checkpoint").unlink(missing_ok=True)


def source_of(alert: Alert) -> str:
    """Return topic, partition and offset of an alert's record, without the post's index."""
    return f"{alert.source.topic}-{alert.source.partition}-{alert.source.offset}"


def read_all(settings: Settings, topic: str) -> list[tuple[bytes, dict[str, bytes]]]:
    """Return every committed record that a topic has now: values and headers."""
    consumer = KafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
    )
    with closing(consumer):
        partitions = [TopicPartition(topic, n) for n in consumer.partitions_for_topic(topic)]
        consumer.assign(partitions)
        ends = consumer.end_offsets(partitions)
        records = []
        while any(consumer.position(partition) < end for partition, end in ends.items()):
            for polled in consumer.poll(timeout_ms=200).values():
                records += [(record.value, dict(record.headers)) for record in polled]
    return records

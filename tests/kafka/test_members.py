"""Members come, go and die, and come again under their name, while tweets flow."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import msgspec
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from tests.conftest import Trained
from tests.kafka.processes import Worker, environment_of, settings_of, source_of, wait_for
from worker.demo.local_kafka import LocalKafka
from worker.messages.alert import decode_alert
from worker.settings import Settings

PARTITIONS = (0, 1)


class Traffic:
    """Tweets to every partition, ten a second, and the times at which their alerts are seen.

    Attributes:
        sent: the alert ids that will be, in the order of their tweets.
        seen: alert id and time of each alert.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._quiet = threading.Event()
        self._stop = threading.Event()
        self.sent: list[str] = []
        self.seen: list[tuple[str, float]] = []
        self._threads = [threading.Thread(target=f) for f in (self._publish, self._subscribe)]
        for thread in self._threads:
            thread.start()

    def _publish(self) -> None:
        settings = self._settings
        producer = KafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers)
        with closing(producer):
            while not self._quiet.wait(0.1):
                sent = [
                    producer.send(settings.input_topic, value=b"forest fire", partition=partition)
                    for partition in PARTITIONS
                ]
                places = [future.get(10) for future in sent]
                self.sent += [f"{settings.input_topic}-{p.partition}-{p.offset}" for p in places]

    def _subscribe(self) -> None:
        settings = self._settings
        consumer = KafkaConsumer(
            bootstrap_servers=settings.kafka_bootstrap_servers,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
        )
        with closing(consumer):
            consumer.assign([TopicPartition(settings.alerts_topic, p) for p in PARTITIONS])
            while not self._stop.is_set():
                for records in consumer.poll(timeout_ms=100).values():
                    now = time.monotonic()
                    self.seen += [(source_of(decode_alert(r.value)), now) for r in records]

    def times(self, partition: int) -> list[float]:
        """Return when alerts of a partition's tweets were seen."""
        of = f"{self._settings.input_topic}-{partition}-"
        return [moment for identifier, moment in list(self.seen) if identifier.startswith(of)]

    def longest_gap(self, partition: int, start: float) -> float:
        """Return the longest time in seconds without an alert of a partition, from a moment on."""
        times = [start, *(moment for moment in self.times(partition) if moment > start)]
        return max(b - a for a, b in zip(times, [*times[1:], time.monotonic()], strict=True))

    def finish(self) -> None:
        """Stop publishing, and check that every tweet became one alert."""
        self._quiet.set()
        self._threads[0].join()
        wait_for(lambda: len(self.seen) >= len(self.sent))
        time.sleep(1)  # for one too many
        assert sorted(identifier for identifier, _ in self.seen) == sorted(self.sent)

    def close(self) -> None:
        self._quiet.set()
        self._stop.set()
        for thread in self._threads:
            thread.join()


@contextmanager
def members(environments: list[dict[str, str]], folder: Path) -> Iterator[list[Worker]]:
    """Yield workers that start at the same time, and kill those that still run at the end."""
    workers = [Worker(each, folder / f"log-{n}") for n, each in enumerate(environments)]
    try:
        for worker in workers:
            worker.wait_until_consuming()
        yield workers
    finally:
        for worker in workers:
            worker.process.kill()
            worker.process.wait()


def ready(worker: Worker) -> bool:
    return worker.page("/readyz")[0] == 200


def assigned(worker: Worker) -> int:
    return int(worker.metrics()["triage_assigned_partitions"])


def rebalances(worker: Worker) -> int:
    return int(worker.metrics()["triage_rebalances_total"])


@pytest.mark.slow
def test_partitions_of_a_killed_member_move_on(
    kafka: LocalKafka, trained: Trained, tmp_path: Path
) -> None:
    settings = settings_of(kafka, "members", partitions=len(PARTITIONS))
    environment = environment_of(settings, trained) | {"TRIAGE_THRESHOLD": "0.000001"}
    with members([environment] * 3, tmp_path) as workers, ExitStack() as stack:
        wait_for(lambda: sorted(map(assigned, workers)) == [0, 1, 1])
        wait_for(lambda: all(map(ready, workers)))  # the one in reserve, too
        stack.callback((traffic := Traffic(settings)).close)
        wait_for(lambda: all(len(traffic.times(partition)) > 20 for partition in PARTITIONS))

        killed = next(worker for worker in workers if assigned(worker))
        wait_for(lambda: len(killed.partitions()) == 1)
        (moves,) = killed.partitions()
        (stays,) = set(PARTITIONS) - {moves}
        workers.remove(killed)
        killed.process.kill()
        killed.process.wait()
        died = time.monotonic()
        wait_for(lambda: traffic.times(moves)[-1] > died + 2)
        takeover, stop = traffic.longest_gap(moves, died), traffic.longest_gap(stays, died)
        wait_for(lambda: [assigned(worker) for worker in workers] == [1, 1])

        workers.append(Worker(environment, tmp_path / "log-new"))
        wait_for(lambda: "consuming" in workers[-1].log())
        joins = time.monotonic() - 1
        wait_for(lambda: ready(workers[-1]))
        wait_for(lambda: all(traffic.times(p)[-1] > time.monotonic() - 1 for p in PARTITIONS))
        joining = max(traffic.longest_gap(partition, joins) for partition in PARTITIONS)
        assert sorted(map(assigned, workers)) == [0, 1, 1]
        traffic.finish()
        assert [worker.stop() for worker in workers] == [0, 0, 0]
    print(  # `-n 0 -s` shows it
        f"kill -9 of a member: its partition stood still for {takeover:.1f} s, the other one "
        f"for {stop:.1f} s; while a member joined, they stood still for {joining:.1f} s at most"
    )
    assert takeover < 30  # up to 20 s until Kafka aborts a transaction that was left open
    assert stop < 10
    assert joining < 10


@pytest.mark.slow
def test_a_static_member_comes_back_to_its_partition(
    kafka: LocalKafka, trained: Trained, tmp_path: Path
) -> None:
    settings = msgspec.structs.replace(
        settings_of(kafka, "static", partitions=len(PARTITIONS)),
        session_timeout_ms=60_000,
        threshold=0.000001,
    )
    anna, bert = [
        environment_of(msgspec.structs.replace(settings, instance_id=name), trained)
        for name in ("anna", "bert")
    ]
    with members([anna, bert], tmp_path) as workers, ExitStack() as stack:
        first, other = workers
        wait_for(lambda: len(first.partitions()) == len(other.partitions()) == 1)
        of_anna, of_bert, before = first.partitions(), other.partitions(), rebalances(other)
        stack.callback((traffic := Traffic(settings)).close)
        assert first.stop() == 0
        workers.append(again := Worker(anna, tmp_path / "log-again"))
        again.wait_until_consuming()
        wait_for(lambda: again.partitions() == of_anna)
        wait_for(lambda: ready(again))
        assert (other.partitions(), rebalances(other)) == (of_bert, before)

        traffic.finish()
        workers.append(
            twin := Worker(anna, tmp_path / "log-twin")
        )  # and without a record to deliver
        assert again.process.wait(60) == 6
        last = again.log().splitlines()[-1]
        assert " CRITICAL Kafka: " in last
        assert "another worker of the group has come with this TRIAGE_INSTANCE_ID" in last
        wait_for(lambda: twin.partitions() == of_anna)
        assert (other.partitions(), rebalances(other)) == (of_bert, before)
        assert [twin.stop(), other.stop()] == [0, 0]

"""Errors of a real Kafka name their cause and the remedy."""

import os
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import msgspec
import pytest
from kafka import KafkaConsumer
from kafka.errors import KafkaConnectionError

from shared.errors import DependencyError, UnavailableError
from tests.conftest import running_kafka
from tests.kafka.feed import Feed, drain
from tests.kafka.processes import read_all, settings_of, wait_for
from worker.demo.local_kafka import LocalKafka, hold_port
from worker.kafka import connection, sink
from worker.kafka.connection import new_admin, new_consumer
from worker.kafka.records import Message
from worker.kafka.sink import KafkaSink
from worker.kafka.source import KafkaSource
from worker.settings import Settings

_PROPERTIES = """
transaction.max.timeout.ms=9000
group.max.size=2
listeners=PLAINTEXT://127.0.0.1:{{port}},CONTROLLER://127.0.0.1:{{controller}},WRONG://127.0.0.1:{wrong}
advertised.listeners=PLAINTEXT://127.0.0.1:{{port}},WRONG://127.0.0.1:1
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,WRONG:PLAINTEXT
"""


@pytest.fixture(scope="module")
def wrong_port() -> Iterator[int]:
    with closing(hold_port()) as held:
        yield int(held.getsockname()[1])


@pytest.fixture(scope="module")
def strict(wrong_port: int) -> Iterator[LocalKafka]:
    """Yield a broker with low limits, and a listener whose advertised port is closed."""
    yield from running_kafka(_PROPERTIES.format(wrong=wrong_port))


@pytest.fixture
def settings(kafka: LocalKafka, request: pytest.FixtureRequest) -> Settings:
    return settings_of(kafka, request.node.name.replace("_", "-"), partitions=1)


@pytest.fixture
def strict_settings(strict: LocalKafka, request: pytest.FixtureRequest) -> Settings:
    return settings_of(strict, request.node.name.replace("_", "-"), partitions=1)


def create(settings: Settings, topic: str, **config: str) -> None:
    with closing(new_admin(settings)) as admin:
        configs = {name.replace("_", "."): value for name, value in config.items()}
        admin.create_topics({topic: {"num_partitions": 1, "configs": configs}})


def deliver(settings: Settings, topic: str) -> None:
    """Deliver a record and one message to a topic."""
    feed = Feed(settings)
    with closing(feed.producer), closing(KafkaSource(settings)) as source:
        feed(0, 1)
        batch = drain(source)
        with closing(KafkaSink(settings, source.commit)) as into:
            into.connect()
            into.deliver(batch, [Message(topic, None, b"x", [])])


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PATIENCE_MS", 3000)
    monkeypatch.setattr(sink, "_SECONDS", 3)


@pytest.mark.slow
def test_an_address_that_is_advertised_wrongly(strict_settings: Settings, wrong_port: int) -> None:
    server = f"127.0.0.1:{wrong_port}"
    settings = msgspec.structs.replace(strict_settings, kafka_bootstrap_servers=server)
    with pytest.raises(UnavailableError, match=r"answers.*: 127\.0\.0\.1:1: .*advertised.listen"):
        new_consumer(settings)


@pytest.mark.slow
def test_brokers_that_stop_are_not_taken_for_ones_that_refuse(settings: Settings) -> None:
    """They close one connection each, and then accept no more."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]

        def stop(listener: socket.socket) -> None:
            accepted, _ = listener.accept()
            listener.close()
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            accepted.close()  # resets the connection

        for listener in listeners:
            threading.Thread(target=stop, args=[listener], daemon=True).start()
        servers = ",".join(f"127.0.0.1:{each.getsockname()[1]}" for each in listeners)
        away = msgspec.structs.replace(settings, kafka_bootstrap_servers=servers)
        with pytest.raises(UnavailableError, match="to name a broker that runs"):
            new_consumer(away)


def test_a_limit_of_transactions(strict_settings: Settings) -> None:
    with pytest.raises(
        DependencyError, match=r"transaction.max.timeout.ms.*at least 10000"
    ) as said:
        KafkaSink(strict_settings, lambda _: None).connect()
    assert not isinstance(said.value, UnavailableError)  # it ends, and does not try for ever


def test_a_group_of_other_members(settings: Settings) -> None:
    stranger = KafkaConsumer(
        settings.input_topic,
        bootstrap_servers=settings.kafka_bootstrap_servers,
        group_id=settings.group_id,
    )
    with closing(stranger), closing(KafkaSource(settings)) as source:
        wait_for(lambda: stranger.poll(timeout_ms=100) == {} and bool(stranger.assignment()))
        with pytest.raises(DependencyError, match="TRIAGE_GROUP_ID") as said:
            drain(source)
    assert not isinstance(said.value, UnavailableError)


@pytest.mark.slow
def test_a_group_that_is_full(strict_settings: Settings) -> None:
    with ExitStack() as stack:
        members = [stack.enter_context(closing(KafkaSource(strict_settings))) for _ in range(3)]

        with pytest.raises(UnavailableError, match=r"group\.max\.size"):
            wait_for(lambda: any(member.receive(0.1, 10) is not None for member in members))


def test_a_clock_that_is_wrong(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an hour slow, and the topic takes messages of the last ten minutes."""
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - 3600)
    settings = msgspec.structs.replace(settings, delivery="at-least-once")
    create(settings, "narrow", message_timestamp_before_max_ms="600000")
    with pytest.raises(UnavailableError, match="the clock of this machine"):
        deliver(settings, "narrow")


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
def test_a_topic_that_is_missing(settings: Settings) -> None:
    settings = msgspec.structs.replace(settings, delivery="at-least-once")
    with pytest.raises(UnavailableError, match="there is no topic nowhere"):
        deliver(settings, "nowhere")


@pytest.mark.slow
@pytest.mark.usefixtures("impatient", "strict")  # which skips where no Kafka can start
def test_too_few_replicas_in_sync() -> None:
    with LocalKafka(3) as brokers:
        settings = settings_of(brokers, "replicas", partitions=1)
        with closing(new_admin(settings)) as admin:
            configs = {"min.insync.replicas": "2"}
            admin.create_topics({"narrow": {"assignments": {0: [1, 2]}, "configs": configs}})
            brokers.kill_broker(2)

            def alone() -> bool:
                try:
                    (topic,) = admin.describe_topics(["narrow"])
                except KafkaConnectionError:  # the client asked the broker that was killed
                    return False
                return len(topic["partitions"][0]["isr_nodes"]) == 1

            wait_for(alone)
        for delivery in ("exactly-once", "at-least-once"):
            chosen = msgspec.structs.replace(settings, delivery=delivery, group_id=delivery)
            with pytest.raises(UnavailableError, match="narrow-0: NotEnoughReplicas") as said:
                deliver(chosen, "narrow")
            assert "min.insync.replicas" in str(said.value)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder on a disk of 64 MB of its own."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(tmp_path)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this user may not mount a file system")
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


@pytest.mark.slow
@pytest.mark.usefixtures("impatient", "strict")  # which skips where no Kafka can start
def test_a_disk_that_is_full(small_disk: Path) -> None:
    """It is named, and nothing is lost: the batch is delivered when there is room again."""
    ballast = small_disk / "ballast"
    with LocalKafka(properties=f"log.dirs={small_disk}/log-{{number}}\n") as broker:
        settings = settings_of(broker, "full", partitions=1)
        messages = [Message(settings.alerts_topic, None, os.urandom(300_000), [])] * 2
        feed = Feed(settings)
        with (
            closing(feed.producer),
            closing(KafkaSource(settings)) as source,
            closing(KafkaSink(settings, source.commit)) as into,
        ):
            feed(0, 1)
            into.connect()
            batch = drain(source)
            ballast.write_bytes(bytes(shutil.disk_usage(small_disk).free - 200_000))
            with pytest.raises(UnavailableError, match=r"KafkaStorageError.*make room"):
                into.deliver(batch, messages)
            ballast.unlink()
            broker.kill_broker(1)
            broker.start_broker(1)
            broker.wait_for_broker(1)

            def deliver_again() -> bool:
                try:
                    into.connect()
                    source.rewind()
                    into.deliver(drain(source), messages)
                except UnavailableError:
                    return False
                return True

            wait_for(deliver_again)
        assert len(read_all(settings, settings.alerts_topic)) == 2

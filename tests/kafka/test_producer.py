"""The producer, which works in the thread that waits for it, against a real Kafka."""

import socket
import threading
import time
from contextlib import closing
from typing import Any

import pytest

from tests.kafka.processes import read_all, settings_of, wait_for
from worker.demo.local_kafka import LocalKafka
from worker.kafka.connection import new_producer
from worker.kafka.producer import Producer
from worker.kafka.records import Message
from worker.settings import Settings


@pytest.fixture
def settings(kafka: LocalKafka, request: pytest.FixtureRequest) -> Settings:
    return settings_of(kafka, request.node.name.replace("_", "-"))


def deliver(producer: Producer, settings: Settings, *values: bytes) -> None:
    producer.begin_transaction()
    producer.settle(
        list(producer.give(Message(settings.alerts_topic, None, value, []) for value in values))
    )
    producer.commit_transaction()


def delivered(settings: Settings) -> list[bytes]:
    return sorted(value for value, _ in read_all(settings, settings.alerts_topic))


def has_ended(connection: Any) -> bool:
    """Whether the broker has closed a connection, noticed or not."""
    if connection.transport is None:
        return True
    try:
        peeked: bytes = connection.transport._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    return peeked == b""


def test_the_thread_that_waits_does_the_work(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(new_producer(settings, "waits")) as producer:
        deliver(producer, settings, b"so that the partitions are known")
        threads = []
        poll = producer._sender._client.poll

        def noted(**arguments: object) -> None:
            threads.append(threading.current_thread())
            poll(**arguments)

        monkeypatch.setattr(producer._sender._client, "poll", noted)
        deliver(producer, settings, b"alert")
        time.sleep(0.2)
        assert set(threads) == {threading.main_thread()}


def test_an_error_of_a_moment_does_no_harm(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(new_producer(settings, "moment")) as producer:
        send = producer._sender._send_producer_data
        failed: list[bool] = []

        def send_later() -> object:
            if len(failed) < 3:
                failed.append(True)
                raise RuntimeError
            return send()

        monkeypatch.setattr(producer._sender, "_send_producer_data", send_later)
        deliver(producer, settings, b"alert")
        assert len(failed) == 3
    assert delivered(settings) == [b"alert"]


def test_what_is_left_is_sent_before_the_end(settings: Settings) -> None:
    with closing(new_producer(settings)) as producer:
        for number in range(3):
            producer.send(settings.alerts_topic, b"%d" % number)
    assert delivered(settings) == [b"0", b"1", b"2"]


def test_a_connection_that_was_closed_meanwhile_does_no_harm() -> None:
    with LocalKafka(1, "connections.max.idle.ms=1000\n") as kafka:
        settings = settings_of(kafka, "closes")
        with closing(new_producer(settings, "closes")) as producer:
            connections = producer._sender._client._manager._conns
            deliver(producer, settings, b"before")
            before = set(connections.values())
            wait_for(lambda: all(map(has_ended, before)))
            start = time.monotonic()
            deliver(producer, settings, b"after")
            assert time.monotonic() - start < 10
            assert before.isdisjoint(connections.values())
        assert delivered(settings) == [b"after", b"before"]

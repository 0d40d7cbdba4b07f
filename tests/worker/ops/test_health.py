"""What /healthz and /readyz say, by a clock that the test turns on, and the pages themselves."""

import http.client
import logging
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Counter

from shared.errors import UsageError
from worker.ops.health import Health, serve, watch


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    """Return the health of a worker that has started and made one turn of its loop."""
    health = Health(60, clock)
    health.mark_ready("worker")
    health.tick()
    return health


def test_a_start_is_not_ready_and_may_take_minutes_but_not_for_ever(clock: Clock) -> None:
    health = Health(60, clock)
    clock.now += 500
    assert health.not_healthy() is None
    assert health.not_ready() == "worker: it is starting"
    clock.now += 101
    assert "no turn of the loop for 601 s" in (health.not_healthy() or "")


def test_a_start_that_had_to_try_again_may_take_as_long(clock: Clock) -> None:
    health = Health(60, clock)
    health.mark_waiting("kafka", "it is away")
    health.tick()
    health.mark_ready("kafka")
    clock.now += 500
    assert health.not_healthy() is None
    health.tick()
    health.mark_ready("worker")
    clock.now += 61
    assert "no turn of the loop for 61 s" in (health.not_healthy() or "")


def test_a_loop_that_does_not_come_round_is_unhealthy(health: Health, clock: Clock) -> None:
    clock.now += 60
    assert health.not_healthy() is None
    clock.now += 1
    reason = health.not_healthy() or ""
    assert reason.startswith("no turn of the loop for 61 s\n")
    assert "thread MainThread:" in reason
    assert "test_a_loop_that_does_not_come_round_is_unhealthy" in reason  # where it stands
    health.tick()
    assert health.not_healthy() is None


def test_records_that_wait_without_a_commit_are_unhealthy(health: Health, clock: Clock) -> None:
    for _ in range(60):
        health.tick()
        health.lag(5)
        clock.now += 1
    assert health.not_healthy() is None
    clock.now += 1
    health.tick()
    reason = health.not_healthy() or ""
    assert reason.startswith("no commit for 61 s, while 5 records wait\nthread ")
    health.progress()
    assert health.not_healthy() is None


def test_a_worker_with_nothing_to_do_is_healthy(health: Health, clock: Clock) -> None:
    for _ in range(10):
        clock.now += 59
        health.tick()
        health.lag(0)
        assert (health.not_healthy(), health.not_ready()) == (None, None)
    health.lag(7)  # they have only just come
    clock.now += 59
    assert health.not_healthy() is None


def test_waiting_for_kafka_is_healthy_but_not_ready(health: Health, clock: Clock) -> None:
    health.lag(5)
    clock.now += 50
    health.mark_waiting("kafka", "it is away")
    health.lag(0)  # for all that is known
    for _ in range(10):
        clock.now += 59
        health.tick()
        assert health.not_healthy() is None
        assert health.not_ready() == "kafka: it is away"
    health.mark_ready("kafka")
    health.lag(1000)
    clock.now += 59
    health.tick()
    assert (health.not_healthy(), health.not_ready()) == (None, None)


def test_a_worker_that_pauses_commits_nothing_meanwhile(clock: Clock) -> None:
    health = Health(2, clock)
    health.mark_ready("worker")
    health.lag(5)
    health.mark_waiting("records", "most are dead letters")
    for _ in range(6):
        clock.now += 5
        health.tick()
        assert health.not_healthy() is None
    clock.now += 1
    assert "no commit for 31 s" in (health.not_healthy() or "")


def test_attempts_to_reach_kafka_take_their_time(clock: Clock) -> None:
    health = Health(2, clock)
    health.mark_ready("worker")
    health.mark_waiting("kafka", "nobody listens")
    health.tick()
    clock.now += 25
    assert health.not_healthy() is None
    clock.now += 6
    assert "no turn of the loop for 31 s" in (health.not_healthy() or "")
    health.tick()
    health.mark_ready("kafka")
    clock.now += 3
    assert "no turn of the loop for 3 s" in (health.not_healthy() or "")


def test_deliveries_that_fail_for_ever_are_unhealthy(health: Health, clock: Clock) -> None:
    """Kafka says how many records wait, so a new start may help."""
    for _ in range(7):
        health.lag(5)
        health.mark_waiting("kafka", "it did not take the batch")
        clock.now += 10
        health.tick()
    assert "no commit for 70 s, while 5 records wait" in (health.not_healthy() or "")


def test_every_reason_to_wait_is_told(health: Health) -> None:
    health.mark_waiting("kafka", "it is away")
    health.mark_waiting("records", "all are garbage")
    assert health.not_ready() == "kafka: it is away\nrecords: all are garbage"
    health.mark_waiting("kafka", "it has no coordinator")
    health.mark_ready("records")
    health.mark_ready("records")
    assert health.not_ready() == "kafka: it has no coordinator"


def wait_for_line(caplog: pytest.LogCaptureFixture, text: str) -> logging.LogRecord:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for record in caplog.records:
            if text in record.getMessage():
                return record
        time.sleep(0.01)
    raise AssertionError(f"no line with {text!r} in {caplog.messages}")


def test_the_log_says_when_health_changes(
    health: Health, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "triage"):
        watch(health, 0.01)
        clock.now += 61
        red = wait_for_line(caplog, "unhealthy: no turn of the loop for 61 s")
        time.sleep(0.1)
        health.tick()
        green = wait_for_line(caplog, "healthy again")
    assert (red.levelname, green.levelname) == ("ERROR", "INFO")
    assert [r for r in caplog.records if r.name == "triage"] == [red, green]


@pytest.fixture
def registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    Counter("made_up", "Something to see", registry=registry).inc()
    return registry


def ask(port: int, method: str, path: str, address: str = "127.0.0.1") -> tuple[int, str, str]:
    """Return status, content type and body."""
    connection = http.client.HTTPConnection(address, port, timeout=10)
    connection.request(method, path)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, answer.headers["Content-Type"].partition(";")[0], body


def test_the_pages_say_it_by_their_status(
    health: Health, clock: Clock, registry: CollectorRegistry
) -> None:
    port = serve(health, registry, "127.0.0.1", 0)
    assert ask(port, "GET", "/healthz") == (200, "text/plain", "ok\n")
    assert ask(port, "GET", "/readyz") == (200, "text/plain", "ok\n")
    status, kind, body = ask(port, "GET", "/metrics")
    assert (status, kind) == (200, "text/plain")
    assert "made_up_total 1.0" in body

    health.mark_waiting("kafka", "it is away")
    assert ask(port, "GET", "/readyz") == (503, "text/plain", "kafka: it is away\n")
    clock.now += 61
    status, _, body = ask(port, "GET", "/healthz")
    assert status == 503
    assert body.startswith("no turn of the loop for 61 s\nthread ")
    assert f"{__file__}:" in body


def test_nothing_can_be_written(health: Health, registry: CollectorRegistry) -> None:
    port = serve(health, registry, "127.0.0.1", 0)
    for path in ("/metrics", "/healthz", "/readyz"):
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            assert ask(port, method, path) == (405, "text/plain", "expected GET\n")
        status, kind, body = ask(port, "HEAD", path)
        assert (status, kind, body) == (200, "text/plain", "")
    for path in ("/", "/metricsx", "/healthz/x", "/../etc/passwd"):
        expected = (404, "text/plain", "there are /metrics, /healthz and /readyz\n")
        assert ask(port, "GET", path) == expected


def test_a_client_that_says_nothing_keeps_nobody_waiting(
    health: Health, registry: CollectorRegistry
) -> None:
    port = serve(health, registry, "127.0.0.1", 0)
    with socket.create_connection(("127.0.0.1", port)):
        assert ask(port, "GET", "/healthz")[0] == 200


def test_a_slow_client_leaves_one_line_in_the_log(
    health: Health, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    registry = CollectorRegistry()
    Counter("large", "x" * (64 << 20), registry=registry)  # more than sockets hold
    port = serve(health, registry, "127.0.0.1", 0, timeout=0.2)
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n")
        line = wait_for_line(caplog, "a page could not be sent: TimeoutError: timed out")
    assert line.levelname == "WARNING"
    assert ask(port, "GET", "/healthz")[0] == 200
    assert capsys.readouterr().err == ""


def test_a_connection_that_breaks_off_leaves_one_line_in_the_log(
    health: Health,
    registry: CollectorRegistry,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    port = serve(health, registry, "127.0.0.1", 0)
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(b"GET /healthz")
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()  # which sends RST
    wait_for_line(caplog, "a page could not be sent to 127.0.0.1: ConnectionResetError")
    assert capsys.readouterr().err == ""


def test_an_ipv6_address_will_do(health: Health, registry: CollectorRegistry) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        pytest.skip(f"this machine has no IPv6: {error}")
    port = serve(health, registry, "::1", 0)
    assert ask(port, "GET", "/healthz", "::1") == (200, "text/plain", "ok\n")


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_an_address_that_cannot_be_had_is_named(
    health: Health, registry: CollectorRegistry, taken: int
) -> None:
    threads = set(threading.enumerate())
    with pytest.raises(UsageError) as caught:
        serve(health, registry, "127.0.0.1", taken)
    assert str(caught.value) == (
        f"TRIAGE_METRICS_ADDRESS='127.0.0.1', TRIAGE_METRICS_PORT={taken}: "
        "expected an address and a free port of this machine: Address already in use"
    )
    with pytest.raises(UsageError, match=r"^TRIAGE_METRICS_ADDRESS='\.\.', .* of this machine: "):
        serve(health, registry, "..", 0)
    with pytest.raises(UsageError, match=r"^TRIAGE_METRICS_ADDRESS='192\.0\.2\.1', .* of this mac"):
        serve(health, registry, "192.0.2.1", 0)
    assert set(threading.enumerate()) <= threads

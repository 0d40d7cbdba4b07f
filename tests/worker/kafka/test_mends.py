"""What a poll does when Kafka's answer comes just then, and how requests get written."""

import selectors
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from kafka.errors import KafkaTimeoutError, UnknownBrokerIdError
from kafka.future import Future
from kafka.net.selector import NetworkSelector
from kafka.net.transport import KafkaTCPTransport

from worker.kafka.mends import Selector, keep_awake, trace_nothing, write_at_once


class Fetcher:
    """Like kafka-python's: an answer comes when it is asked for, or `early`, just before that."""

    leaders: Sequence[str] = ("node",)

    def __init__(self, answer: list[str], *, early: bool = False) -> None:
        self._answer = answer
        self._early = early
        self._completed_fetches: list[str] = []
        self._next_partition_records: list[str] | None = None
        self._fetch_futures: list[Future] = []
        self._reset_task: Future | None = None
        self._manager = self
        self._conns = {"node": "a connection"}
        self._session_handlers = {"node": "what was asked before", "new": "what was just made"}
        self.cluster = SimpleNamespace(
            broker_metadata={"known": "a broker"}.get,
            request_update=lambda: self.updates.append("asked for"),
        )
        self.updates: list[str] = []
        self.requests = 0
        self.waited_ms: list[float] = []

    def run(self, work: Callable[..., Coroutine[Any, Any, Any]], *arguments: Any) -> Any:
        if self._early:
            self._completed_fetches = self._answer
        with pytest.raises(StopIteration) as stop:
            work(*arguments).send(None)
        return stop.value.value

    async def wait_for(self, future: Future, timeout_ms: float) -> None:
        self.waited_ms.append(timeout_ms)
        if not future.is_done:
            raise KafkaTimeoutError

    def fetched_records(self, most: int, update_offsets: bool) -> tuple[dict[str, list[str]], bool]:
        assert (most, update_offsets) == (10, True)
        records, self._completed_fetches = self._completed_fetches, []
        self._next_partition_records = None
        return ({"partition": records} if records else {}), False

    def send_fetches(self) -> None:
        self.requests += 1

    async def _send_fetches_async(self) -> None:
        self.requests += 1
        self._fetch_futures = [Future()]
        if self._answer:
            self._completed_fetches = self._answer
            self._fetch_futures[0].success("answer")

    def _create_fetch_requests(self) -> dict[str, tuple[SimpleNamespace, str]]:
        return {node: (SimpleNamespace(max_wait_ms=500), "offsets") for node in self.leaders}


class Idle(Fetcher):
    """One without partitions, which asks nobody."""

    async def _send_fetches_async(self) -> None:
        pass


def poll(fetcher: Any) -> Any:
    return fetcher.fetch_records(10, update_offsets=True, timeout_ms=200)


def test_an_answer_that_comes_just_now_is_taken() -> None:
    fetcher = Fetcher(["record"], early=True)
    holds = keep_awake(fetcher)
    assert not holds()
    assert poll(fetcher) == ({"partition": ["record"]}, False)
    assert (fetcher.requests, fetcher.waited_ms) == (0, [])


def test_what_is_asked_for_is_waited_for() -> None:
    fetcher = Fetcher(["record"])
    keep_awake(fetcher)
    assert poll(fetcher) == ({"partition": ["record"]}, False)
    assert (fetcher.requests, fetcher.waited_ms) == (1, [200])


def test_without_an_answer_it_gives_nothing() -> None:
    fetcher = Fetcher([])
    keep_awake(fetcher)
    assert poll(fetcher) == ({}, False)
    assert fetcher.waited_ms == [200]


def test_without_anybody_to_ask_it_is_idle() -> None:
    fetcher = Idle([])
    keep_awake(fetcher)
    assert poll(fetcher) == ({}, True)
    fetcher._reset_task = Future()  # whose answer says where to begin
    assert poll(fetcher) == ({}, False)
    assert fetcher.waited_ms == [200]


@pytest.mark.parametrize(("held", "requests"), [(9, 0), (10, 1)])
def test_more_is_asked_for_at_once_only_if_there_is_plenty(held: int, requests: int) -> None:
    fetcher = Fetcher([])
    keep_awake(fetcher)
    fetcher._completed_fetches = ["record"] * held
    assert poll(fetcher) == ({"partition": ["record"] * held}, False)
    assert fetcher.requests == requests


def test_what_is_held_and_gives_nothing_does_not_keep_from_asking() -> None:
    """Such as an answer for a partition that has moved on."""
    fetcher = Fetcher(["record"])
    keep_awake(fetcher)
    fetcher._next_partition_records = ["of another member's"]
    assert poll(fetcher) == ({"partition": ["record"]}, False)


def test_kafka_does_not_wait_for_some_partitions_while_records_of_others_are_held() -> None:
    fetcher = Fetcher([])
    holds = keep_awake(fetcher)
    ((request, _),) = fetcher._create_fetch_requests().values()
    assert request.max_wait_ms == 500
    fetcher._completed_fetches = ["record"]
    assert holds()
    ((request, _),) = fetcher._create_fetch_requests().values()
    assert request.max_wait_ms == 0


def test_a_leader_that_the_metadata_lack_is_not_asked_before_they_are_renewed() -> None:
    fetcher = Fetcher([])
    fetcher.leaders = ("node", "known", "new")
    keep_awake(fetcher)
    assert fetcher._create_fetch_requests().keys() == {"node", "known"}
    assert fetcher._session_handlers.keys() == {"node"}
    assert fetcher.updates == ["asked for"]


def test_what_was_taken_is_given_even_if_more_cannot_be_asked_for() -> None:
    class Refusing(Fetcher):
        def send_fetches(self) -> None:
            raise UnknownBrokerIdError

    fetcher = Refusing([])
    keep_awake(fetcher)
    fetcher._completed_fetches = ["record"] * 10
    assert poll(fetcher) == ({"partition": ["record"] * 10}, False)


Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, other = socket.socketpair()
    for end in (ours, other):
        end.setblocking(False)
    with ours, other:
        yield ours, other


@pytest.fixture
def net() -> Iterator[Any]:
    net = NetworkSelector(selector=Selector)
    yield net
    net.close()


@pytest.fixture
def transport(net: Any, pair: Pair) -> Any:
    return write_at_once(KafkaTCPTransport(net, pair[0]))


def test_a_selector_knows_what_is_registered(pair: Pair) -> None:
    ours, other = pair
    with Selector() as selector:
        key = selector.register(ours, selectors.EVENT_READ, "data")
        assert selector.get_key(ours) == key
        with pytest.raises(KeyError, match=r"^\d+$"):  # and no address
            selector.get_key(other)
        ours.close()
        assert selector.get_key(ours) == key  # by the object, as it has no number any more
        selector.unregister(ours)
        with pytest.raises(ValueError, match="Invalid file descriptor"):
            selector.get_key(ours)


def test_a_request_is_written_when_it_is_given(transport: Any, pair: Pair) -> None:
    transport.write(b"request")
    assert pair[1].recv(100) == b"request"


def test_what_does_not_go_at_once_goes_in_order(net: Any, transport: Any, pair: Pair) -> None:
    large = bytes(range(256)) * 20_000
    transport.write(large)
    transport.write(b"the end")
    received = b""
    while len(received) < len(large) + 7:
        received += pair[1].recv(1 << 16)
        net.poll(timeout_ms=0)
        net.poll(timeout_ms=0)
    assert received == large + b"the end"


def test_another_thread_leaves_the_writing_to_the_loop(
    net: Any, transport: Any, pair: Pair
) -> None:
    net._io_thread = threading.Thread()
    transport.write(b"request")
    with pytest.raises(BlockingIOError):
        pair[1].recv(100)
    net._io_thread = None
    net.poll(timeout_ms=0)
    net.poll(timeout_ms=0)
    assert pair[1].recv(100) == b"request"


def test_a_write_that_fails_ends_the_connection_from_the_loop(
    net: Any, transport: Any, pair: Pair
) -> None:
    """Who sends a request may not be ready for its failure before it has been sent."""
    pair[1].close()
    transport.write(b"request")
    assert not transport.is_closing()
    net.poll(timeout_ms=0)
    assert transport.is_closing()


def test_nothing_is_traced(net: Any, caplog: pytest.LogCaptureFixture) -> None:
    trace_nothing()
    with caplog.at_level(1, "kafka.net.selector"):
        net.poll(timeout_ms=0)
    assert not caplog.records

"""Mends: faults and detours of kafka-python 3.0.12, mended from outside, by its private parts."""

import contextlib
import selectors
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import kafka.net.selector
from kafka.errors import (
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    LeaderNotAvailableError,
    UnknownMemberIdError,
)
from kafka.future import Future
from kafka.net.compat import KafkaNetClient
from kafka.structs import MemberState


class Selector(selectors.DefaultSelector):
    """Says at once that a socket is not registered.

    kafka-python asks so before each read and write, and mostly it is not. Python's own answers with
    an error that names the socket's addresses, for which it asks the kernel.
    """

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        """What is registered for a socket, or a `KeyError`."""
        number = fileobj.fileno()
        if number < 0:  # it is closed
            return super().get_key(fileobj)
        key: selectors.SelectorKey = self._fd_to_key[number]  # type: ignore[attr-defined]
        return key


class Client(KafkaNetClient):  # type: ignore[misc]  # kafka-python ships no types
    """What consumers, producers and admin clients have their connections in."""

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        build = self._manager._build_transport

        async def build_transport(*args: Any, **options: Any) -> Any:
            return write_at_once(await build(*args, **options))

        self._manager._build_transport = build_transport

    def await_ready(self, node_id: Any, timeout_ms: float = 30_000) -> bool:
        """Says that a broker is not ready yet, where kafka-python's own raises an error.

        On that error a producer forgets the request that it was about to send to a coordinator, and
        whoever waits for the answer, such as a commit, waits for ever.
        """
        try:
            return bool(super().await_ready(node_id, timeout_ms))
        except KafkaConnectionError:
            time.sleep(0.1)  # or it would ask for the coordinator without a pause
            return False

    def close(self, node_id: Any = None) -> None:
        """Closes the connections, also those that have something to send, which stay open else."""
        for connection in list(self._manager._conns.values()):
            if node_id in (None, connection.node_id) and connection.transport is not None:
                connection.transport.abort()
        super().close(node_id)


def write_at_once(transport: Any) -> Any:
    """Lets a transport write a request when it is given, and wait only for what does not go.

    kafka-python waits first until the socket is ready, which it nearly always is: two more turns of
    its loop for each request. Threads but the loop's own leave it to the loop, as before.
    """
    write_later, net = transport.write, transport._net

    def write(data: Any) -> None:
        elsewhere = net._io_thread not in (None, threading.current_thread())
        if elsewhere or transport._writing or transport._closed or not transport._write:
            write_later(data)
            return
        transport._write_buffer.append(data)
        _, error = transport._sock_send()
        if error:  # whoever sends it does not expect to hear of it before it has sent it
            net.call_soon(lambda: transport.abort(error=error))
            return
        transport.last_write = time.monotonic()
        if transport._write_buffer:
            write_later(transport._write_buffer.pop())

    transport.write = write
    return transport


def trace_nothing() -> None:
    """Leaves out what kafka-python traces, below the level of debugging: 76 calls in a delivery."""
    kafka.net.selector.log_trace = lambda *_, **__: None


def keep_awake(fetcher: Any) -> Callable[[], bool]:
    """Mends four ways in which a poll waits while Kafka has records, and one to lose some.

    When an answer of Kafka's comes just before it looks for what to wait for, it finds nothing, and
    sleeps for a tenth of a second; or it has asked again, and waits for that answer. And it asks
    for the partitions of which it holds nothing, while those that it holds records of stay out of
    this request and of any other until the answer, for which Kafka would wait until it has
    something. And when it gives all that it held, which was less than it might, it asks for more at
    once: the answer brings the few records that came meanwhile, and while those are held nobody can
    ask again. So it looks, asks and waits in its own thread, where answers come, in one go.

    And when a broker says that another leads a partition now, of which the metadata do not know
    yet, it asks that one at once, which fails: what the poll has just taken is lost, and it takes
    the request to be under way for ever. So who is not known is not asked.

    Returns:
        Whether it holds records that it has fetched before.
    """
    requests = fetcher._create_fetch_requests

    def holds() -> bool:
        return bool(fetcher._completed_fetches or fetcher._next_partition_records)

    def known(node: Any) -> bool:
        manager = fetcher._manager
        return node in manager._conns or manager.cluster.broker_metadata(node) is not None

    async def ask(timeout_ms: float) -> bool:
        """Returns whether there was something to wait for."""
        if holds():
            return True
        await fetcher._send_fetches_async()
        waited_on = list(fetcher._fetch_futures)
        if fetcher._reset_task is not None and not fetcher._reset_task.is_done:
            waited_on.append(fetcher._reset_task)
        answered = Future()
        for future in waited_on:
            future.add_both(lambda _: answered.is_done or answered.success(None))
        if waited_on and timeout_ms > 0:
            with contextlib.suppress(KafkaTimeoutError):
                await fetcher._manager.wait_for(answered, timeout_ms)
        return bool(waited_on)

    def fetch_records(most: int, update_offsets: bool, timeout_ms: float) -> Any:
        records, partial = {}, False
        if holds():
            records, partial = fetcher.fetched_records(most, update_offsets=update_offsets)
        if not records:
            if not fetcher._manager.run(ask, timeout_ms):
                return {}, True
            records, partial = fetcher.fetched_records(most, update_offsets=update_offsets)
        if not partial and sum(map(len, records.values())) >= most:
            with contextlib.suppress(KafkaError):  # or what was taken would be lost
                fetcher.send_fetches()
        return records, False

    def create_fetch_requests() -> Any:
        created = requests()
        for node in [node for node in created if not known(node)]:
            del created[node]
            fetcher._session_handlers.pop(node, None)  # what was made for it is not sent
            fetcher._manager.cluster.request_update()
        if holds():
            for request, _ in created.values():
                request.max_wait_ms = 0
        return created

    fetcher.fetch_records = fetch_records
    fetcher._create_fetch_requests = create_fetch_requests
    return holds


def ask_no_thread_for_what_is_known(coordinator: Any) -> None:
    """Lets a poll look itself whether the group's coordinator is known and connected.

    kafka-python lets the thread look that does its network work, and waits for it.
    """
    look = coordinator.ensure_coordinator_ready

    def ensure_coordinator_ready(timeout_ms: float | None = None) -> bool:
        node = coordinator.coordinator_id
        if node is not None and not coordinator._client.is_disconnected(node):
            return True
        return bool(look(timeout_ms=timeout_ms))

    coordinator.ensure_coordinator_ready = ensure_coordinator_ready


def give_up_what_is_lost(coordinator: Any) -> None:
    """Lets a member that learns only while it joins that Kafka has done without it start anew.

    It would keep its partitions and read on from where it was, though others have had them since,
    and have committed more: it would deliver what they have delivered. What kafka-python does about
    lost partitions it does before it asks to join, once, whatever the answer.
    """
    forget = coordinator.reset_generation

    def reset_generation(member_id: str = "") -> None:
        forget(member_id)
        coordinator.rejoining = False

    coordinator.reset_generation = reset_generation


def ask_before_joining(coordinator: Any) -> None:
    """Keeps a static member that Kafka has done without from driving out who came in its place.

    When Kafka does not know it any more, or when it has not polled for long, kafka-python forgets
    the id that Kafka gave it, and joins without; to Kafka that is a new process, which takes the
    instance id from whoever has it by now. With the old id Kafka says whether another has the
    instance id, which is the end of this member, or nobody; only then it joins without.
    """
    forget, join = coordinator.reset_generation, coordinator._do_join_and_sync_async

    def reset_generation(member_id: str = "") -> None:
        forget(member_id or coordinator._generation.member_id)

    async def join_and_sync() -> Any:
        try:
            return await join()
        except UnknownMemberIdError:
            forget()
            raise  # it is asked again then

    coordinator.reset_generation = reset_generation
    coordinator._do_join_and_sync_async = join_and_sync


def rejoin_if_forgotten(coordinator: Any) -> None:
    """Lets a member that is to join, but does not know it any more, join with the next poll.

    When it began to join because the topic has changed, it may forget that, and stay without
    heartbeats and partitions for ever. And a static member whose place another has taken ceases to
    send heartbeats, and says so only when it joins again.
    """
    rebalancing = coordinator.state is MemberState.REBALANCING
    fenced = coordinator.state is MemberState.STABLE and not coordinator._heartbeat_enabled
    if rebalancing or fenced:
        coordinator.request_rejoin()


def forget_commits(coordinator: Any) -> None:
    """Lets the group's commits be asked for anew.

    An answer that was not waited for is kept, and taken when the same partitions are asked for
    again, however long after, though this member has committed since, or others have.
    """
    coordinator._offset_fetch_futures.clear()


def end_offsets(consumer: Any, partitions: Iterable[Any], timeout_ms: int) -> dict[Any, int]:
    """Where the partitions end, by partition.

    Raises:
        LeaderNotAvailableError: if one has no leader; where others have one, kafka-python leaves it
            out, and fails for want of it with a `KeyError`.
        KafkaError: from Kafka.
    """
    try:
        ends: dict[Any, int] = consumer.end_offsets(partitions, timeout_ms=timeout_ms)
    except KeyError as error:
        raise LeaderNotAvailableError(f"no broker leads {error}") from error
    return ends

"""Workarounds for faults of kafka-python, one function each.

Each docstring names the fault, the version it was seen in, and the test that fails without the
workaround. This module and `record_batches` are the only ones that use private parts of
kafka-python; a test counts them. Faults with a workaround in the public API are handled where they
occur:

- `fetch_commits` may return an old answer that nobody waited for: the source asks twice.
- `poll` may sleep although records have arrived: the source polls for a short time, repeatedly.
- If the metadata lack a leader, records are lost: the source creates a new consumer.
"""

import contextlib
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
from kafka.errors import KafkaError, KafkaTimeoutError, LeaderNotAvailableError
from kafka.structs import MemberState

from shared.errors import UnavailableError
from worker.kafka.records import Record, records_of
from worker.kafka.unpack import AllowanceError, TooLargeError

_RECORD_BATCH = 2
"""The version of batches since Kafka 0.11."""


def begin_transactional(producer: Any, begin: Callable[[Any], Any]) -> Any:
    """Begin a transaction's request and return its result, instead of waiting for it.

    Fault: `send_offsets_to_transaction` and `commit_transaction` have no timeout. If the
    coordinator is unavailable for a moment, the request is lost and they wait for ever.
    Seen: 3.0.12. Test: `test_a_commit_is_not_waited_for_without_end`.

    Args:
        begin: calls the method of the transaction manager that the producer's method calls.
    """
    result = begin(producer._transaction_manager)
    producer._sender.wakeup()
    return result


def wait_for_result(result: Any, seconds: float, what: str) -> None:
    """Wait for the result of `begin_transactional`.

    Raises:
        KafkaTimeoutError: if there is no result in time.
        KafkaError: the request's error.
    """
    if not result.wait(seconds * 1000):
        raise KafkaTimeoutError(f"no answer to {what} within {seconds:g} s")


def close_producer(producer: Any) -> None:
    """Close a producer and drop what it has not sent.

    Fault: `close` raises if messages were not sent, and its thread runs for ever.
    Seen: 3.0.12. Test: `test_a_producer_that_cannot_send_leaves_no_thread`.
    """
    try:
        producer.close(timeout=0)
    except KafkaTimeoutError:
        producer._sender.force_close()
        with contextlib.suppress(KafkaError):
            producer.close(timeout=1)


def attach_to_coordinator(consumer: Any) -> Callable[[], None]:
    """Keep a static member's id, and return a function that rejoins the group if needed.

    Fault: a static member that has not polled for long forgets the id that Kafka gave it. It joins
    like a new process, and Kafka removes the member that has replaced it.
    Seen: 3.0.12. Test: `test_a_member_that_stood_still_does_not_drive_out_its_replacement`.

    Fault: a member that joins because its topic has changed may forget to complete this, and stays
    without heartbeats and partitions.
    Seen: 3.0.12. Test: `test_a_member_does_not_forget_that_it_joins`.

    Fault: a static member that was replaced stops its heartbeats and does not say so.
    Seen: 3.0.12. Test: `test_a_member_that_was_replaced_says_so`.
    """
    coordinator = _coordinator(consumer)
    forget = coordinator.reset_generation

    def reset_generation(member_id: str = "") -> None:
        # For the old id, Kafka answers whether another member has the instance id now. The id is
        # given up only if Kafka knows neither, which it reports while this member joins.
        if coordinator.group_instance_id and coordinator.state is not MemberState.REBALANCING:
            member_id = member_id or coordinator.group_metadata().member_id
        forget(member_id)

    def rejoin_if_needed() -> None:
        fenced = coordinator.state is MemberState.STABLE and not coordinator._heartbeat_enabled
        if fenced or coordinator.state is MemberState.REBALANCING:
            coordinator.request_rejoin()

    coordinator.reset_generation = reset_generation
    return rejoin_if_needed


def beginning_offsets(consumer: Any, partitions: Iterable[Any], timeout_ms: int) -> dict[Any, int]:
    """Return the first offset of each partition, as `end_offsets` returns the last."""
    with _leaders_needed():
        offsets: dict[Any, int] = consumer.beginning_offsets(
            list(partitions), timeout_ms=timeout_ms
        )
    return offsets


def end_offsets(consumer: Any, partitions: Iterable[Any], timeout_ms: int) -> dict[Any, int]:
    """Return the offset behind the last readable record of each partition.

    Fault: `end_offsets` and `beginning_offsets` raise `KeyError` where some of the partitions have
    no leader.
    Seen: 3.0.12. Test: `test_a_partition_without_a_leader_is_named`.

    Raises:
        KafkaError: if a partition has no leader, or there is no answer in time.
    """
    with _leaders_needed():
        offsets: dict[Any, int] = consumer.end_offsets(list(partitions), timeout_ms=timeout_ms)
    return offsets


@contextlib.contextmanager
def _leaders_needed() -> Iterator[None]:
    try:
        yield
    except KeyError as error:
        raise LeaderNotAvailableError(f"no broker leads {error}") from error


def topic_life(consumer: Any, topic: str) -> str | None:
    """Return the ids of the cluster and of the topic as `cluster/topic`, or None without metadata.

    Fault: nothing public tells the id of a topic, so a commit for a deleted topic also counts for a
    new one of the same name, whose first records are skipped.
    Seen: 3.0.12. Test: `test_a_commit_for_a_former_topic_does_not_count`.
    """
    cluster = consumer._cluster
    identifier = cluster.topic_id(topic)
    return None if identifier is None else f"{cluster.cluster_id}/{identifier}"


def fetch_commits(consumer: Any, partitions: list[Any], timeout_ms: int) -> dict[Any, Any]:
    """Ask for the group's commits of several partitions in one request.

    Fault: `committed` asks for one partition at a time, and waits for each answer.
    Seen: 3.0.12. Test: `test_the_commits_of_many_partitions_take_one_request`.

    Returns:
        `OffsetAndMetadata` by partition, without those that have no commit.
    """
    commits: dict[Any, Any] = _coordinator(consumer).fetch_committed_offsets(partitions, timeout_ms)
    return commits


def seek_to_commit(consumer: Any, partition: Any, commit: Any) -> None:
    """Read a partition from a commit on, unless Kafka says that its log was cut off before that.

    Fault: `seek` takes no leader epoch. A consumer that starts after a log has lost its end and was
    filled again skips the records that took the lost offsets.
    Seen: 3.0.12. Test: `test_a_log_that_was_cut_and_filled_again_is_read_from_the_cut`.
    """
    _subscription(consumer).seek(partition, commit)


def positions(consumer: Any, timeout_ms: int) -> dict[Any, int]:
    """Return the next offset of each assigned partition, without those that have none yet.

    Fault: `position` goes through all partitions to answer for one.
    Seen: 3.0.12. Test: `test_the_positions_of_many_partitions_are_asked_for_once`.
    """
    subscription = _subscription(consumer)
    found = subscription.all_consumed_offsets()
    if without := consumer.assignment() - found.keys():
        consumer.position(without.pop(), timeout_ms=timeout_ms)  # waits for all that are missing
        found = subscription.all_consumed_offsets()
    return {partition: position.offset for partition, position in found.items()}


def _subscription(consumer: Any) -> Any:
    return consumer._subscription


def _coordinator(consumer: Any) -> Any:
    return consumer._coordinator


def poll_readable(consumer: Any, timeout_ms: int, max_records: int) -> list[Record]:
    """Poll; a record that cannot be unpacked becomes a record with an error.

    Fault: after a record that cannot be unpacked, such as one with a wrong checksum, every later
    poll raises or never returns.
    Seen: 3.0.12. Test: `test_a_rewind_to_an_unreadable_record_is_no_endless_loop`.

    Raises:
        UnavailableError: if memory ran out. The records will be fetched again.
        Exception: whatever else a poll raises.
    """
    try:
        return records_of(consumer.poll(timeout_ms, max_records))
    except Exception as error:
        if (unpacking := _unpacking(error)) is None:
            raise
        unpacking.records.drain()  # otherwise each poll would ask its dead iterator again
        if isinstance(error, MemoryError):
            raise UnavailableError("no memory to unpack records") from error
        if isinstance(error, AllowanceError):
            return []  # it is fetched again
        return _unreadable(unpacking, error, consumer.seek, max_records)


class _Unpacking(msgspec.Struct, frozen=True):
    """What kafka-python was unpacking: a partition's records, and of them a producer's batch."""

    records: Any
    batch: Any


def _unpacking(error: Exception) -> _Unpacking | None:
    """Find what kafka-python was unpacking when it raised, or None.

    The error may be of any class, and names neither the partition nor the offset.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name == "_unpack_records":
            return _Unpacking(frame.f_locals["self"], frame.f_locals.get("batch"))
    return None


def _unreadable(
    unpacking: _Unpacking, error: Exception, seek: Callable[[Any, int], object], max_records: int
) -> list[Record]:
    """Skip the bad record, and return a record with its error."""
    records, batch = unpacking.records, unpacking.batch
    # Both formats have an offset: of the first record, or of the last compressed message.
    is_record_batch = batch is not None and batch.magic >= _RECORD_BATCH
    # The start of this fetch, or the end of what was unpacked of it.
    offset = max(records.fetch_offset, records.next_fetch_offset)
    if is_record_batch:
        offset = max(offset, batch.base_offset)  # there may be a gap before the batch
    end = offset + 1
    # In a batch with a wrong checksum, only the first offset is reliable. Here the checksum was
    # right, so the whole batch is skipped, and not unpacked again for each record.
    if isinstance(error, TooLargeError):
        last = batch.last_offset if is_record_batch else batch.base_offset
        end = min(last + 1, offset + max_records)
    reason = error.args[0] if isinstance(error, KafkaError) and error.args else error
    partition, message = records.topic_partition, f"{type(error).__name__}: {reason}"
    seek(partition, end)
    return [
        Record(partition.topic, partition.partition, each, error=message)
        for each in range(offset, end)
    ]

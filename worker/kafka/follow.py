"""Follow: read the committed records of a topic outside any consumer group, live or once."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from kafka import TopicPartition

from shared.errors import RecordError, UnavailableError
from worker.kafka.connection import REQUEST_TIMEOUT_MS, connecting, kafka_errors, new_consumer
from worker.kafka.reader import PositionLostError, Reader
from worker.kafka.records import Record, records_of
from worker.kafka.topics import MissingTopicError, find_partitions
from worker.kafka.workarounds import end_offsets, positions
from worker.settings import Settings

_ASK_SECONDS = 5
"""After so many seconds without a record, check whether Kafka still answers."""
_SHORTEST_PAUSE = 0.2
_LONGEST_PAUSE = 5.0
"""Seconds between two attempts to connect again."""
_PATIENCE = 60
"""Seconds without a record before the end of a topic. A worker's transaction takes at most ten."""

Message = TypeVar("Message")


def follow(
    settings: Settings,
    topic: str,
    *,
    from_beginning: bool,
    notify: Callable[[str], object] = lambda _: None,
) -> Iterator[Record]:
    """Yield all committed records of a topic as they arrive, without end.

    If Kafka or the topic is unavailable, it waits and then continues where it was.

    Args:
        from_beginning: start with the oldest record, or else with the next one.
        notify: called with a line when the connection is lost and when it is back, and when records
            were deleted before they were read.

    Raises:
        DependencyError: from Kafka, or if there is no such topic at first.
    """
    positions = {} if from_beginning else _ends(settings, topic)
    lost: str | None = None
    began = False
    pause = _SHORTEST_PAUSE
    while True:
        try:
            with contextlib.closing(Reader(settings, [topic], positions)) as reader:
                reader.behind()
                if lost is not None:
                    notify("connected to Kafka again")
                began, lost, pause = True, None, _SHORTEST_PAUSE
                for record in _until_lost(reader, topic, notify):
                    positions[topic, record.partition] = record.offset + 1
                    yield record
        except PositionLostError as error:
            notify(f"{error}; {topic} is read from its beginning")
            positions.clear()
        except (UnavailableError, MissingTopicError) as error:
            if not began:
                raise
            if str(error) != lost:
                lost = str(error)
                notify(f"connection lost: {lost}; trying again")
            time.sleep(pause)
            pause = min(_LONGEST_PAUSE, 2 * pause)


def _until_lost(reader: Reader, topic: str, notify: Callable[[str], object]) -> Iterator[Record]:
    """Yield records; a poll alone would not notice that Kafka is gone."""
    asked, skipped = time.monotonic(), 0
    while True:
        if records := reader.poll(0.2):
            asked = time.monotonic()
            yield from records
        elif time.monotonic() - asked > _ASK_SECONDS:
            reader.behind()
            asked = time.monotonic()
        if reader.skipped[topic] > skipped:
            notify(f"{reader.skipped[topic] - skipped} records were deleted before they were read")
            skipped = reader.skipped[topic]


def _ends(settings: Settings, topic: str) -> dict[tuple[str, int], int]:
    with _reader(settings, topic, "earliest") as consumer:
        ends = end_offsets(consumer, consumer.assignment(), REQUEST_TIMEOUT_MS)
    return {(topic, partition.partition): end for partition, end in ends.items()}


def read(settings: Settings, topic: str) -> Iterator[Record]:
    """Yield all committed records that a topic has now, by offset within each partition.

    Waits for open transactions, so that no record is missing that was committed before the call.

    Raises:
        DependencyError: from Kafka, or if there is no such topic.
        UnavailableError: if a transaction does not end.
    """
    with _reader(settings, topic, "earliest", "read_uncommitted") as consumer:
        ends = end_offsets(consumer, consumer.assignment(), REQUEST_TIMEOUT_MS)
    with _reader(settings, topic, "earliest") as consumer:
        deadline = time.monotonic() + _PATIENCE
        while _is_before(consumer, ends):
            if records := records_of(consumer.poll(timeout_ms=200)):
                yield from (
                    r for r in records if r.offset < ends[TopicPartition(topic, r.partition)]
                )
                deadline = time.monotonic() + _PATIENCE
            elif time.monotonic() > deadline:
                raise UnavailableError(
                    f"{topic}: an open transaction holds its readers back for {_PATIENCE} s; "
                    "expected it to end"
                )


@contextlib.contextmanager
def _reader(
    settings: Settings, topic: str, begin: str, isolation: str = "read_committed"
) -> Iterator[Any]:
    """Create a consumer of all the topic's partitions."""
    with connecting(settings):
        consumer = new_consumer(
            settings, group_id=None, isolation_level=isolation, auto_offset_reset=begin
        )
    with contextlib.closing(consumer), kafka_errors(f"read {topic}"):
        numbers = find_partitions(settings, [topic])[topic]
        consumer.assign([TopicPartition(topic, number) for number in numbers])
        yield consumer


def read_decoded(
    settings: Settings,
    topic: str,
    decode: Callable[[bytes], Message],
    warn: Callable[[str], object],
) -> Iterator[Message]:
    """Yield the messages that a topic has now, as `read` does.

    Args:
        decode: raises `RecordError` if a record's value is not such a message.
        warn: is called with a line about each of these records, which are skipped.
    """
    for record in read(settings, topic):
        try:
            yield decode(record.value or b"")
        except RecordError as error:
            warn(f"{record.topic}-{record.partition}-{record.offset} is skipped: {error}")


def _is_before(consumer: Any, ends: Mapping[Any, int]) -> bool:
    """Return whether a partition is not read up to its end."""
    found = positions(consumer, REQUEST_TIMEOUT_MS)
    return any(found.get(partition, 0) < end for partition, end in ends.items())

"""Replay: publish dead letters to the input topic again, each once, however often it runs.

    dead letters ─select─▶ original records ─▶ input topic
                     ▲                  └─▶ a note in the dead-letters topic: which ones they were
                     └──────── notes ◀──────┘

Records and note are one transaction. A run that is killed leaves no record without a note, and the
next run continues where it ended. A note comes after the dead letters that it names, and Kafka
deletes the oldest records first, so it stays as long as they do; offsets of a consumer group would
not. All runs share a transactional id, so a new run ends one that still works.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime

import msgspec

from shared.errors import UsageError
from worker.kafka.follow import read
from worker.kafka.publisher import Publisher
from worker.kafka.records import Message, Record
from worker.messages.alert import source_timestamp
from worker.messages.dead_letter import DeadLetter, as_it_came, read_dead_letter
from worker.settings import Settings

MOST_REPLAYS = 3
"""A record that failed this many times after a replay is not replayed again."""
_NOTE = "triage-note"
_MOST_RECORDS = 500
_MOST_BYTES = 4 << 20
"""Limits of one transaction."""

Coordinates = tuple[int, int]
"""Partition and offset of a dead letter."""


class DeadLetterFilter(msgspec.Struct, frozen=True):
    """Which dead letters to replay.

    Attributes:
        reasons: the reasons to include; empty: all.
        since, until: the time when they were published, `until` excluded.
        count: the largest number of dead letters.
    """

    reasons: frozenset[str] = frozenset()
    since: datetime | None = None
    until: datetime | None = None
    count: int | None = None


class Summary(msgspec.Struct):
    """What happened to the dead letters of a topic.

    Attributes:
        replayed: how many were replayed, or would be, by reason.
        left: how many were not replayed, by cause.
    """

    replayed: Counter[str]
    left: Counter[str]


def replay(settings: Settings, selection: DeadLetterFilter, *, send: bool) -> Summary:
    """Replay the selected dead letters, or only count them.

    Without transactions (`TRIAGE_DELIVERY=at-least-once`), records that were replayed just before a
    run was killed are replayed again.

    Raises:
        DependencyError: from Kafka. Records that were replayed before the error are not replayed
            again.
    """
    summary = Summary(Counter(), Counter())
    if not send:
        for _ in _selected(settings, selection, summary):
            pass
        return summary
    transactional_id = f"{settings.group_id}-replay"
    transactions = settings.delivery == "exactly-once"
    # Create it first: it ends an earlier run before the notes are read.
    with closing(Publisher(settings, transactional_id if transactions else None)) as publisher:
        for letters in _chunks(_selected(settings, selection, summary)):
            messages = [as_it_came(letter) for _, letter in letters]
            publisher.publish(
                messages + _notes(settings, [coordinates for coordinates, _ in letters])
            )
    return summary


def _selected(
    settings: Settings, selection: DeadLetterFilter, summary: Summary
) -> Iterator[tuple[Coordinates, DeadLetter]]:
    """Yield the dead letters to replay, and count all dead letters in the summary."""
    noted = {
        coordinates
        for r in read(settings, settings.dead_letters_topic)
        for coordinates in _noted(r)
    }
    for record in read(settings, settings.dead_letters_topic):
        if _is_note(record):
            continue
        letter = read_dead_letter(record)
        coordinates = (record.partition, record.offset)
        if letter is None:
            why = "not written by a worker"
        elif coordinates in noted:
            why = "put back earlier"
        elif not _selected_by(record, letter, selection):
            why = "not selected"
        elif letter.topic != settings.input_topic:
            why = "from another topic"
        elif not letter.whole:
            why = "without the whole record"
        elif letter.replays >= MOST_REPLAYS:
            why = f"failed {MOST_REPLAYS} times after a replay"
        elif summary.replayed.total() == selection.count:
            why = "over --count"
        else:
            summary.replayed[letter.reason] += 1
            yield coordinates, letter
            continue
        summary.left[why] += 1


def _selected_by(record: Record, letter: DeadLetter, selection: DeadLetterFilter) -> bool:
    moment = source_timestamp(record.timestamp)
    if selection.since is not None and (moment is None or moment < selection.since):
        return False
    if selection.until is not None and (moment is None or moment >= selection.until):
        return False
    return not selection.reasons or letter.reason in selection.reasons


def _chunks(
    letters: Iterator[tuple[Coordinates, DeadLetter]],
) -> Iterator[list[tuple[Coordinates, DeadLetter]]]:
    chunk: list[tuple[Coordinates, DeadLetter]] = []
    size = 0
    for coordinates, letter in letters:
        chunk.append((coordinates, letter))
        size += len(letter.value or b"")
        if len(chunk) == _MOST_RECORDS or size >= _MOST_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _notes(settings: Settings, coordinates: Sequence[Coordinates]) -> list[Message]:
    offsets: dict[int, list[int]] = {}
    for partition, offset in coordinates:
        offsets.setdefault(partition, []).append(offset)
    header = [(_NOTE, b"replayed")]
    return [
        Message(settings.dead_letters_topic, None, msgspec.json.encode(own), [], header, partition)
        for partition, own in offsets.items()
    ]


def _is_note(record: Record) -> bool:
    return record.headers == [(_NOTE, b"replayed")]


def _noted(record: Record) -> list[Coordinates]:
    if not _is_note(record):
        return []
    offsets = msgspec.json.decode(record.value or b"[]", type=list[int])
    return [(record.partition, offset) for offset in offsets]


def moment_of(text: str) -> datetime:
    """Parse an ISO 8601 time with an offset from UTC.

    Raises:
        UsageError: if it is not such a time.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise UsageError(f"{text!r}: expected a time such as 2026-11-23T10:00Z")
    return moment


def report(settings: Settings, summary: Summary, *, sent: bool) -> list[str]:
    """Describe the summary in lines for people."""
    many = summary.replayed.total()
    went = "were put back" if sent else "would be put back"
    by_reason = "".join(
        f"\n  {number:>8} {name}" for name, number in summary.replayed.most_common()
    )
    lines = [f"{many} dead letters {went} into {settings.input_topic}" + by_reason]
    if summary.left:
        by_why = "".join(f"\n  {number:>8} {why}" for why, number in summary.left.most_common())
        lines.append(f"{summary.left.total()} stay" + by_why)
    if not sent:
        lines.append("nothing was written; add --send to put them back")
    return lines

"""Replay: puts dead letters back into the input topic, each once, however often it is run.

    dead letters ─select─▶ records as they came ─▶ input topic
                     ▲                  └─▶ a note in the dead letters' partition: which they were
                     └──────── notes ◀──────┘

Records and note are one transaction, so that a run which is killed leaves no record without a note,
and the next one goes on where it ended. A note lies behind the dead letters that it names, and
Kafka forgets the oldest first: the note is there for as long as they are, which the offsets of a
consumer group would not be. The transactional id is that of all runs, so that one which comes while
another is at work takes its place.
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
"""A record that has come back so many times stays: what it fails by is not mended."""
_NOTE = "triage-note"
_MOST_RECORDS = 500
_MOST_BYTES = 4 << 20
"""Of one transaction."""

Place = tuple[int, int]
"""Partition and offset of a dead letter."""


class Selection(msgspec.Struct, frozen=True):
    """Which dead letters are asked for.

    Attributes:
        reasons: none: whatever the reason.
        since, until: when they were published, the second moment excluded.
        count: so many at most.
    """

    reasons: frozenset[str] = frozenset()
    since: datetime | None = None
    until: datetime | None = None
    count: int | None = None


class Account(msgspec.Struct):
    """What became of the dead letters of a topic.

    Attributes:
        replayed: those that were put back, or would be, by reason.
        left: those that stay, by why they do.
    """

    replayed: Counter[str]
    left: Counter[str]


def replay(settings: Settings, selection: Selection, *, send: bool) -> Account:
    """Puts the selected dead letters back, or only looks which these would be.

    Without transactions (`TRIAGE_DELIVERY=at-least-once`) records that were put back just before a
    run was killed go again.

    Raises:
        DependencyError: from Kafka. What was put back before stays so, and is not put back again.
    """
    account = Account(Counter(), Counter())
    if not send:
        for _ in _selected(settings, selection, account):
            pass
        return account
    transactional_id = f"{settings.group_id}-replay"
    transactions = settings.delivery == "exactly-once"
    # Made first, so that a run before it has ended when the notes are read.
    with closing(Publisher(settings, transactional_id if transactions else None)) as publisher:
        for letters in _portions(_selected(settings, selection, account)):
            messages = [as_it_came(letter) for _, letter in letters]
            publisher.publish(messages + _notes(settings, [place for place, _ in letters]))
    return account


def _selected(
    settings: Settings, selection: Selection, account: Account
) -> Iterator[tuple[Place, DeadLetter]]:
    """The dead letters that go, as the account says."""
    noted = {place for r in read(settings, settings.dead_letters_topic) for place in _noted(r)}
    for record in read(settings, settings.dead_letters_topic):
        if _is_note(record):
            continue
        letter = read_dead_letter(record)
        place = (record.partition, record.offset)
        if letter is None:
            why = "not written by a worker"
        elif place in noted:
            why = "put back before"
        elif not _asked_for(record, letter, selection):
            why = "not asked for"
        elif letter.topic != settings.input_topic:
            why = "from another topic"
        elif not letter.whole:
            why = "without the record's whole content"
        elif letter.replays >= MOST_REPLAYS:
            why = f"come back {MOST_REPLAYS} times"
        elif account.replayed.total() == selection.count:
            why = "beyond the count"
        else:
            account.replayed[letter.reason] += 1
            yield place, letter
            continue
        account.left[why] += 1


def _asked_for(record: Record, letter: DeadLetter, selection: Selection) -> bool:
    moment = source_timestamp(record.timestamp)
    if selection.since is not None and (moment is None or moment < selection.since):
        return False
    if selection.until is not None and (moment is None or moment >= selection.until):
        return False
    return not selection.reasons or letter.reason in selection.reasons


def _portions(
    letters: Iterator[tuple[Place, DeadLetter]],
) -> Iterator[list[tuple[Place, DeadLetter]]]:
    portion: list[tuple[Place, DeadLetter]] = []
    size = 0
    for place, letter in letters:
        portion.append((place, letter))
        size += len(letter.value or b"")
        if len(portion) == _MOST_RECORDS or size >= _MOST_BYTES:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def _notes(settings: Settings, places: Sequence[Place]) -> list[Message]:
    offsets: dict[int, list[int]] = {}
    for partition, offset in places:
        offsets.setdefault(partition, []).append(offset)
    header = [(_NOTE, b"replayed")]
    return [
        Message(settings.dead_letters_topic, None, msgspec.json.encode(own), [], header, partition)
        for partition, own in offsets.items()
    ]


def _is_note(record: Record) -> bool:
    return record.headers == [(_NOTE, b"replayed")]


def _noted(record: Record) -> list[Place]:
    if not _is_note(record):
        return []
    offsets = msgspec.json.decode(record.value or b"[]", type=list[int])
    return [(record.partition, offset) for offset in offsets]


def moment_of(text: str) -> datetime:
    """A moment as ISO 8601 writes it, with its offset from UTC.

    Raises:
        UsageError: if it is none.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise UsageError(f"{text!r}: expected a moment such as 2026-11-23T10:00Z")
    return moment


def report(settings: Settings, account: Account, *, sent: bool) -> list[str]:
    """The account in lines for people."""
    many = account.replayed.total()
    went = "were put back" if sent else "would be put back"
    by_reason = "".join(
        f"\n  {number:>8} {name}" for name, number in account.replayed.most_common()
    )
    lines = [f"{many} dead letters {went} into {settings.input_topic}" + by_reason]
    if account.left:
        by_why = "".join(f"\n  {number:>8} {why}" for why, number in account.left.most_common())
        lines.append(f"{account.left.total()} stay" + by_why)
    if not sent:
        lines.append("nothing was written: --send does it")
    return lines

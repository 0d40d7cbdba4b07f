"""Dead letter: a record that cannot be triaged, unchanged, and the headers that say why.

Of a record that holds several posts, each post that fails is a dead letter of its own.
"""

import msgspec

from worker.kafka.records import Headers, Message, Record, RecordHeaders

_LONGEST_ERROR = 1000
"""Characters of an error in a header; some errors quote a long text."""
_REASON = "triage-reason"
"""The first header after those of the record."""
_REPLAYS = "triage-replays"


class DeadLetter(msgspec.Struct, frozen=True):
    """What a dead letter says about its record.

    Attributes:
        reason: as in `RecordError.reason`, or `unprocessable`.
        topic: that the record was in.
        replays: how many times it has been put back there.
        key, value, headers: the record's own, without the count of its replays.
        whole: whether these are all that the record held.
    """

    reason: str
    topic: str
    replays: int
    key: bytes | None
    value: bytes | None
    headers: RecordHeaders
    whole: bool


def make_dead_letter(
    topic: str, record: Record, reason: str, error: Exception, index: int | None = None
) -> Message:
    """Make a message of a record, with headers for the reason and its coordinates.

    Args:
        topic: of the message.
        index: which of the posts in the source record this one is; None if it is the only one.
    """
    added = [
        (_REASON, reason.encode()),
        ("triage-error", str(error)[:_LONGEST_ERROR].encode("utf-8", "replace")),
        ("triage-error-class", type(error).__name__.encode()),
        ("triage-source-topic", record.topic.encode()),
        ("triage-source-partition", str(record.partition).encode()),
        ("triage-source-offset", str(record.offset).encode()),
        ("triage-source-timestamp", str(record.timestamp).encode()),
    ]
    if index is not None:
        added.append(("triage-source-index", str(index).encode()))
    value = record.value
    if value is None and record.key is None:  # kafka-python refuses two nulls
        value = b""
    return Message(topic, record.key, value, publishable(record.headers), added)


def read_dead_letter(record: Record) -> DeadLetter | None:
    """Read what `make_dead_letter` wrote; None if the record was written by something else."""
    names = [name for name, _ in record.headers]
    if _REASON not in names:
        return None
    behind = len(names) - names[::-1].index(_REASON)
    own, added = record.headers[: behind - 1], dict(record.headers[behind - 1 :])
    reason = _text(added[_REASON])
    # `make_dead_letter` replaced a missing value by an empty one. An unreadable record has neither
    # key nor value.
    replaced = reason == "no_value" and record.key is None
    omitted = any(name.startswith("triage-omitted-") for name in added)
    return DeadLetter(
        reason,
        _text(added.get("triage-source-topic")),
        max((_count(value) for name, value in own if name == _REPLAYS), default=0),
        record.key,
        record.value,
        [header for header in own if header[0] != _REPLAYS],
        not (replaced or omitted or reason == "unreadable"),
    )


def as_it_came(letter: DeadLetter) -> Message:
    """Restore the record of a dead letter, with a header that counts how often it was replayed."""
    replays = [(_REPLAYS, str(letter.replays + 1).encode())]
    return Message(letter.topic, letter.key, letter.value, publishable(letter.headers), replays)


def publishable(headers: RecordHeaders) -> Headers:
    """Replace null values by b"", because kafka-python does not publish null."""
    return [(name, value or b"") for name, value in headers]


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace")


def _count(value: bytes | None) -> int:
    return int(value) if value is not None and value.isdigit() and len(value) < 10 else 0

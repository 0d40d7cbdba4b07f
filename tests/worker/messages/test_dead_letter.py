"""What a dead letter was made of comes back out of it as it was."""

import pytest

from shared.errors import RecordError
from tests.worker.test_triage import record_of
from worker.kafka.records import Headers, Message, Record
from worker.kafka.sink import truncate
from worker.messages.dead_letter import as_it_came, make_dead_letter, read_dead_letter

ERROR = RecordError("invalid_json", "the value is not valid JSON")


def published(message: Message) -> Record:
    return record_of(message.value, 99, message.key, message.headers + message.added, "dead", 0)


def test_a_record_comes_back_as_it_was_and_counts_how_often() -> None:
    own: Headers = [("triage-reason", b"its own"), ("x", b"1"), ("x", b"2")]
    record = record_of(b'{"text": ', 5, b"key", own)
    for replays in range(3):
        letter = read_dead_letter(
            published(make_dead_letter("dead", record, "invalid_json", ERROR))
        )
        assert letter is not None
        assert (letter.reason, letter.topic, letter.replays) == (
            "invalid_json",
            "tweets.raw",
            replays,
        )
        assert letter.whole
        message = as_it_came(letter)
        assert (message.topic, message.key, message.value) == ("tweets.raw", b"key", b'{"text": ')
        assert message.headers == own
        assert message.added == [("triage-replays", str(replays + 1).encode())]
        record = record_of(message.value, 6, message.key, message.headers + message.added)


@pytest.mark.parametrize("count", [b"", b"-1", b"many", b"\xff", b"9" * 5000, None])
def test_a_count_that_is_none_is_begun_anew(count: bytes | None) -> None:
    headers = [("triage-replays", count), ("a", b"b")]
    record = record_of(b"", headers=headers)
    letter = read_dead_letter(published(make_dead_letter("dead", record, "empty_text", ERROR)))
    assert letter is not None
    assert letter.replays == 0
    assert as_it_came(letter).headers == [("a", b"b")]


def test_what_was_left_out_is_told() -> None:
    unreadable = Record("tweets.raw", 1, 2, error="CorruptRecordError")
    large = make_dead_letter("dead", record_of(b"x" * 100), "invalid_json", ERROR)
    for message, whole in (
        (make_dead_letter("dead", record_of(None), "no_value", ERROR), False),
        (make_dead_letter("dead", record_of(None, key=b"k"), "no_value", ERROR), True),
        (make_dead_letter("dead", unreadable, "unreadable", ERROR), False),
        (large, True),
        (truncate(large, keep_value=False), False),
    ):
        letter = read_dead_letter(published(message))
        assert letter is not None
        assert letter.whole == whole, message


def test_other_records_are_no_dead_letters() -> None:
    assert read_dead_letter(record_of(b"value", headers=[("triage-error", b"x")])) is None

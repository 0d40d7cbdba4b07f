import json
from codecs import BOM_UTF8
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.errors import RecordError
from worker.messages.tweet import MAX_TEXT_LENGTH, Tweet, decode_tweet, parse_created_at

V1_TIME = "Wed Oct 10 20:19:24 +0000 2018"
TOO_LONG_NAME = b"7" * 1001
LONG = "the whole text, which is longer than the other one"


def refused(value: bytes | None) -> str:
    with pytest.raises(RecordError) as caught:
        decode_tweet(value)
    assert str(caught.value)
    return caught.value.reason


@pytest.mark.parametrize(
    ("record", "tweet"),
    [
        pytest.param(
            {
                "created_at": V1_TIME,
                "id": 1050118621198921728,
                "id_str": "1050118621198921728",
                "text": "To make room &amp; more…",
                "user": {"id": 6253282, "screen_name": "TwitterAPI", "verified": True},
                "entities": {"hashtags": [], "urls": [{"indices": [1, 2]}]},
            },
            Tweet("To make room &amp; more…", "1050118621198921728", "TwitterAPI", V1_TIME),
            id="v1.1 text",
        ),
        pytest.param(
            {"id_str": "7", "full_text": LONG, "text": "the whole…", "user": {}},
            Tweet(LONG, "7"),
            id="v1.1 full_text",
        ),
        pytest.param(
            {"id": 7, "text": "the whole…", "extended_tweet": {"full_text": LONG}},
            Tweet(LONG, "7"),
            id="v1.1 extended_tweet",
        ),
        pytest.param(
            {
                "id": 7,
                "text": "RT @other: the whole…",
                "user": {"screen_name": "me"},
                "retweeted_status": {
                    "id": 6,
                    "text": "the whole…",
                    "extended_tweet": {"full_text": LONG},
                    "user": {"screen_name": "other"},
                },
            },
            Tweet(f"RT @other: {LONG}", "7", "me"),
            id="v1.1 retweeted_status",
        ),
        pytest.param(
            {"full_text": "no mark: here", "retweeted_status": {"full_text": LONG}},
            Tweet(LONG),
            id="v1.1 retweet without RT @name",
        ),
        pytest.param(
            {"text": "kept", "retweeted_status": {"id": 3}},
            Tweet("kept"),
            id="v1.1 retweeted_status without text",
        ),
        pytest.param(
            {"text": "short…", "extended_tweet": {}, "note_tweet": {"text": LONG}},
            Tweet(LONG),
            id="note_tweet",
        ),
        pytest.param(
            {
                "data": {
                    "id": "1",
                    "text": "RT @a: the whole…",
                    "author_id": "2",
                    "created_at": "2022-01-01T10:00:00.000Z",
                    "referenced_tweets": [
                        {"type": "quoted", "id": "8"},
                        {"type": "retweeted", "id": "9"},
                    ],
                },
                "includes": {
                    "users": [{"id": "2", "username": "me"}],
                    "tweets": [{"id": "8", "text": "quoted"}, {"id": "9", "text": LONG}],
                },
            },
            Tweet(f"RT @a: {LONG}", "1", "2", "2022-01-01T10:00:00.000Z"),
            id="v2 retweet in includes",
        ),
        pytest.param(
            {
                "data": {
                    "text": "RT @a: cut…",
                    "referenced_tweets": [{"type": "retweeted", "id": "9"}, {}],
                },
                "includes": {"tweets": [{"id": "10", "text": "another"}, {"text": "no id"}]},
            },
            Tweet("RT @a: cut…"),
            id="v2 retweet not in includes",
        ),
        pytest.param(
            {
                "data": {"text": "mine", "referenced_tweets": [{"type": "quoted", "id": "9"}]},
                "includes": {"tweets": [{"id": "9", "text": "quoted"}]},
            },
            Tweet("mine"),
            id="v2 quotation",
        ),
        pytest.param(
            {"id": "5", "text": "flat", "author_id": "6", "edit_history_tweet_ids": ["5"]},
            Tweet("flat", "5", "6"),
            id="v2 flat",
        ),
        pytest.param({"id": 5, "text": "small"}, Tweet("small", "5"), id="minimal, number"),
        pytest.param({"id": "x-5", "text": "small"}, Tweet("small", "x-5"), id="minimal, string"),
        pytest.param({"id": 0, "text": "zero"}, Tweet("zero", "0"), id="minimal, zero"),
        pytest.param({"text": "alone"}, Tweet("alone"), id="minimal, no id"),
        pytest.param({"id": None, "text": "x", "user": None}, Tweet("x"), id="nulls"),
        pytest.param({"id": -(10**40), "text": "x"}, Tweet("x", f"-1{'0' * 40}"), id="huge id"),
        pytest.param(
            {"text": " kept\n as it \0 is "}, Tweet(" kept\n as it \0 is "), id="as it is"
        ),
    ],
)
def test_json_formats(record: dict[str, Any], tweet: Tweet) -> None:
    for ascii_only in (False, True):
        value = json.dumps(record, ensure_ascii=ascii_only).encode()
        assert decode_tweet(value) == tweet
        assert decode_tweet(b" \r\n\t" + value + b"\n") == tweet
        assert decode_tweet(BOM_UTF8 + value) == tweet


@pytest.mark.parametrize(
    "text",
    [
        "Forest fire near La Ronge",
        '"quoted" he said',
        '"text"',
        "[breaking] flood",
        '[{"text": "an array"}]',
        "null",
        "123",
        " leading and trailing ",
        "two\nlines\r\n",
        "nul \0 in it",
        "marked \ufeff",
        "\u200b",
        "😂",
        "x" * MAX_TEXT_LENGTH,
        "😂" * MAX_TEXT_LENGTH,
    ],
)
def test_plain_text(text: str) -> None:
    assert decode_tweet(text.encode()) == Tweet(text)
    assert decode_tweet(BOM_UTF8 + text.encode()) == Tweet(text)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "no_value"),
        (b"\xff\xfe", "not_utf8"),
        (b"caf\xe9", "not_utf8"),
        (b"\xed\xa0\x80", "not_utf8"),
        (b'{"text": "caf\xe9"}', "not_utf8"),
        (b"{", "invalid_json"),
        (b"{text}", "invalid_json"),
        (b'{"text": "a"} and more', "invalid_json"),
        (b'{"text": "a\0b"}', "invalid_json"),
        (b'\x0b{"text": "a"}', "invalid_json"),
        (b'{"text": "\\ud800" "a"}', "invalid_json"),
        (b'{"text": 1}', "wrong_type"),
        (b'{"text": ["a"]}', "wrong_type"),
        (b'{"text": "a", "id": 1.5}', "wrong_type"),
        (b'{"text": "a", "id": true}', "wrong_type"),
        (b'{"text": "a", "user": "me"}', "wrong_type"),
        (b'{"data": [{"text": "a"}]}', "wrong_type"),
        (b'{"text": "\\ud800", "id": []}', "wrong_type"),
        (b"{}", "no_text"),
        (b'{"text": null}', "no_text"),
        (b'{"data": {"id": "1"}, "text": "outside"}', "no_text"),
        (b"", "empty_text"),
        (b" \n\t", "empty_text"),
        ("\xa0\u2003".encode(), "empty_text"),
        (b'{"text": ""}', "empty_text"),
        (b'{"text": " \\u00a0"}', "empty_text"),
        (b'{"text": "cut", "full_text": ""}', "empty_text"),
        (b'{"text": "a", "id": "%s"}' % TOO_LONG_NAME, "wrong_type"),
        (b'{"text": "a", "id_str": "%s"}' % TOO_LONG_NAME, "wrong_type"),
        (b'{"text": "a", "author_id": "%s"}' % TOO_LONG_NAME, "wrong_type"),
        (b'{"text": "a", "user": {"screen_name": "%s"}}' % TOO_LONG_NAME, "wrong_type"),
        (b"x" * (MAX_TEXT_LENGTH + 1), "text_too_long"),
        (b'{"text": "' + b"x" * (MAX_TEXT_LENGTH + 1) + b'"}', "text_too_long"),
    ],
)
def test_reasons_to_refuse(value: bytes | None, reason: str) -> None:
    assert refused(value) == reason


@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        (rb"\ud83d\ude00", "😀"),
        (rb"\ud83d", "\ufffd"),
        (rb"\ude00", "\ufffd"),
        (rb"a\ud83db", "a\ufffdb"),
        (rb"\ude00\ud83d", "\ufffd\ufffd"),
        (rb"\ud83d\ud83d\ude00", "\ufffd😀"),
        (rb"\ufeff\ud800", "\ufeff\ufffd"),
    ],
)
def test_lone_surrogates_are_replaced(escaped: bytes, text: str) -> None:
    record = b'{"text": "%s", "id_str": "%s", "user": {"screen_name": "%s"}, "%s": [["%s"]]}'
    assert decode_tweet(record % ((escaped,) * 5)) == Tweet(text, text, text)


DEPTH = 100_000


@pytest.mark.parametrize(
    "value",
    [
        b'{"x": ' + b"[" * DEPTH,
        b'{"text": "a", "x": ' + b"[" * DEPTH + b"]" * DEPTH + b"}",
        b'{"text": "\\ud800", "x": ' + b"[" * DEPTH + b"]" * DEPTH + b"}",
        b'{"x": ' * DEPTH + b"1" + b"}" * DEPTH,
        b'{"data": ' * DEPTH + b"{}" + b"}" * DEPTH,
        b'{"retweeted_status": ' * DEPTH + b"{}" + b"}" * DEPTH,
    ],
    ids=["open", "closed", "lenient", "objects", "data", "retweets"],
)
def test_deep_nesting_is_refused(value: bytes) -> None:
    assert refused(value) == "invalid_json"


def test_brackets_alone_are_text() -> None:
    assert refused(b"[" * DEPTH) == "text_too_long"
    assert decode_tweet(b"[" * 1000) == Tweet("[" * 1000)


@pytest.mark.parametrize("digits", [100, 1000, 1001, 4300, 4301, 50_000])
def test_huge_numbers(digits: int) -> None:
    """Python refuses to convert numbers of more than 4300 digits."""
    number = b"9" * digits
    ignored = b'{"text": "a", "x": %s}' % number
    assert decode_tweet(ignored) == Tweet("a")
    for text in (b"a", b"\\ud800"):
        as_id = b'{"text": "%s", "id": %s}' % (text, number)
        if digits <= 1000:
            assert decode_tweet(as_id).id == number.decode()
        else:
            assert refused(as_id) in ("wrong_type", "invalid_json")


REASONS = {"not_utf8", "invalid_json", "wrong_type", "no_text", "empty_text", "text_too_long"}


def hold(value: bytes) -> Tweet | None:
    """Any value becomes a tweet fit for the encoder, or a RecordError of a known reason."""
    try:
        tweet = decode_tweet(value)
    except RecordError as error:
        if error.reason not in REASONS:
            raise
        str(error).encode()  # it goes into a record's header
        return None
    assert tweet.text.strip()
    assert len(tweet.text) <= MAX_TEXT_LENGTH
    for field in (tweet.text, tweet.id, tweet.author, tweet.created_at):
        if field is not None:
            field.encode()  # raises on a lone surrogate
    parse_created_at(tweet.created_at)
    return tweet


@given(st.one_of(st.binary(), st.binary().map(lambda tail: b"{" + tail)))
@example(b'{\x00"\x00t\x00e\x00x\x00t\x00"\x00:\x00"\x00\x00\xd8"\x00}\x00')
@settings(max_examples=300, deadline=None)
def test_any_bytes(value: bytes) -> None:
    hold(value)


KEYS = [
    *("text", "full_text", "id", "id_str", "created_at", "user", "author_id", "extended_tweet"),
    *("note_tweet", "retweeted_status", "referenced_tweets", "data", "includes", "tweets", "type"),
]
any_text = st.text(st.characters(), max_size=8)  # lone surrogates, too
scalars = st.none() | st.booleans() | st.integers() | st.floats() | any_text
keys = st.sampled_from(KEYS) | any_text


@given(
    st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner)
    ).map(json.dumps)
)
@settings(max_examples=300, deadline=None)
def test_any_json(value: str) -> None:
    tweet = hold(value.encode())
    if tweet is not None and not value.startswith("{"):
        assert tweet == Tweet(value)


maybe_text = st.none() | any_text
leaf = st.fixed_dictionaries(
    {},
    optional={
        "text": maybe_text,
        "full_text": maybe_text,
        "id": maybe_text | st.integers(),
        "id_str": maybe_text,
        "author_id": maybe_text,
        "created_at": maybe_text,
        "user": st.none() | st.fixed_dictionaries({}, optional={"screen_name": maybe_text}),
        "note_tweet": st.none() | st.fixed_dictionaries({}, optional={"text": maybe_text}),
        "extended_tweet": st.none() | st.fixed_dictionaries({}, optional={"full_text": maybe_text}),
        "referenced_tweets": st.none()
        | st.lists(st.fixed_dictionaries({"type": st.just("retweeted"), "id": maybe_text})),
    },
)
statuses = st.recursive(
    leaf,
    lambda inner: st.builds(
        lambda status, data, retweeted, tweets: {
            **status,
            "data": data,
            "retweeted_status": retweeted,
            "includes": {"tweets": tweets},
        },
        leaf,
        st.none() | inner,
        st.none() | inner,
        st.none() | st.lists(inner, max_size=3),
    ),
    max_leaves=6,
)


@given(statuses)
@settings(max_examples=300, deadline=None)
def test_any_json_of_the_right_types(record: dict[str, Any]) -> None:
    hold(json.dumps(record).encode())


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        (V1_TIME, datetime(2018, 10, 10, 20, 19, 24, tzinfo=UTC)),
        ("Wed Oct 10 20:19:24 +0530 2018", datetime(2018, 10, 10, 14, 49, 24, tzinfo=UTC)),
        ("2022-01-01T10:00:00.000Z", datetime(2022, 1, 1, 10, tzinfo=UTC)),
        ("2022-01-01T10:00:00.25+02:00", datetime(2022, 1, 1, 8, 0, 0, 250_000, tzinfo=UTC)),
        ("2022-01-01T10:00:00", datetime(2022, 1, 1, 10, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("0001-01-01T00:00:00+14:00", None),
        ("9999-12-31T23:59:59-14:00", None),
        ("Mon Jan 01 00:00:00 +1400 0001", None),
        ("Wed Oct 10 20:19:24 +2500 2018", None),
        ("Wed Oct 32 20:19:24 +0000 2018", None),
        ("yesterday", None),
        ("1539202764", None),
        ("", None),
        ("\0", None),
        ("\ud800", None),
        (None, None),
    ],
)
def test_parse_created_at(written: str | None, moment: datetime | None) -> None:
    found = parse_created_at(written)
    assert found == moment
    if found is not None:
        assert found.tzinfo is UTC


@given(st.datetimes(), st.text(st.characters()))
@settings(max_examples=200, deadline=None)
def test_parse_created_at_reads_both_formats_and_raises_nothing(
    moment: datetime, nonsense: str
) -> None:
    moment = moment.replace(tzinfo=UTC)
    assert parse_created_at(moment.isoformat()) == moment
    as_v1 = f"{moment:%a %b %d %H:%M:%S +0000} {moment.year:04}"
    assert parse_created_at(as_v1) == moment.replace(microsecond=0)
    parse_created_at(nonsense)

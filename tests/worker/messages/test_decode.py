import json
import time
from codecs import BOM_UTF8
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.errors import RecordError
from worker.messages.alert import Model, Source, decode_alert, encode_alert, make_alert
from worker.messages.decode import MAX_CHARACTERS, MAX_ITEMS, Decoded, Decoder, Item, Paths
from worker.messages.notices import KINDS
from worker.messages.tweet import MAX_TEXT_LENGTH, Notice, Tweet, parse_created_at

decode = Decoder()

V1_TIME = "Wed Oct 10 20:19:24 +0000 2018"
LONG = "the whole text, which is longer than the other one"


def refused(value: bytes) -> str:
    with pytest.raises(RecordError) as caught:
        decode(value)
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
            Tweet(
                "To make room & more…",
                "1050118621198921728",
                "TwitterAPI",
                V1_TIME,
                link="https://x.com/TwitterAPI/status/1050118621198921728",
            ),
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
            Tweet(
                f"RT @a: {LONG}",
                "1",
                "me",
                "2022-01-01T10:00:00.000Z",
                link="https://x.com/me/status/1",
            ),
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
            Tweet("mine\nquoted"),
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
        pytest.param({"id": "7" * 1001, "text": "x"}, Tweet("x"), id="id of no sense"),
        pytest.param({"user": {"screen_name": "7" * 1001}, "text": "x"}, Tweet("x"), id="name"),
        pytest.param(
            {"data": {"id": "1"}, "text": "outside"}, Tweet("outside"), id="data, no text"
        ),
        pytest.param({"text": "whole", "full_text": " "}, Tweet("whole"), id="blank full_text"),
        pytest.param(
            {"text": " kept\n as it \0 is "}, Tweet(" kept\n as it \0 is "), id="as it is"
        ),
    ],
)
def test_json_formats(record: dict[str, Any], tweet: Tweet) -> None:
    for ascii_only in (False, True):
        value = json.dumps(record, ensure_ascii=ascii_only).encode()
        assert decode(value) == tweet
        assert decode(b" \r\n\t" + value + b"\n") == tweet
        assert decode(BOM_UTF8 + value) == tweet


@pytest.mark.parametrize(
    "text",
    [
        "Forest fire near La Ronge",
        '"quoted" he said',
        "[breaking] flood",
        "[1/3] flood",
        "true story",
        '"quoted", he said',
        "911, what is your emergency",
        "NaN",
        "911 was called",
        "data: the new oil",
        "event: tonight\n8 pm",
        ":( flood",
        "<3 a < b & c > d",
        " leading and trailing ",
        "two\nlines\r\n",
        "marked \ufeff",
        "\u200b",
        "😂",
        "x" * MAX_TEXT_LENGTH,
        "😂" * MAX_TEXT_LENGTH,
    ],
)
def test_plain_text(text: str) -> None:
    assert decode(text.encode()) == Tweet(text)
    assert decode(BOM_UTF8 + text.encode()) == Tweet(text)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"\xff\xfe", "not_utf8"),
        ("Flood".encode("utf-16"), "not_utf8"),
        ("Flood in La Ronge".encode("utf-16-le"), "not_utf8"),
        ("Flood in La Ronge".encode("utf-16-be"), "not_utf8"),
        (b"nul \0 in it", "binary"),
        (b"\0\0\0\0\7\0\x0a\x02121Forest fire", "binary"),
        (b"\0\0\0\0\7bForest fire near La Ronge, two villages evacuated", "binary"),
        (b"\x0a\x02121Forest fire", "binary"),
        (b"Obj\x01\x04\x14avro.codec", "binary"),
        (b"\x1f\x8b\x08 gzip", "binary"),
        (b"PAR1\x15\x00\x15 parquet", "binary"),
        (b"606171234567890944", "unknown_format"),
        (b"-1.5", "unknown_format"),
        (b"true", "unknown_format"),
        (b"[1, 2]", "unknown_format"),
        (b'["EVENT", "sub", {"content": "Flood"}]', "unknown_format"),
        (b'    "text": "Flood in La Ronge",', "unknown_format"),
        (b'  "user": {', "unknown_format"),
        (b'  "indices": [', "unknown_format"),
        (b'  "id": 5', "unknown_format"),
        (b"  },", "unknown_format"),
        (b"  -102.5,", "unknown_format"),
        (b"  null,", "unknown_format"),
        (b'  "fire",', "unknown_format"),
        (b"]", "unknown_format"),
        (b"<?xml version='1.0'?><tweet>Flood</tweet>", "unknown_format"),
        (b'[{"text": "a"', "invalid_json"),
        (b'["a", ', "invalid_json"),
        (b'\x1e{"text": "a"', "invalid_json"),
        (b'\0\0\0\0\1{"text": "a"', "invalid_json"),
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
        (b"{}", "no_text"),
        (b'{"text": null}', "no_text"),
        (b'{"text": ""}', "empty_text"),
        (b'{"text": " \\u00a0"}', "empty_text"),
        (b'{"text": "<p></p>"}', "empty_text"),
        (b'{"text": "&#32;"}', "empty_text"),
        (b"x" * (MAX_TEXT_LENGTH + 1), "text_too_long"),
        (b'{"text": "' + b"x" * (MAX_TEXT_LENGTH + 1) + b'"}', "text_too_long"),
    ],
)
def test_reasons_to_refuse(value: bytes, reason: str) -> None:
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
    tweet = found(record % ((escaped,) * 5))
    assert (tweet.text, tweet.id, tweet.author) == (text, text, text)


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
    assert decode(b"[" * 1000) == Tweet("[" * 1000)


@pytest.mark.parametrize(
    "value", [b"", b" \n\t", b"\r\n", b"keep-alive", b":thump\n", b":)", b'"ping"']
)
def test_blank_values_and_keep_alives_are_notices(value: bytes) -> None:
    for input_format in ("auto", "json", "text"):
        if value != b'"ping"' or input_format != "text":
            assert Decoder(input_format)(value) == Notice("keep_alive")


@pytest.mark.parametrize("value", [None, b"null", b'{"schema": null, "payload": null}'])
def test_tombstones_are_notices(value: bytes | None) -> None:
    assert decode(value) == Notice("tombstone")


ONE = b'{"id": 7, "text": "Flood in La Ronge"}'


@pytest.mark.parametrize(
    "value",
    [
        b"\0\0\0\0\7" + ONE,
        b"\0\0\0\0\0\0\0\0\7" + ONE,
        b"\x1e" + ONE + b"\n",
        b"38\r\n" + ONE + b"\r\n",
        b"data: " + ONE + b"\n\n",
        b"event: update\nid: 5\ndata: " + ONE + b"\n\n",
        b"event: message\ndata: " + ONE,
        b":thump\n\ndata:" + ONE,
        json.dumps(ONE.decode()).encode(),
        ONE.decode().encode("utf-16"),
        ONE.decode().encode("utf-16-le"),
        ONE.decode().encode("utf-16-be"),
    ],
)
def test_frames_are_taken_off(value: bytes) -> None:
    assert decode(value) == Tweet("Flood in La Ronge", "7")


def test_a_deletion_of_server_sent_events_is_a_notice() -> None:
    assert decode(b"event: delete\ndata: 110842\n\n") == Notice("delete")


@pytest.mark.parametrize(
    "line", [b"event: update", b"event: delete", b"data: 110842", b"data: ping", b":thump", b""]
)
def test_a_line_of_server_sent_events_is_a_notice(line: bytes) -> None:
    """A connector that cuts at each line sends the lines around the data, too."""
    assert isinstance(decode(line), Notice)


@pytest.mark.parametrize(
    "value",
    [
        b'[%s, {}, {"delete": {}}]' % ONE,
        b'%s\n{}\r\n{"delete": {}}\n' % ONE,
        b'\x1e%s\n\x1e{}\n\x1e{"delete": {}}\n' % ONE,
        b'window.YTD.tweets.part0 = [%s, {}, {"delete": {}}];\n' % ONE,
        b'{"schema": {}, "payload": [%s, {}, {"delete": {}}]}' % ONE,
        b'{"statuses": [%s, {}, {"delete": {}}], "search_metadata": {}}' % ONE,
        b'{"for_user_id": "9", "tweet_create_events": [%s, {}, {"delete": {}}]}' % ONE,
    ],
)
def test_several_posts_in_a_record(value: bytes) -> None:
    items = decode(value)
    assert isinstance(items, list)
    good, bad, notice = items
    assert good.found == Tweet("Flood in La Ronge", "7")
    assert json.loads(good.encode() or b"") == json.loads(ONE)
    assert isinstance(bad.found, RecordError)
    assert (bad.found.reason, bad.encode()) == ("no_text", b"{}")
    assert notice.found == Notice("delete")


def test_a_page_of_v2_shares_what_it_includes() -> None:
    quoting = {"id": "2", "text": "Stay safe", "author_id": "9"}
    quoting["referenced_tweets"] = [{"type": "quoted", "id": "5"}]  # type: ignore[assignment]
    users = [{"id": "9", "username": "ana"}, {"id": "8", "username": "bo"}]
    page = {
        "data": [{"id": "1", "text": "Flood", "author_id": "8"}, quoting, 5, {"id": "3"}],
        "includes": {"users": users, "tweets": [{"id": "5", "text": "Fire"}]},
        "meta": {"result_count": 4},
    }
    items = decode(json.dumps(page).encode())
    assert isinstance(items, list)
    found = [item.found for item in items]
    assert found[:2] == [
        Tweet("Flood", "1", "bo", link="https://x.com/bo/status/1"),
        Tweet("Stay safe\nFire", "2", "ana", link="https://x.com/ana/status/2"),
    ]
    assert [getattr(error, "reason", None) for error in found[2:]] == ["unknown_format", "no_text"]
    # Each can be put back by itself.
    assert [decode(item.encode()) for item in items[:2]] == found[:2]


def test_pages_of_bluesky() -> None:
    view = {"uri": "at://did:plc:a/app.bsky.feed.post/k", "author": {"handle": "a.example"}}
    view["record"] = {"$type": "app.bsky.feed.post", "text": "Flood"}
    for page in ({"posts": [view]}, {"feed": [{"post": view}], "cursor": "x"}):
        (item,) = decode(json.dumps(page).encode())  # type: ignore[misc]
        assert isinstance(item, Item)
        assert isinstance(item.found, Tweet)
        assert item.found.author == "a.example"


def test_a_record_of_too_many_posts_is_refused() -> None:
    assert refused(json.dumps([{"text": "a"}] * (MAX_ITEMS + 1)).encode()) == "too_many_tweets"
    long = [{"text": "a" * 20_000}] * (MAX_CHARACTERS // 20_000 + 1)
    assert refused(json.dumps(long).encode()) == "too_many_tweets"
    assert len(decode(json.dumps(long[1:]).encode())) == len(long) - 1  # type: ignore[arg-type]


@pytest.mark.parametrize("side_field", [1, 1.5], ids=["usual types", "other types"])
def test_many_references_take_linear_time(side_field: float) -> None:
    many = [{"type": "quoted", "id": f"{n}"} for n in range(12_000)]
    included = [{"id": f"z{n}", "text": "not this"} for n in range(12_000)]
    tweet = {"text": "Flood", "referenced_tweets": many}
    record = {"id": side_field, "data": tweet, "includes": {"tweets": included}}
    start = time.process_time()
    assert decode(json.dumps(record).encode()) == Tweet("Flood")
    assert time.process_time() - start < 3  # it takes .2 s; all in all would take 7 to 100 s


def test_an_array_in_an_array_is_refused() -> None:
    (item,) = decode(b'[{"posts": [{"text": "a"}]}]')  # type: ignore[misc]
    assert isinstance(item, Item)
    assert isinstance(item.found, RecordError)
    assert item.found.reason == "unknown_format"


def test_the_input_format_is_a_choice() -> None:
    text, quoted = b"Flood in La Ronge", b'"Flood in La Ronge"'
    for value in (ONE, quoted):
        assert Decoder("json")(value) == decode(value)
        assert Decoder("text")(value) == Tweet(value.decode())
    for input_format in ("auto", "text"):
        assert Decoder(input_format)(text) == Tweet(text.decode())
    with pytest.raises(RecordError) as caught:
        Decoder("json")(text)
    assert caught.value.reason == "invalid_json"
    with pytest.raises(RecordError) as caught:
        Decoder("text")(b"\0\0\0\0\7" + ONE)
    assert caught.value.reason == "binary"


def test_paths_to_the_fields_of_an_unknown_format() -> None:
    paths = Paths("doc.parts.0.body", "doc.id", "by.name", "doc.at", "doc.lang")
    record = {
        "doc": {
            "parts": [{"body": "Flood &amp; fire"}],
            "id": 7,
            "at": 1691270047,
            "lang": "en-GB",
        },
        "by": {"name": "ana"},
        "text": "not this",
    }
    by_paths = Decoder(paths=paths)
    expected = Tweet("Flood & fire", "7", "ana", 1691270047, "en")
    assert by_paths(json.dumps(record).encode()) == expected
    wrapped = {"schema": {}, "payload": record}
    assert by_paths(json.dumps(wrapped).encode()) == expected
    assert by_paths(ONE) == Tweet("Flood in La Ronge", "7")  # which has no text there
    assert Decoder(paths=Paths("a.b"))(b'{"a.b": "Flood"}') == Tweet("Flood")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (b'{"headline": "x", "url": "y"}', ["keys are: headline, url;", "TRIAGE_TEXT_FIELD"]),
        (b"{}", ["keys are: none"]),
        (
            b'{"schema": {}, "payload": {"headline": "x"}}',
            ["in a Kafka Connect envelope", "headline", "schemas.enable=false"],
        ),
        (b'{"op": "c", "after": {"a": 1}}', ["Debezium", "ExtractNewRecordState"]),
        (b"\0\0\0\0\7\x0a\x02", ["schema registry", "schema 7", "schemas.enable=false"]),
        (b'{"text": 1}', ["'text' is of type int"]),
        (b"[1]", ["element of type int"]),
        (b'{"a\\u001b[2J": 1}', ["keys are: a?[2J;"]),
    ],
)
def test_the_error_names_what_was_found(value: bytes, said: list[str]) -> None:
    with pytest.raises(RecordError) as caught:
        decode(value)
    for part in said:
        assert part in str(caught.value)


@pytest.mark.parametrize("digits", [100, 1000, 1001, 4300, 4301, 50_000])
def test_huge_numbers(digits: int) -> None:
    """Python refuses to convert numbers of more than 4300 digits."""
    number = b"9" * digits
    ignored = b'{"text": "a", "x": %s}' % number
    assert decode(ignored) == Tweet("a")
    for text in (b"a", b"\\ud800"):
        as_id = b'{"text": "%s", "id": %s}' % (text, number)
        if digits <= 1000:
            assert found(as_id).id == number.decode()
        elif digits <= 4300:
            assert found(as_id).id is None
        else:
            assert not isinstance(outcome(as_id), Notice)


REASONS = {
    *("not_utf8", "binary", "invalid_json", "unknown_format", "wrong_type", "no_text"),
    *("empty_text", "text_too_long", "too_many_tweets"),
}


def found(value: bytes) -> Tweet:
    tweet = decode(value)
    assert isinstance(tweet, Tweet)
    return tweet


def outcome(value: bytes) -> Decoded | RecordError:
    try:
        return decode(value)
    except RecordError as error:
        return error


def hold(value: bytes) -> Decoded | RecordError:
    """Check that any value becomes tweets for the encoder, notices, or a known error."""
    decoded = outcome(value)
    items = decoded if isinstance(decoded, list) else [Item(None, decoded)]  # type: ignore[arg-type]
    for item in items:
        one = item.found
        if isinstance(decoded, list):
            again = outcome(item.encode() or b"")
            # An array in an array is refused, and read when it comes by itself.
            nested = isinstance(one, RecordError) and "another array" in str(one)
            assert type(again) is type(one) or (nested and isinstance(again, list | Notice))
        if isinstance(one, RecordError):
            assert one.reason in REASONS
            str(one).encode()  # it goes into a record's header
        elif isinstance(one, Notice):
            assert one.kind in KINDS
        else:
            hold_tweet(one)
    return decoded


def hold_tweet(tweet: Tweet) -> None:
    assert tweet.text.strip()
    assert len(tweet.text) <= MAX_TEXT_LENGTH
    for field in (tweet.text, tweet.id, tweet.author, tweet.lang, tweet.place, tweet.link):
        if field is not None:
            field.encode()  # raises on a lone surrogate
    parse_created_at(tweet.created_at)
    source = Source("tweets.raw", 0, 1, None)
    alert = make_alert(tweet, 0.9, 0.5, Model("LSTM", 1, "d"), source, datetime.now(UTC))
    assert decode_alert(encode_alert(alert)) == alert


@given(st.one_of(st.binary(), st.binary().map(lambda tail: b"{" + tail)))
@example(b'{\x00"\x00t\x00e\x00x\x00t\x00"\x00:\x00"\x00\x00\xd8"\x00}\x00')
@settings(max_examples=300, deadline=None)
def test_any_bytes(value: bytes) -> None:
    hold(value)


KEYS = [
    *("text", "full_text", "id", "id_str", "created_at", "user", "author_id", "extended_tweet"),
    *("note_tweet", "retweeted_status", "referenced_tweets", "data", "includes", "tweets", "type"),
    *(
        "lang",
        "place",
        "coordinates",
        "geo",
        "payload",
        "schema",
        "after",
        "op",
        "message",
        "delete",
    ),
    *(
        "did",
        "commit",
        "record",
        "$type",
        "content",
        "account",
        "objectType",
        "verb",
        "body",
        "Text",
    ),
    *(
        "rawContent",
        "tweet",
        "@timestamp",
        "event",
        "errors",
        "posts",
        "$numberLong",
        "quoted_status",
    ),
]
any_text = st.text(st.characters(), max_size=8)  # lone surrogates, too
scalars = st.none() | st.booleans() | st.integers() | st.floats() | any_text
keys = st.sampled_from(KEYS) | any_text


@given(
    st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner)
    ).map(json.dumps)
)
@example('[{"data": [null]}]')
@example('{"data": [[{}]]}')
@settings(max_examples=300, deadline=None)
def test_any_json(value: str) -> None:
    hold(value.encode())


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
        ("1539202764", datetime(2018, 10, 10, 20, 19, 24, tzinfo=UTC)),
        ("1539202764000", datetime(2018, 10, 10, 20, 19, 24, tzinfo=UTC)),
        (1539202764, datetime(2018, 10, 10, 20, 19, 24, tzinfo=UTC)),
        (1539202764.5, datetime(2018, 10, 10, 20, 19, 24, 500_000, tzinfo=UTC)),
        (1539202764000, datetime(2018, 10, 10, 20, 19, 24, tzinfo=UTC)),
        (1539202764000000, datetime(2018, 10, 10, 20, 19, 24, tzinfo=UTC)),
        (1539202764000000000, datetime(2018, 10, 10, 20, 19, 24, tzinfo=UTC)),
        (2**63, datetime(2262, 4, 11, 23, 47, 16, 854_776, tzinfo=UTC)),
        (10**30, None),
        (-(10**10), datetime(1653, 2, 10, 6, 13, 20, tzinfo=UTC)),
        ("", None),
        ("\0", None),
        ("\ud800", None),
        (None, None),
    ],
)
def test_parse_created_at(written: str | float | None, moment: datetime | None) -> None:
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

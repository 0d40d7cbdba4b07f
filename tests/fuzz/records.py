"""Records without end: tweets of every accepted format, and what may become of them on the way."""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from tests.faults.malformed import malformed
from tests.faults.texts import mixed_texts
from worker.kafka.records import Headers, Record
from worker.messages.tweet import MAX_TEXT_LENGTH

_KEYS = (
    *("text", "full_text", "id", "id_str", "created_at", "user", "author_id", "extended_tweet"),
    *("note_tweet", "retweeted_status", "referenced_tweets", "data", "includes", "tweets", "type"),
    *("screen_name", "entities", "lang", "quoted_status", "place", "coordinates", "geo", ""),
    *(
        "payload",
        "schema",
        "before",
        "after",
        "op",
        "@timestamp",
        "message",
        "event",
        "$numberLong",
    ),
    *("did", "commit", "record", "$type", "content", "account", "reblog", "objectType", "body"),
    *("rawContent", "tweet", "Text", "Id", "errors", "delete", "posts", "feed", "statuses"),
)
_CHARACTERS = (
    *(
        "\0",
        "\x1b[2J",
        "\x7f",
        "\x85",
        "\r\n",
        "\t",
        "\u2028",
        "\xa0",
        "\u3000",
        "\ufeff",
        "\ufffd",
    ),
    *("\u202e", "\u2066", "\u200f", "\u200d", "\u200b", "\u0301" * 40, "e\u0301", "\u1100\u1161"),
    *(
        "🔥",
        "👩‍👩‍👧‍👦",
        "🇺🇳",
        "\U0010ffff",
        "\U000e0041",
        "ﬁ",
        "İ",
        "ß",
        "ǅ",
        "٣٤",
        "½",
        "𝟙𝟚",
        "漢字",
        "ไฟ",
    ),
    *("&amp;", "&#x0;", "&#1114112;", "&#99999999999;", "&notit;", "&", "<b>", "</p>", "%s", "{0}"),
    *("#", "##a#b", "#OneTwoThree_4", "@", "@a@b", "http://", "https://t.co/x…", "www.", "a.b.c"),
    *(
        "1,000.5:30",
        "soooooo",
        "can't've",
        "'",
        '"',
        "\\",
        "\\u0000",
        ":-)",
        "...",
        "—",
        "(((",
        "_",
    ),
)
_NUMBERS = (
    *("0", "-0", "-1", "9" * 19, str(2**63), str(2**64), "9" * 400, "9" * 5000, "1.5", "1e400"),
    *(
        "-1e-400",
        "1E+2",
        "0.1e99999999999",
        "NaN",
        "Infinity",
        "-Infinity",
        "01",
        "+1",
        ".5",
        "0x1",
    ),
)
_BYTES = (
    *(b"\0", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf", b"{", b"}"),
    *(b'"', b"\\", b"\\ud83d", b"\\udc00", b"\\u0000", b",", b":", b"[", b"]", b"\n", b'{"text":'),
)


def inputs(seed: int) -> Iterator[Record]:
    """Yield records of the input topic without end, the same for the same seed."""
    choose = random.Random(seed)
    texts = mixed_texts(choose)
    offset = 0
    while True:
        value = _value(choose, texts)
        key = choose.choice((None, b"", b"key", choose.randbytes(8)))
        yield Record("tweets.raw", 0, offset, _timestamp(choose), key, value, _headers(choose))
        offset += 1


def _value(choose: random.Random, texts: Iterator[str]) -> bytes | None:
    draw = choose.random()
    if draw < 0.05:
        return malformed(choose)[1]
    if draw < 0.07:
        return _large(choose, texts)
    if draw < 0.17:
        return _text(choose, texts).encode("utf-8", choose.choice(("replace", "surrogatepass")))
    made = _post(choose, texts) if draw < 0.45 else _written(choose, _status(choose, texts))
    value = made.encode("utf-8", "surrogatepass")
    while choose.random() < 0.35:
        value = _mutated(choose, value)
    return value


def _text(choose: random.Random, texts: Iterator[str]) -> str:
    words = next(texts).split()
    while choose.random() < 0.6:
        drawn = choose.choice(_CHARACTERS) * choose.choice((1, 1, 1, 2, 40))
        if choose.random() < 0.1:
            drawn = chr(choose.randrange(0x110000))
        place = choose.randrange(len(words) + 1)
        if choose.random() < 0.5 and words:
            place = min(place, len(words) - 1)
            cut = choose.randrange(len(words[place]) + 1)
            words[place] = words[place][:cut] + drawn + words[place][cut:]
        else:
            words.insert(place, drawn)
    return choose.choice((" ", " ", " ", "", "  ", "\n")).join(words)


def _status(choose: random.Random, texts: Iterator[str], depth: int = 0) -> list[tuple[str, Any]]:
    """Return the members of an object, some names twice."""
    text, number = _text(choose, texts), choose.randrange(10**18)
    reference = {"type": "retweeted", "id": str(number)}
    whole: dict[str, Any] = choose.choice(
        (
            {"id": number, "text": text},
            {"id_str": str(number), "full_text": text, "user": {"screen_name": "a"}, "text": "x…"},
            {"id": str(number), "text": text, "author_id": "7", "created_at": "2022-01-01T10:00Z"},
            {"text": "RT @a: cut…", "referenced_tweets": [reference]},
            {"text": "cut…", "extended_tweet": {"full_text": text}, "created_at": text},
            {"text": "cut…", "note_tweet": {"text": text}},
        )
    )
    members = list(whole.items())
    if depth < 3 and choose.random() < 0.3:
        inner = _status(choose, texts, depth + 1)
        name = choose.choice(("data", "retweeted_status", "includes"))
        members.append((name, {"tweets": [inner]} if name == "includes" else inner))
    while choose.random() < 0.4:
        members.append((choose.choice(_KEYS), _any(choose, texts)))
    if choose.random() < 0.3:
        choose.shuffle(members)
    return members


def _post(choose: random.Random, texts: Iterator[str]) -> str:
    """Return a post of another network or tool, a notice, or several posts, in envelopes."""
    text, number = _text(choose, texts), str(choose.randrange(10**18))
    html = f"<p>{text}<br /><a href='https://a.example'>more</a> &amp; more</p>"
    account = {"acct": "a", "username": "a"}
    post = {"$type": "app.bsky.feed.post", "text": text, "createdAt": "2026-01-01T10:00:00Z"}
    commit = {"operation": "create", "collection": "app.bsky.feed.post", "rkey": "3l"}
    body = {"objectType": "activity", "verb": "post", "body": text, "id": f"tag:a:{number}"}
    inner: Any = choose.choice(
        (
            {"did": "did:plc:a", "kind": "commit", "commit": commit | {"record": post}},
            {"did": "did:plc:a", "kind": "commit", "commit": commit | {"operation": "delete"}},
            {"uri": "at://did:plc:a/app.bsky.feed.post/3l", "record": post, "author": {}},
            {"id": number, "content": html, "account": account, "language": "en"},
            {"id": number, "content": "", "reblog": {"content": html}, "account": account},
            body | {"twitter_quoted_status": body, "geo": {"coordinates": [1, 200]}},
            {"rawContent": text, "id": number, "quotedTweet": {"rawContent": html}},
            {"Id": number, "Text": text, "CreatedAt": 1433354652000},
            {"tweet": text, "username": "a", "language": choose.choice(("en", "und", "es"))},
            {"delete": {"status": {"id": number}}},
            {"errors": [{"title": text}]},
            {"data": [{"id": number, "text": text}, {"id": "2"}], "includes": {"users": [{}]}},
            [
                {"id": number, "text": text, "lang": choose.choice(("en", "ja", 5))},
                {},
                {"limit": {}},
            ],
            {
                "text": text,
                "id": {"$numberLong": number},
                "created_at": float(number),
                "user": text,
            },
        )
    )
    while choose.random() < 0.4:
        written = json.dumps(inner)
        inner = choose.choice(
            (
                {"schema": {"type": "string"}, "payload": choose.choice((inner, written))},
                {"before": None, "after": inner, "op": choose.choice("crud")},
                {"specversion": "1.0", "type": "t", "source": "s", "data": inner},
                {"@timestamp": "2026-01-01T10:00:00Z", "message": written},
                {"event": choose.choice(("update", "delete")), "stream": [], "payload": written},
                written,
                [inner],
            )
        )
    frame = choose.choice(("", "", "", "", "\0\0\0\0\7", "\x1e", "data: ", "\ufeff", "55\r\n"))
    return frame + json.dumps(inner, ensure_ascii=choose.random() < 0.5)


def _any(choose: random.Random, texts: Iterator[str], depth: int = 0) -> Any:
    """Return any JSON value. Numbers are given as they are to be written."""
    kinds: list[Callable[[], Any]] = [
        lambda: None,
        lambda: choose.random() < 0.5,
        lambda: _Written(choose.choice(_NUMBERS)),
        lambda: _text(choose, texts),
        lambda: choose.choice(("", " ", "\ud800", "a\udfffb", "\0", "x" * 300)),
    ]
    if depth < 4:
        kinds += [
            lambda: [_any(choose, texts, depth + 1) for _ in range(choose.randrange(4))],
            lambda: [
                (choose.choice(_KEYS), _any(choose, texts, depth + 1))
                for _ in range(choose.randrange(4))
            ],
        ]
    return choose.choice(kinds)()


class _Written(str):
    """Goes into the JSON as it is."""


def _written(choose: random.Random, data: Any) -> str:
    """Return JSON text: a list of pairs is an object; spaces and escapes vary."""
    if isinstance(data, _Written):
        return str(data)
    if isinstance(data, dict):
        data = list(data.items())
    if not isinstance(data, list):
        return json.dumps(data, ensure_ascii=choose.random() < 0.5)
    space = choose.choice(("", "", " ", "\n\t"))
    if all(isinstance(item, tuple) for item in data) and data:
        pairs = [f"{json.dumps(name)}{space}:{_written(choose, item)}" for name, item in data]
        return "{" + f",{space}".join(pairs) + space + "}"
    return "[" + ",".join(_written(choose, item) for item in data) + "]"


def _mutated(choose: random.Random, value: bytes) -> bytes:
    """Lose, double, replace, flip or insert a few bytes."""
    start = choose.randrange(len(value) + 1)
    end = min(len(value), start + choose.choice((1, 1, 2, 8, 100)))
    middle = choose.choice(
        (
            b"",
            value[start:end] * 2,
            choose.choice(_BYTES),
            choose.randbytes(choose.randrange(1, 5)),
            choose.choice(_NUMBERS).encode(),
            bytes(byte ^ (1 << choose.randrange(8)) for byte in value[start:end]),
        )
    )
    tail = b"" if choose.random() < 0.1 else value[end:]
    return value[:start] + middle + tail


def _large(choose: random.Random, texts: Iterator[str]) -> bytes:
    """Return a value that is long, deep or has many parts."""
    drawn = choose.choice(_CHARACTERS)
    length = choose.choice((MAX_TEXT_LENGTH, MAX_TEXT_LENGTH + 1, 5_000, choose.randrange(10**5)))
    deep = choose.choice((50, 900, 5_000, 50_000))
    whole = next(texts)
    made: Callable[[], str] = choose.choice(
        (
            lambda: (drawn * length)[:length],
            lambda: json.dumps({"id": 1, "text": (f"{drawn} " * length)[:length]}),
            lambda: " ".join(chr(choose.randrange(33, 0x3000)) * 9 for _ in range(length // 10)),
            lambda: f'{{"text": "{whole}", "user": ' + '{"a": ' * deep + "1" + "}" * deep + "}",
            lambda: f'{{"text": "a", "entities": {"[" * deep}{"]" * deep}}}',
            lambda: '{"data":' * deep + '{"text": "fire"}' + "}" * deep,
            lambda: f'{{"retweeted_status":{{"text":"\\ud800", "a": {"[" * deep}{"]" * deep}}}}}',
            lambda: "{" + '"text": "flood",' * deep + '"id": 1}',
            lambda: f'{{"text": "fire", "id": {"9" * length}}}',
            lambda: f"&#{'9' * min(length, 9_999)};",
            lambda: '{"text": "fire", "referenced_tweets": [' + '{"id": "1"},' * deep + "{}]}",
        )
    )
    return made().encode("utf-8", "replace")


def _headers(choose: random.Random) -> Headers:
    names = ("traceparent", "x-b3-a", "triage-reason", "triage-replays", "", "\ud7ff\0", "x" * 500)
    values = (b"", b"1", b"\xff\0", b"invalid_json", None)
    return [
        (choose.choice(names), choose.choice(values))  # type: ignore[misc]  # Kafka allows null
        for _ in range(choose.choice((0, 0, 0, 1, 3)))
    ]


def _timestamp(choose: random.Random) -> int:
    return choose.choice((1_700_000_000_000, -1, 0, 2**63 - 1))

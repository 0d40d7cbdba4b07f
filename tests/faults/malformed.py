"""Malformed records: for every reason of `RecordError`, values that must become dead letters."""

import json
import random
from collections.abc import Callable

from worker.messages.decode import MAX_CHARACTERS, MAX_ITEMS
from worker.messages.tweet import MAX_TEXT_LENGTH


def _text(choose: random.Random) -> str:
    return f"flood {choose.randrange(10**9)}"


def _cut(choose: random.Random) -> bytes:
    whole = json.dumps({"id": choose.randrange(10**9), "text": _text(choose)}).encode()
    return whole[: choose.randint(1, len(whole) - 1)]


def _deep(choose: random.Random) -> bytes:
    return b'{"data":' * choose.randint(2_000, 20_000)


def _wrong_type(choose: random.Random) -> bytes:
    wrong = choose.choice((7, 1.5, True, [], ["text"], {"text": "nested"}))
    return json.dumps({"id": choose.randrange(10**9), "text": wrong}).encode()


def _no_text(choose: random.Random) -> bytes:
    without: list[dict[str, object]] = [{}, {"text": None}, {"data": {"id": "1"}}, {"user": {}}]
    return json.dumps({"id": choose.randrange(10**9)} | choose.choice(without)).encode()


def _empty(choose: random.Random) -> bytes:
    text = choose.choice(("", " ", "\n\t ", "\u2003", "<p></p>"))
    return json.dumps({"id": "1", "text": text}).encode()


def _binary(choose: random.Random) -> bytes:
    text = _text(choose).encode()
    frame = b"\0" + choose.randbytes(4)
    return choose.choice((frame + b"\0\x12" + text, b"\x0a\x02" + text, b"\x1f\x8b\x08" + text))


def _unknown_format(choose: random.Random) -> bytes:
    values = (
        f"{choose.randrange(10**18)}",
        json.dumps(["EVENT", _text(choose)]),
        f'    "text": "{_text(choose)}",',
        "},",
        f"<?xml version='1.0'?><tweet>{_text(choose)}</tweet>",
    )
    return choose.choice(values).encode()


def _too_many(choose: random.Random) -> bytes:
    many = [{"text": _text(choose)}] * (MAX_ITEMS + 1)
    long = [{"text": _text(choose) * 1000}] * (MAX_CHARACTERS // 6_000)
    return json.dumps(choose.choice((many, long))).encode()


def _too_long(choose: random.Random) -> bytes:
    text = _text(choose) * (MAX_TEXT_LENGTH // 8)
    return choose.choice((text.encode(), json.dumps({"text": text}).encode()))


def _not_utf8(choose: random.Random) -> bytes:
    broken = choose.choice((b"\xff\xfe", b"\xc3(", b"\xf8\x88\x80\x80\x80"))
    values = (
        _text(choose).encode() + broken,
        _text(choose).encode() + b"\xed\xa0\x80",  # a surrogate, which UTF-8 has no place for
        b'{"text": "%s"}' % broken,
        _text(choose).encode("utf-16"),
    )
    return choose.choice(values)


MALFORMED: dict[str, tuple[Callable[[random.Random], bytes], ...]] = {
    "not_utf8": (_not_utf8,),
    "binary": (_binary,),
    "invalid_json": (_cut, _deep),
    "unknown_format": (_unknown_format,),
    "wrong_type": (_wrong_type,),
    "no_text": (_no_text,),
    "empty_text": (_empty,),
    "text_too_long": (_too_long,),
    "too_many_tweets": (_too_many,),
}
"""Reason → what makes values that are refused for it."""


def malformed(choose: random.Random) -> tuple[str, bytes]:
    """Return a reason, all equally likely, and a value that is refused for it."""
    reason = choose.choice(list(MALFORMED))
    return reason, choose.choice(MALFORMED[reason])(choose)

"""The tweets to measure with: a labelled file's as they repeat in a stream, or all distinct."""

import itertools
import json
import random
from collections.abc import Iterator, Sequence

MIXES = ("repeating", "distinct")
"""Drawn at random with replacement; or each with a URL, a mention or a number that is new."""

_NEW_CHUNKS = ("https://t.co/{:x}", "@user{:x}", "{:,}")


def mixed(texts: Sequence[str], mix: str, first: int = 0) -> Iterator[str]:
    """Yield texts without end, the same each time. Distinct ones start at a number."""
    if mix == "repeating":
        draw = random.Random(1)
        while True:
            yield draw.choice(texts)
    for number in itertools.count(first):
        new = _NEW_CHUNKS[number % 3].format(number * 7_919 + 1_000_003)
        yield f"{texts[number % len(texts)]} {new}"


def values(texts: Sequence[str], mix: str, count: int, first: int = 0) -> list[bytes]:
    """Return records' values of some 300 bytes: fields of Twitter's API v1.1, at 1,000 tweets/s."""
    return [
        json.dumps(
            {
                "created_at": f"Mon Nov 23 00:{n // 60_000 % 60:02}:{n // 1000 % 60:02} +0000 2026",
                "id": 10**18 + n,
                "id_str": str(10**18 + n),
                "text": text,
                "user": {"id": n % 9973, "screen_name": f"user{n % 9973}"},
                "retweet_count": n % 7,
                "lang": "en",
            }
        ).encode()
        for n, text in enumerate(itertools.islice(mixed(texts, mix, first), count), first)
    ]

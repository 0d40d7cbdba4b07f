"""Tweet: what every format is decoded to."""

import functools
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from shared.errors import RecordError
from worker.messages.markup import plain_text

MAX_TEXT_LENGTH = 25_000
"""Most characters of a text, as in X's longest posts; a record with a longer text becomes a dead
letter."""
MAX_NAME_LENGTH = 1_000
"""Most characters of an id, an author or a place. A longer one is read as None, because the alerts
topic refuses messages of a megabyte."""

CreatedAt = str | int | float
"""A time as the record wrote it; a number counts from 1970."""


class Coordinates(msgspec.Struct, frozen=True):
    """A position in degrees (WGS 84)."""

    longitude: Annotated[float, Meta(ge=-180, le=180)]
    latitude: Annotated[float, Meta(ge=-90, le=90)]


class Tweet(msgspec.Struct, frozen=True):
    """A tweet, or a post of another network.

    Attributes:
        text: its text without markup, and that of the post it quotes; never blank, without lone
            surrogates (they become U+FFFD).
        id: as the record wrote it; None if it did not.
        author: the user's name, or else their id.
        created_at: as the record wrote it: `parse_created_at` reads it.
        lang: the language that the record names, such as `en`.
        place: the name of the place that the post is tagged with.
        coordinates: the position that the post is tagged with.
        link: the post's address, which `worker.messages.fields.link` checks.
    """

    text: str
    id: str | None = None
    author: str | None = None
    created_at: CreatedAt | None = None
    lang: str | None = None
    place: str | None = None
    coordinates: Coordinates | None = None
    link: str | None = None


class Notice(msgspec.Struct, frozen=True):
    """A record that is neither a post nor an error, such as a deletion. It is counted and skipped.

    Attributes:
        kind: one of a few short names, as a metric's label needs.
    """

    kind: str


def checked_text(text: str, quoted: str | None = None) -> str:
    """Remove the markup of a text, check it, and append the text that it quotes.

    Raises:
        RecordError: `empty_text` or `text_too_long`.
    """
    if "&" in text or "<" in text:
        text = plain_text(text)
    if not text or text.isspace():
        raise RecordError("empty_text", "the text is empty")
    if len(text) > MAX_TEXT_LENGTH:
        raise RecordError(
            "text_too_long",
            f"the text has {len(text)} characters; a tweet has at most {MAX_TEXT_LENGTH}",
        )
    if quoted is not None:
        quoted = plain_text(quoted)
        if quoted and not quoted.isspace() and quoted not in text:
            return f"{text}\n{quoted}"[:MAX_TEXT_LENGTH]
    return text


@functools.lru_cache(128)  # many tweets of a stream have the same second; strptime takes 8 µs
def parse_created_at(value: CreatedAt | None) -> datetime | None:
    """Parse a time: ISO 8601, Twitter's API v1.1, or a number of seconds to nanoseconds since 1970.

    Returns:
        The time in UTC; None if it cannot be parsed. A time without a zone counts as UTC.
    """
    if value is None:
        return None
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) >= 9:
        value = int(value[:20])
    if not isinstance(value, str):
        return _since_1970(value)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        try:
            moment = datetime.strptime(value, "%a %b %d %H:%M:%S %z %Y")
        except ValueError:
            return None
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError:  # within a day of the years 1 or 9999
        return None


def _since_1970(value: float) -> datetime | None:
    """Read a number by its size: seconds until the year 5138, then milliseconds and so on."""
    for limit, divisor in ((1e11, 1), (1e14, 1e3), (1e17, 1e6), (1e20, 1e9)):
        if abs(value) < limit:
            try:
                return datetime.fromtimestamp(value / divisor, UTC)
            except (OverflowError, OSError, ValueError):
                return None
    return None

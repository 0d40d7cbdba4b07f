"""Tweet: what a raw record says, decoded from any of the formats that tweets travel in.

    Twitter API v1.1 JSON   full_text or text, the full text of a retweet or an extended tweet
    Twitter API v2 JSON     data.text, or the same fields at the top level
    minimal JSON            {"id": …, "text": …}
    plain UTF-8 text        anything that does not begin with {

A byte order mark before it is no part of it. The text is kept exactly as it came, entities such as
`&amp;` too: so was the text of the labelled set, which came from the same API.

https://developer.x.com/en/docs/x-api/v1/data-dictionary/object-model/tweet
https://developer.x.com/en/docs/x-api/data-dictionary/object-model/tweet
"""

import codecs
import functools
import json
from datetime import UTC, datetime
from typing import Any

import msgspec

from shared.errors import RecordError

MAX_TEXT_LENGTH = 25_000
"""Characters, as in X's longest posts; a longer text is no tweet and becomes a dead letter."""
_LONGEST_NAME = 1000
"""Characters of an id or an author, which are a few tens; the topic refuses an alert of a MB."""


class Tweet(msgspec.Struct, frozen=True):
    """A tweet as the record gave it.

    Attributes:
        text: never empty, never with lone surrogates (they become U+FFFD).
        id, author: as the record wrote them, 1000 characters at most, or None where it did not.
        created_at: as the record wrote it, or None where it did not.
    """

    text: str
    id: str | None = None
    author: str | None = None
    created_at: str | None = None


class _User(msgspec.Struct):
    screen_name: str | None = None


class _FullText(msgspec.Struct):
    text: str | None = None
    full_text: str | None = None


class _Reference(msgspec.Struct):
    type: str | None = None
    id: str | None = None


class _Status(msgspec.Struct):
    """The fields of all accepted JSON formats that matter here."""

    text: str | None = None
    full_text: str | None = None
    id: int | str | None = None
    id_str: str | None = None
    created_at: str | None = None
    user: _User | None = None
    author_id: str | None = None
    extended_tweet: _FullText | None = None
    note_tweet: _FullText | None = None
    retweeted_status: "_Status | None" = None
    referenced_tweets: list[_Reference] | None = None
    data: "_Status | None" = None
    includes: "_Includes | None" = None


class _Includes(msgspec.Struct):
    tweets: list[_Status] | None = None


_decode_status = msgspec.json.Decoder(_Status).decode


def decode_tweet(value: bytes | None) -> Tweet:
    """Decodes a record's value.

    Raises:
        RecordError: `no_value`, `not_utf8`, `invalid_json`, `wrong_type`, `no_text`, `empty_text`
            or `text_too_long`.
    """
    if value is None:
        raise RecordError("no_value", "the record has no value")
    value = value.removeprefix(codecs.BOM_UTF8)
    if value.lstrip()[:1] != b"{":
        try:
            return Tweet(_checked(value.decode("utf-8")))
        except UnicodeDecodeError as error:
            raise RecordError("not_utf8", f"the value is not UTF-8: {error}") from error

    outer = _parse(value)
    status = outer.data or outer
    text = _full_text(status)
    if text is None:
        raise RecordError("no_text", "the JSON object has neither full_text, text nor data.text")
    retweeted = _retweeted(status, outer.includes)
    if retweeted is not None:
        # The outer text repeats the retweeted one behind "RT @name: " and cuts it at 140.
        mark, colon, _ = text.partition(": ")
        text = mark + colon + retweeted if colon and mark.startswith("RT @") else retweeted
    identifier = status.id_str or (None if status.id is None else str(status.id))
    author = (status.user.screen_name if status.user else None) or status.author_id
    for what, part in (("id", identifier), ("author", author)):
        if part is not None and len(part) > _LONGEST_NAME:
            raise RecordError(
                "wrong_type",
                f"the tweet's {what} has {len(part)} characters, more than {_LONGEST_NAME}",
            )
    return Tweet(_checked(text), identifier, author, status.created_at)


@functools.lru_cache(128)  # tweets of a stream share their second; strptime takes 8 µs
def parse_created_at(value: str | None) -> datetime | None:
    """The moment of a tweet's creation from either API's format, or None if it has neither."""
    if value is None:
        return None
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


def _parse(value: bytes) -> _Status:
    try:
        return _decode_status(value)
    except msgspec.ValidationError as error:
        raise RecordError("wrong_type", f"the JSON object is no tweet: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _parse_leniently(value)


def _parse_leniently(value: bytes) -> _Status:
    """Reads what the strict parser refuses but JSON allows: escapes of lone surrogates."""
    try:
        return msgspec.convert(_without_lone_surrogates(json.loads(value)), _Status)
    except msgspec.ValidationError as error:
        raise RecordError("wrong_type", f"the JSON object is no tweet: {error}") from error
    except UnicodeDecodeError as error:
        raise RecordError("not_utf8", f"the value is not UTF-8: {error}") from error
    except (ValueError, RecursionError) as error:
        raise RecordError("invalid_json", f"the value is not valid JSON: {error}") from error


def _without_lone_surrogates(data: Any) -> Any:
    if isinstance(data, str):
        return data.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(data, list):
        return [_without_lone_surrogates(item) for item in data]
    if isinstance(data, dict):
        return {
            _without_lone_surrogates(key): _without_lone_surrogates(item)
            for key, item in data.items()
        }
    return data


def _full_text(status: _Status) -> str | None:
    """The longest form of a status' own text that the record carries."""
    if status.extended_tweet and status.extended_tweet.full_text:
        return status.extended_tweet.full_text
    if status.note_tweet and status.note_tweet.text:
        return status.note_tweet.text
    return status.text if status.full_text is None else status.full_text


def _retweeted(status: _Status, includes: _Includes | None) -> str | None:
    """The full text of the tweet that a status retweets, if the record carries it."""
    if status.retweeted_status:
        return _full_text(status.retweeted_status)
    if includes is None or not status.referenced_tweets:
        return None
    ids = {r.id for r in status.referenced_tweets if r.type == "retweeted" and r.id}
    for tweet in includes.tweets or ():
        if str(tweet.id) in ids:
            return _full_text(tweet)
    return None


def _checked(text: str) -> str:
    if not text or text.isspace():
        raise RecordError("empty_text", "the tweet's text is empty")
    if len(text) > MAX_TEXT_LENGTH:
        raise RecordError(
            "text_too_long", f"the text has {len(text)} characters, more than {MAX_TEXT_LENGTH}"
        )
    return text

"""Alert: a tweet that the model finds relevant, as subscribers read it from the alerts topic."""

from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from shared.errors import RecordError
from worker.messages import fields
from worker.messages.tweet import Coordinates, Tweet, parse_created_at

SCHEMA_VERSION = 3
"""2 adds `lang`, `place`, `coordinates`, `link` and `source.index`, which may be missing.
3 adds the source's timestamp to `alert_id`."""
CONTENT_TYPE = "application/json"


Moment = Annotated[datetime, Meta(tz=True)]
Share = Annotated[float, Meta(ge=0, le=1)]


def _field(description: str) -> Meta:
    return Meta(description=description)


class Model(msgspec.Struct, frozen=True):
    """The bundle that scored the tweet."""

    name: Annotated[str, _field("the model's name, such as LSTM")]
    version: Annotated[int, _field("its version in the registry")]
    digest: Annotated[str, _field("the SHA-256 of the bundle's manifest")]


class Source(msgspec.Struct, frozen=True):
    """The record that the tweet came in."""

    topic: str
    partition: int
    offset: int
    timestamp: Annotated[Moment | None, _field("the record's own, or null if it had none")]
    index: Annotated[
        int | None, _field("which of the record's posts, from 0; null if it is one post")
    ] = None


class AlertTweet(msgspec.Struct, frozen=True):
    """The tweet or post; a field is null if the record does not have it."""

    id: str | None
    text: Annotated[str, _field("without markup; the text of a quoted post follows on a new line")]
    author: Annotated[str | None, _field("the user name, or else the author's id")]
    created_at: Moment | None
    lang: Annotated[str | None, _field("the language that the record names, such as en")] = None
    place: Annotated[str | None, _field("the name of the place that the post is tagged with")] = (
        None
    )
    coordinates: Annotated[
        Coordinates | None, _field("the position that the post is tagged with")
    ] = None
    link: Annotated[str | None, _field("the address of the post")] = None


class Alert(msgspec.Struct, frozen=True):
    """A tweet that the model finds to be about a real disaster."""

    alert_id: Annotated[
        str,
        _field(
            "topic-partition-offset-timestamp of the source, and .index where it has one; the "
            "timestamp is in milliseconds since 1970, 0 if there is none. The same however often "
            "the record is scored; another one for a record that takes a lost or deleted offset"
        ),
    ]
    tweet: AlertTweet
    probability: Annotated[Share, _field("calibrated, that the tweet is about a real disaster")]
    threshold: Annotated[Share, _field("from this probability on a tweet becomes an alert")]
    model: Model
    scored_at: Annotated[Moment, _field("when the tweet was scored")]
    source: Source


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Alert).decode


def make_alert(
    tweet: Tweet,
    probability: float,
    threshold: float,
    model: Model,
    source: Source,
    scored_at: datetime,
) -> Alert:
    """Make an alert; a creation time that cannot be parsed becomes None."""
    return Alert(
        alert_id=_alert_id(source),
        tweet=AlertTweet(
            tweet.id,
            tweet.text,
            tweet.author,
            parse_created_at(tweet.created_at),
            tweet.lang,
            tweet.place,
            tweet.coordinates,
            fields.link(tweet.link),
        ),
        probability=probability,
        threshold=threshold,
        model=model,
        scored_at=scored_at,
        source=source,
    )


def _alert_id(source: Source) -> str:
    """Return a unique id, with the timestamp, as a topic made anew repeats offsets."""
    moment = 0 if source.timestamp is None else round(source.timestamp.timestamp() * 1000)
    index = "" if source.index is None else f".{source.index}"
    return f"{source.topic}-{source.partition}-{source.offset}-{moment}{index}"


def encode_alert(alert: Alert) -> bytes:
    """Encode an alert as JSON in UTF-8, as its JSON Schema describes it."""
    return _encode(alert)


def decode_alert(value: bytes) -> Alert:
    """Decode an alert.

    Raises:
        RecordError: `invalid_alert`, if the value is not an alert of this schema version.
    """
    try:
        return _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError("invalid_alert", f"the value is no alert: {error}") from error


def alert_schema() -> dict[str, object]:
    """Return the JSON Schema (draft 2020-12) of an alert."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Tweet triage alert, version {SCHEMA_VERSION}",
        **msgspec.json.schema(Alert),
    }


def source_timestamp(milliseconds: int | None) -> datetime | None:
    """Convert a Kafka timestamp (milliseconds since 1970, or -1 for none) to a moment in UTC."""
    if milliseconds is None or milliseconds < 0:
        return None
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (OverflowError, OSError, ValueError):  # a producer may send any 64-bit number
        return None

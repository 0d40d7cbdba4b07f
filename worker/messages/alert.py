"""Alert: a tweet that the model holds relevant, as subscribers read it from the alerts topic."""

from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from shared.errors import RecordError
from worker.messages.tweet import Tweet, parse_created_at

SCHEMA_VERSION = 1
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


class AlertTweet(msgspec.Struct, frozen=True):
    """The tweet; a field is null where the record did not say."""

    id: str | None
    text: Annotated[str, _field("as it came, HTML entities too")]
    author: Annotated[str | None, _field("the screen name, or the author's id in API v2")]
    created_at: Moment | None


class Alert(msgspec.Struct, frozen=True):
    """A tweet that is held to be about a real disaster."""

    alert_id: Annotated[
        str, _field("topic-partition-offset of the source: the same however often it is scored")
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
    """Puts an alert together; a creation time in neither of Twitter's formats becomes None."""
    return Alert(
        alert_id=f"{source.topic}-{source.partition}-{source.offset}",
        tweet=AlertTweet(tweet.id, tweet.text, tweet.author, parse_created_at(tweet.created_at)),
        probability=probability,
        threshold=threshold,
        model=model,
        scored_at=scored_at,
        source=source,
    )


def encode_alert(alert: Alert) -> bytes:
    """The alert as JSON in UTF-8, as its JSON Schema describes it."""
    return _encode(alert)


def decode_alert(value: bytes) -> Alert:
    """Reads an alert back.

    Raises:
        RecordError: `invalid_alert`, if the value is not an alert of this schema version.
    """
    try:
        return _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError("invalid_alert", f"the value is no alert: {error}") from error


def alert_schema() -> dict[str, object]:
    """The JSON Schema (draft 2020-12) of an alert."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Tweet triage alert, version {SCHEMA_VERSION}",
        **msgspec.json.schema(Alert),
    }


def source_timestamp(milliseconds: int | None) -> datetime | None:
    """A Kafka timestamp (milliseconds since 1970, or -1 for none) as a moment in UTC."""
    if milliseconds is None or milliseconds < 0:
        return None
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (OverflowError, OSError, ValueError):  # a producer may send any 64-bit number
        return None

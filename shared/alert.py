"""Alert: a tweet that the model holds relevant, as subscribers read it from the alerts topic."""

from datetime import UTC, datetime

import msgspec

from shared.errors import RecordError
from shared.tweet import Tweet, parse_created_at

SCHEMA_VERSION = 1
CONTENT_TYPE = "application/json"


class Model(msgspec.Struct, frozen=True):
    """Which bundle scored the tweet: architecture, version in the registry, manifest's SHA-256."""

    name: str
    version: int
    digest: str


class Source(msgspec.Struct, frozen=True):
    """Where the tweet's record stands: topic, partition, offset, and its timestamp."""

    topic: str
    partition: int
    offset: int
    timestamp: datetime | None


class AlertTweet(msgspec.Struct, frozen=True):
    """The tweet, its fields null where the record did not say."""

    id: str | None
    text: str
    author: str | None
    created_at: datetime | None


class Alert(msgspec.Struct, frozen=True):
    """An alert.

    Attributes:
        alert_id: `topic-partition-offset` of the source record: the same however often a tweet is
            scored, so that a subscriber can drop repeats.
        probability: calibrated, that the tweet is about a real disaster.
        threshold: from which probability on a tweet becomes an alert.
        scored_at: when, in UTC, with microseconds.
    """

    alert_id: str
    tweet: AlertTweet
    probability: float
    threshold: float
    model: Model
    scored_at: datetime
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
    except msgspec.DecodeError as error:
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

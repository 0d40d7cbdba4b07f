"""Label: what a person says of a tweet, as it is published to the labels topic."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from shared.errors import RecordError
from worker.messages.alert import Alert, Model, Source

Verdict = Literal["relevant", "not-relevant", "skip", "withdrawn"]
_Moment = Annotated[datetime, Meta(tz=True)]
_Share = Annotated[float, Meta(ge=0, le=1)]


def _field(description: str) -> Meta:
    return Meta(description=description)


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """A label of a tweet by a person.

    A person's last label replaces their earlier ones. Among several people, the last label counts.
    `skip` and `withdrawn` do not count.
    """

    alert_id: Annotated[str, _field("the tweet's identifier, as its alert has it")]
    label: Annotated[
        Verdict, _field("withdrawn: the person has taken back what they said about the tweet")
    ]
    by: Annotated[str, Meta(min_length=1, max_length=200, description="the person's name")]
    at: Annotated[_Moment, _field("when they said it")]
    text: Annotated[str, _field("the tweet's text, so that a label can be learnt from alone")]
    lang: Annotated[str | None, _field("the tweet's language, or null if unknown")] = None
    probability: Annotated[_Share, _field("that the model gave the tweet")]
    threshold: Annotated[_Share, _field("of alerts at that time")]
    model: Model
    source: Source
    queue: Annotated[
        str, _field("why the tweet was shown: alert, or the reason of the review topic")
    ] = "alert"


class Votes(msgspec.Struct, frozen=True):
    """What people say of one tweet at last.

    Attributes:
        label: relevant or not-relevant, as the last person said; None if nobody says either.
        by: that person.
        relevant, not_relevant: how many people say so.
    """

    label: Verdict | None
    by: str | None
    relevant: int
    not_relevant: int


def count_votes(said: Iterable[tuple[str, Verdict]]) -> Votes:
    """Count the votes of one tweet.

    Args:
        said: who said what, in the order of the topic.
    """
    last: dict[str, Verdict] = {}
    for by, verdict in said:
        last.pop(by, None)
        last[by] = verdict
    votes = [(by, label) for by, label in last.items() if label in ("relevant", "not-relevant")]
    if not votes:
        return Votes(None, None, 0, 0)
    by, label = votes[-1]
    relevant = sum(vote == "relevant" for _, vote in votes)
    return Votes(label, by, relevant, len(votes) - relevant)


def make_label(alert: Alert, verdict: Verdict, by: str, at: datetime, queue: str) -> Label:
    """Label the tweet of an alert."""
    return Label(
        alert_id=alert.alert_id,
        label=verdict,
        by=by,
        at=at,
        text=alert.tweet.text,
        lang=alert.tweet.lang,
        probability=alert.probability,
        threshold=alert.threshold,
        model=alert.model,
        source=alert.source,
        queue=queue,
    )


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Label).decode


def label_key(source: Source) -> bytes:
    """Return the key of a label's record: topic-partition-offset of the tweet's source.

    So all labels of a tweet are in one partition, in order. If the source has several posts, the
    post's index is appended.
    """
    index = "" if source.index is None else f"-{source.index}"
    return f"{source.topic}-{source.partition}-{source.offset}{index}".encode()


def encode_label(label: Label) -> bytes:
    """Encode a label as JSON in UTF-8."""
    return _encode(label)


def decode_label(value: bytes) -> Label:
    """Decode a label.

    Raises:
        RecordError: `invalid_label`, if the value is not a label.
    """
    try:
        return _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError("invalid_label", f"the value is not a label: {error}") from error


def label_schema() -> dict[str, object]:
    """Return the JSON Schema (draft 2020-12) of a label."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tweet triage label, version 1",
        **msgspec.json.schema(Label),
    }

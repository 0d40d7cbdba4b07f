"""Review tweet: a tweet that people are asked to label, as the review topic has it."""

from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

from shared.errors import RecordError
from worker.messages.alert import Alert

SCHEMA_VERSION = 1

Reason = Literal["random", "near-threshold", "new-words"]
REASONS: tuple[Reason, ...] = get_args(Reason)


class ReviewTweet(Alert, frozen=True, kw_only=True):
    """A tweet whose label is asked for.

    It is an alert too if its probability reaches the threshold. The tweets of the topic are a
    probability sample of all tweets that were scored: each stands for 1 / `inclusion_probability`
    of them.
    """

    reason: Annotated[
        Reason,
        Meta(
            description="random: drawn from all tweets alike; near-threshold: the model hardly "
            "knows whether it is an alert; new-words: the model lacks many of its words"
        ),
    ]
    inclusion_probability: Annotated[
        float,
        Meta(gt=0, le=1, description="that this tweet is in the topic, for whatever reason"),
    ]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ReviewTweet).decode


def make_review_tweet(alert: Alert, reason: Reason, inclusion_probability: float) -> ReviewTweet:
    """Make a review tweet of what would be the tweet's alert."""
    fields = {name: getattr(alert, name) for name in Alert.__struct_fields__}
    return ReviewTweet(**fields, reason=reason, inclusion_probability=inclusion_probability)


def encode_review_tweet(tweet: ReviewTweet) -> bytes:
    """Encode a review tweet as JSON in UTF-8, as its JSON Schema describes it."""
    return _encode(tweet)


def decode_review_tweet(value: bytes) -> ReviewTweet:
    """Decode a review tweet.

    Raises:
        RecordError: `invalid_review_tweet`, if the value is not a review tweet.
    """
    try:
        return _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(
            "invalid_review_tweet", f"the value is not a review tweet: {error}"
        ) from error


def review_schema() -> dict[str, object]:
    """Return the JSON Schema (draft 2020-12) of a review tweet."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Tweet triage review tweet, version {SCHEMA_VERSION}",
        **msgspec.json.schema(ReviewTweet),
    }

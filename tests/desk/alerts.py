"""Alerts and labels as workers and people publish them."""

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from worker.messages.alert import Alert, AlertTweet, Model, Source, encode_alert
from worker.messages.label import Label, Verdict
from worker.messages.review import (
    Reason,
    ReviewTweet,
    encode_review_tweet,
    make_review_tweet,
)

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
_numbers = count()


def new_alert(text: str, *, at: datetime = NOON, **values: Any) -> Alert:
    """Return an alert of a tweet. `values` are fields of the alert or of its tweet."""
    number = next(_numbers)
    source = Source("tweets.raw", number % 3, number, at)
    tweet = {name: values.pop(name) for name in AlertTweet.__struct_fields__ if name in values}
    fields: dict[str, Any] = {
        "alert_id": f"tweets.raw-{number % 3}-{number}",
        "tweet": AlertTweet(
            **{"id": None, "text": text, "author": "ana", "created_at": None} | tweet
        ),
        "probability": 0.75,
        "threshold": 0.5,
        "model": Model("LSTM", 1, "0" * 64),
        "scored_at": at,
        "source": source,
    }
    return Alert(**fields | values)


def added(*alerts: Alert) -> list[tuple[Alert, bytes]]:
    """Return alerts as the store takes them."""
    return [(alert, encode_alert(alert)) for alert in alerts]


def reviewed(
    *alerts: Alert, reason: Reason = "random", inclusion: float = 0.1
) -> list[tuple[ReviewTweet, bytes]]:
    """Return the tweets of alerts as review tweets, as the store takes them."""
    tweets = [make_review_tweet(alert, reason, inclusion) for alert in alerts]
    return [(tweet, encode_review_tweet(tweet)) for tweet in tweets]


def new_label(alert: Alert, verdict: Verdict, by: str = "mei", *, seconds: int = 0) -> Label:
    """Return a label of an alert's tweet."""
    return Label(
        alert_id=alert.alert_id,
        label=verdict,
        by=by,
        at=NOON + timedelta(seconds=seconds),
        text=alert.tweet.text,
        probability=alert.probability,
        threshold=alert.threshold,
        model=alert.model,
        source=alert.source,
    )


NEWS = (
    "Big earthquake near Bohol, churches collapsed and people trapped",
    "Flood in Jakarta: bridge near the market is gone, need boats",
    "Fire at the chemical plant in Texas City, avoid highway 146",
    "Small landslide blocks the road to Baguio, two cars stuck",
    "Helicopter crashed into a pub in Glasgow, many injured",
)

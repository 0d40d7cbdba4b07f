"""Alerts and labels as workers and people publish them."""

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from worker.messages.alert import Alert, AlertTweet, Model, Source, encode_alert
from worker.messages.label import Label, Verdict

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


def added(*alerts: Alert, queue: str = "alert") -> list[tuple[Alert, bytes, str]]:
    """Return alerts in the form that the store takes."""
    return [(alert, encode_alert(alert), queue) for alert in alerts]


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

"""GNIP: activities of Twitter's enterprise APIs (PowerTrack, Historical, Search).

https://docs.x.com/x-api/enterprise-gnip-2.0/fundamentals/data-dictionary
"""

from typing import Any

from worker.messages import fields
from worker.messages.fields import child, first_text
from worker.messages.tweet import Coordinates, Notice, Tweet, checked_text

_NOTICES = {"delete": "delete", "scrub_geo": "scrub_geo", "status_withheld": "withheld"}


def detect(record: dict[str, Any]) -> bool:
    """Return whether a record is an activity."""
    return record.get("objectType") == "activity" and "verb" in record


def read(record: dict[str, Any]) -> Tweet | Notice | None:
    """Read the activity: `long_object.body` or `body`, and what it shares and quotes."""
    verb = record["verb"]
    if verb not in ("post", "share"):
        return Notice(_NOTICES.get(verb, "compliance") if isinstance(verb, str) else "compliance")
    if (text := _text(record)) is None:
        return None
    quoting = record
    shared = child(record, "object")
    if verb == "share" and (whole := _text(shared)) is not None:
        mark, colon, _ = text.partition(": ")
        text = mark + colon + whole if colon and mark.startswith("RT @") else whole
        quoting = shared
    location = child(record, "location")
    return Tweet(
        checked_text(text, _text(child(quoting, "twitter_quoted_status"))),
        _number(record.get("id")),
        fields.identifier(child(record, "actor").get("preferredUsername")),
        fields.created_at(record.get("postedTime")),
        fields.language(record.get("twitter_lang") or child(record, "gnip").get("language")),
        fields.place(location),
        _position(record.get("geo")),
        fields.link(record.get("link")),
    )


def _text(activity: dict[str, Any]) -> str | None:
    return first_text(child(activity, "long_object"), "body") or first_text(activity, "body")


def _number(value: Any) -> str | None:
    """Read the tweet's number from an id such as `tag:search.twitter.com,2005:606171`."""
    found = fields.identifier(value)
    return found and found.rpartition(":")[2]


def _position(geo: Any) -> Coordinates | None:
    """Read a point; GNIP puts the latitude first."""
    found = geo.get("coordinates") if isinstance(geo, dict) else None
    return (
        fields.coordinates(found[1], found[0])
        if isinstance(found, list) and len(found) == 2
        else None
    )

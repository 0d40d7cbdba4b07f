"""twint: tweets as twint and its forks write them as JSON Lines.

https://github.com/twintproject/twint
"""

from typing import Any

from worker.messages import fields
from worker.messages.fields import first_text
from worker.messages.tweet import Tweet, checked_text


def detect(record: dict[str, Any]) -> bool:
    """Return whether a record is a tweet of twint."""
    return isinstance(record.get("tweet"), str) and bool({"username", "link"} & record.keys())


def read(record: dict[str, Any]) -> Tweet | None:
    """Read the tweet; `created_at` has a time zone in twint's own form, so it becomes None."""
    if (text := first_text(record, "tweet")) is None:
        return None
    return Tweet(
        checked_text(text),
        fields.identifier(record.get("id")),
        fields.identifier(record.get("username")),
        fields.created_at(record.get("created_at")),
        fields.language(record.get("language")),
        fields.place(record.get("place")),
        link=fields.link(record.get("link")),
    )

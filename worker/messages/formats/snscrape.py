"""snscrape: tweets as snscrape and twscrape write them as JSON Lines.

https://github.com/JustAnotherArchivist/snscrape
https://github.com/vladkens/twscrape
"""

from typing import Any

from worker.messages import fields
from worker.messages.fields import child, first_text
from worker.messages.tweet import Tweet, checked_text

_TEXTS = ("rawContent", "renderedContent", "content")


def detect(record: dict[str, Any]) -> bool:
    """Return whether a record is an item of snscrape."""
    kind = record.get("_type")
    return "rawContent" in record or (isinstance(kind, str) and kind.startswith("snscrape."))


def read(record: dict[str, Any]) -> Tweet | None:
    """Read the tweet, or the one that it retweets, and what it quotes."""
    retweeted = child(record, "retweetedTweet")
    status = retweeted if first_text(retweeted, *_TEXTS) else record
    if (text := first_text(status, *_TEXTS)) is None:
        return None
    position = child(record, "coordinates")
    return Tweet(
        checked_text(text, first_text(child(status, "quotedTweet"), *_TEXTS)),
        fields.identifier(record.get("id")),
        fields.identifier(child(record, "user").get("username")),
        fields.created_at(record.get("date")),
        fields.language(status.get("lang")),
        fields.place(record.get("place")),
        fields.coordinates(position.get("longitude"), position.get("latitude")),
        fields.link(record.get("url")),
    )

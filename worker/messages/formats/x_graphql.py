"""X's web client: tweets of its GraphQL API, as scrapers and browser extensions save them.

X does not document it; these are the names that the web client reads.
"""

from typing import Any

from worker.messages import fields
from worker.messages.fields import child, first_text
from worker.messages.tweet import Tweet, checked_text


def detect(record: dict[str, Any]) -> bool:
    """Return whether a record is a tweet of GraphQL, or the object around one."""
    return "full_text" in child(_tweet(record), "legacy")


def read(record: dict[str, Any]) -> Tweet | None:
    """Read the tweet, or the one that it retweets, and what it quotes."""
    outer = _tweet(record)
    retweeted = _tweet(child(outer, "legacy", "retweeted_status_result", "result"))
    tweet = retweeted if _text(retweeted) is not None else outer
    if (text := _text(tweet)) is None:
        return None
    legacy = child(outer, "legacy")
    number = fields.identifier(outer.get("rest_id")) or fields.identifier(legacy.get("id_str"))
    user = child(outer, "core", "user_results", "result")
    name = first_text(child(user, "core"), "screen_name")
    author = fields.identifier(name or child(user, "legacy").get("screen_name"))
    return Tweet(
        checked_text(text, _text(_tweet(child(tweet, "quoted_status_result", "result")))),
        number,
        author,
        fields.created_at(legacy.get("created_at")),
        fields.language(child(tweet, "legacy").get("lang")),
        fields.place(legacy.get("place")),
        link=f"https://x.com/{author or 'i'}/status/{number}" if number else None,
    )


def _tweet(record: dict[str, Any]) -> dict[str, Any]:
    """Unwrap a tweet from the objects around it in a timeline."""
    result = child(record, "tweet_results", "result") or record
    return child(result, "tweet") or result


def _text(tweet: dict[str, Any]) -> str | None:
    note = child(tweet, "note_tweet", "note_tweet_results", "result")
    return first_text(note, "text") or first_text(child(tweet, "legacy"), "full_text")

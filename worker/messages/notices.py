"""Notices: messages of a stream that are neither posts nor errors, such as deletions and
keep-alives.

https://developer.x.com/en/docs/x-api/v1/tweets/filter-realtime/guides/streaming-message-types
https://docs.x.com/x-api/compliance/streams/introduction
"""

from typing import Any

from worker.messages.fields import child
from worker.messages.tweet import Notice

KINDS = (
    *("keep_alive", "tombstone", "delete", "limit", "scrub_geo", "warning", "withheld"),
    *("disconnect", "compliance", "error", "info", "like", "repost", "follow", "account"),
    *("other_event", "media_only", "empty_page"),
)
"""Every kind of notice, here and in the formats."""

_OF_ONE_KEY = {
    "delete": "delete",
    "undelete": "compliance",
    "limit": "limit",
    "scrub_geo": "scrub_geo",
    "status_withheld": "withheld",
    "user_withheld": "withheld",
    "withheld": "withheld",
    "disconnect": "disconnect",
    "warning": "warning",
    "warn": "warning",
    "info": "info",
    "friends": "info",
    "friends_str": "info",
    "control": "info",
    "direct_message": "other_event",
    "drop": "compliance",
    "undrop": "compliance",
    "tweet_edit": "compliance",
    "edit": "compliance",
    "status_drop": "compliance",
    "status_undrop": "compliance",
    "favorite": "like",
}
"""Notices that consist of one object, by its key: in v1.1 and GNIP, and in `data` of v2."""
_BESIDE = frozenset(("timestamp_ms", "timestamp", "for_user", "event_at"))
_KEEP_ALIVES = frozenset(
    (
        *("keep-alive", "keepalive", "keep_alive", "heartbeat", "ping", "pong"),
        *(":", ":)", ":ok", ":thump", ":ping", ":heartbeat", ":keepalive", ":keep-alive"),
    )
)
"""Words that streams send to keep a connection open. With a colon, they are comments of server-sent
events; Mastodon's are `:)` and `:thump`."""


def is_keep_alive(text: str) -> bool:
    """Return whether a text is blank or a word that only keeps a connection open."""
    text = text.strip()
    return not text or (len(text) <= 12 and text.lower() in _KEEP_ALIVES)


def find(record: dict[str, Any]) -> Notice | None:
    """Return the notice in a JSON object, or None."""
    if (kind := _of_one_key(record) or _of_one_key(child(record, "data"))) is not None:
        return Notice(kind)
    if not record.get("data") and "text" not in record:
        if "errors" in record or "connection_issue" in record or _is_problem(record):
            return Notice("disconnect" if _disconnects(record) else "error")
        if "event" in record and "source" in record and "target" in record:
            return Notice("other_event")  # of v1.1, such as a follow
        if "for_user_id" in record and "tweet_create_events" not in record:
            return Notice("other_event")  # of the Account Activity API, such as a like
        if "action" in record and "redacted_at" in record:
            return Notice("compliance")  # a line of v2's batch compliance
        if len(record) <= 2 and any(_is_word(value) for value in record.values()):
            return Notice("keep_alive")
        if child(record, "meta").get("result_count") == 0:
            return Notice("empty_page")
    return None


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and is_keep_alive(value)


def _of_one_key(record: dict[str, Any]) -> str | None:
    if not 1 <= len(record) <= 3:
        return None
    keys = record.keys() - _BESIDE
    if len(keys) != 1 or not isinstance(record[key := keys.pop()], dict | list):
        return None
    if key == "error":
        return "disconnect" if _disconnects(record) else "error"
    if key.startswith("user_") and key not in _OF_ONE_KEY:
        return "compliance"  # user_delete, user_protect, user_suspend and their opposites
    return _OF_ONE_KEY.get(key)


def _is_problem(record: dict[str, Any]) -> bool:
    """Return whether a record is one of v2's errors (RFC 7807)."""
    kind = record.get("type")
    return (
        {"title", "detail"} <= record.keys()
        and isinstance(kind, str)
        and ("problems/" in kind or kind == "about:blank")
    )


def _disconnects(record: dict[str, Any]) -> bool:
    return any("disconnect" in text.lower() for text in _strings(record, 3))


def _strings(value: Any, depth: int) -> list[str]:
    if isinstance(value, str):
        return [value[:1000]]
    if depth and isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value[:10]
        return [text for one in inner for text in _strings(one, depth - 1)]
    return []

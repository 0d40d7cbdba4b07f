"""Mastodon: statuses of its API, which Pleroma, Akkoma, GoToSocial and others write too.

https://docs.joinmastodon.org/entities/Status/
"""

from typing import Any

from worker.messages import fields
from worker.messages.fields import child, first_text
from worker.messages.tweet import Notice, Tweet, checked_text


def detect(record: dict[str, Any]) -> bool:
    """Return whether a record is a status."""
    return (
        "content" in record
        and "text" not in record
        and (
            isinstance(record.get("account"), dict)
            or {"spoiler_text", "visibility"} <= record.keys()
        )
    )


def read(record: dict[str, Any]) -> Tweet | Notice | None:
    """Read the status; of a boost, the one that it boosts."""
    status = child(record, "reblog") or record
    if not isinstance(status.get("content"), str):
        return None
    warning, content = (first_text(status, key) for key in ("spoiler_text", "content"))
    text = "\n".join(part for part in (warning, content) if part)
    if not text:
        return Notice("media_only")
    quote = child(status, "quote")
    quoted = first_text(child(quote, "quoted_status"), "content") or first_text(quote, "content")
    account = child(record, "account")
    return Tweet(
        checked_text(text, quoted),
        fields.identifier(record.get("id")),
        fields.identifier(account.get("acct")) or fields.identifier(account.get("username")),
        fields.created_at(record.get("created_at")),
        fields.language(status.get("language")),
        link=fields.link(status.get("url")) or fields.link(status.get("uri")),
    )

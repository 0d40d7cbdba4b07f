"""Bluesky: events of Jetstream, and posts as the AT Protocol's API and repositories have them.

    Jetstream      {"did": …, "kind": "commit", "commit": {"collection": …, "record": {…}}}
    API            {"uri": …, "author": {…}, "record": {…}}, in a feed inside {"post": {…}}
    repository     {"uri": …, "value": {…}}, or the record {"$type": "app.bsky.feed.post", …} itself

https://github.com/bluesky-social/jetstream
https://atproto.com/lexicons/app-bsky-feed
"""

from typing import Any

from worker.messages import fields
from worker.messages.fields import child, first_text
from worker.messages.tweet import Notice, Tweet, checked_text

_POST = "app.bsky.feed.post"
_NOTICES = {
    "app.bsky.feed.like": "like",
    "app.bsky.feed.repost": "repost",
    "app.bsky.graph.follow": "follow",
    "app.bsky.graph.block": "follow",
    "app.bsky.actor.profile": "account",
}


def detect(record: dict[str, Any]) -> bool:
    """Return whether a record is an event of Jetstream, or a post or another object of Bluesky."""
    if isinstance(record.get("did"), str):
        return bool({"commit", "identity", "account", "handle"} & record.keys())
    kind = record.get("$type")
    return (isinstance(kind, str) and kind.startswith("app.bsky.")) or _post_view(
        record
    ) is not None


def read(record: dict[str, Any]) -> Tweet | Notice | None:
    """Read the post; an event of another kind is a notice."""
    if "did" in record:
        return _event(record)
    if (view := _post_view(record)) is not None:
        post = child(view, "record") or child(view, "value")
        uri = fields.identifier(view.get("uri"))
        author = child(view, "author")
        name = fields.identifier(author.get("handle")) or fields.identifier(author.get("did"))
        return _post(post, uri, name or _part(uri, 2), view.get("embed"))
    if record["$type"].startswith(_POST):
        return _post(record, None, None, None)
    return Notice(_NOTICES.get(record["$type"], "other_event"))


def _post_view(record: dict[str, Any]) -> dict[str, Any] | None:
    view = child(record, "post") or record
    if not isinstance(view.get("uri"), str):
        return None
    for key in ("record", "value"):
        if child(view, key).get("$type") == _POST:
            return view
    return None


def _event(event: dict[str, Any]) -> Tweet | Notice | None:
    commit = child(event, "commit")
    if not commit:
        return Notice("account")
    # Before its first release Jetstream wrote "type": "c" for "operation": "create".
    operation = commit.get("operation") or commit.get("type")
    if operation in ("delete", "d"):
        return Notice("delete")
    collection = commit.get("collection")
    if collection != _POST:
        return Notice(_NOTICES.get(str(collection), "other_event"))
    did, key = fields.identifier(event["did"]), fields.identifier(commit.get("rkey"))
    uri = f"at://{did}/{_POST}/{key}" if did and key else None
    return _post(child(commit, "record"), uri, did, None)


def _post(
    post: dict[str, Any], uri: str | None, author: str | None, embed: Any
) -> Tweet | Notice | None:
    text = first_text(post, "text")
    if text is None:
        return Notice("media_only") if post.get("text") in ("", None) and post else None
    key = _part(uri, 4)
    return Tweet(
        checked_text(text, _quoted(embed)),
        uri,
        author,
        fields.created_at(post.get("createdAt")),
        fields.language(post.get("langs")),
        link=f"https://bsky.app/profile/{author}/post/{key}" if author and key else None,
    )


def _quoted(embed: Any) -> str | None:
    """Find the text of a quoted post, which only the API's answers contain."""
    quoted = child({"embed": embed}, "embed", "record")
    for record in (quoted, child(quoted, "record")):
        if (text := first_text(child(record, "value"), "text")) is not None:
            return text
    return None


def _part(uri: str | None, number: int) -> str | None:
    """Take a part of `at://did/collection/key`."""
    parts = (uri or "").split("/")
    return parts[number] if len(parts) > number and parts[number] else None

"""ActivityPub: notes, and the activities that create them, as servers send them to each other.

https://www.w3.org/TR/activitypub/
https://www.w3.org/TR/activitystreams-vocabulary/#dfn-note
"""

from typing import Any

from worker.messages import fields
from worker.messages.fields import child, first_text
from worker.messages.tweet import Notice, Tweet, checked_text

_POSTS = frozenset(("Note", "Article", "Question", "Page"))
_NOTICES = {
    "Delete": "delete",
    "Like": "like",
    "EmojiReact": "like",
    "Announce": "repost",
    "Follow": "follow",
    "Accept": "follow",
    "Reject": "follow",
    "Block": "follow",
    "Move": "account",
}
_ACTIVITIES = frozenset(("Create", "Update", "Undo", "Add", "Remove", "Flag", *_NOTICES))


def detect(record: dict[str, Any]) -> bool:
    """Return whether a record is an activity or a note."""
    kind = record.get("type")
    if not isinstance(kind, str):
        return False
    if kind in _ACTIVITIES:
        return "actor" in record and "object" in record
    return kind in _POSTS and "attributedTo" in record


def read(record: dict[str, Any]) -> Tweet | Notice | None:
    """Read the note; an activity that does not create one is a notice."""
    kind = record["type"]
    note = child(record, "object") if kind in ("Create", "Update") else record
    if note.get("type") not in _POSTS:
        return Notice(_NOTICES.get(kind, "other_event"))
    content = note.get("content")
    if not isinstance(content, str):
        content = next(iter(child(note, "contentMap").values()), None)
    warning = first_text(note, "summary")
    text = "\n".join(part for part in (warning, fields.text(content)) if part)
    if not text:
        return Notice("media_only")
    language = list(child(note, "contentMap"))
    return Tweet(
        checked_text(text),
        fields.identifier(note.get("id")),
        fields.identifier(note.get("attributedTo")) or fields.identifier(record.get("actor")),
        fields.created_at(note.get("published")),
        fields.language(language),
        fields.place(note.get("location")),
        link=fields.link(note.get("url")) or fields.link(note.get("id")),
    )

"""Twitter: tweets of the APIs v1.1 and v2, as they are and as twarc2 flattens them.

    v1.1        text or full_text; the full text of an extended tweet, a retweet, a quoted tweet
    v2          data.text; users, tweets and places that it refers to are in `includes`
    twarc2      v2 at the top level, with `author` and the tweets that it refers to inside
    minimal     {"id": …, "text": …}, with any of these fields

The decoder uses it for records that no other format detects.

https://developer.x.com/en/docs/x-api/v1/data-dictionary/object-model/tweet
https://developer.x.com/en/docs/x-api/data-dictionary/object-model/tweet
https://twarc-project.readthedocs.io/en/latest/twarc2_en_us/#flatten
"""

from typing import Any, Optional

import msgspec
from msgspec import field

from shared.errors import RecordError
from worker.messages import fields
from worker.messages.fields import child, first_text, primary_language
from worker.messages.tweet import MAX_NAME_LENGTH, Coordinates, CreatedAt, Tweet, checked_text

_TEXTS = ("full_text", "text")
_MOST_REFERENCES = 10
"""Most references that are read: a tweet replies to, quotes and retweets at most one tweet each."""


class User(msgspec.Struct):
    """The author: `screen_name` in v1.1, `username` in v2, `screenName` in Twitter4J's JSON."""

    screen_name: str | None = None
    username: str | None = None
    id: int | str | None = None
    of_twitter4j: str | None = field(name="screenName", default=None)


class FullText(msgspec.Struct):
    """The full text of a tweet whose own text is truncated."""

    text: str | None = None
    full_text: str | None = None


class Place(msgspec.Struct):
    """A place by its full name, such as `La Ronge, Saskatchewan`."""

    id: str | None = None
    full_name: str | None = None


class Point(msgspec.Struct):
    """A GeoJSON point."""

    coordinates: list[float] | None = None


class Geo(msgspec.Struct):
    """The position of a tweet of v2; in v1.1 it repeats `coordinates` in reverse order."""

    place_id: str | None = None
    full_name: str | None = None
    coordinates: Any = None


class Status(msgspec.Struct):
    """The fields of a tweet, or of the object around one, that matter here."""

    text: str | None = None
    full_text: str | None = None
    id: int | str | None = None
    id_str: str | None = None
    created_at: CreatedAt | None = None
    lang: str | None = None
    user: User | None = None
    author: User | None = None
    author_id: str | None = None
    extended_tweet: FullText | None = None
    note_tweet: FullText | None = None
    retweeted_status: Optional["Status"] = None
    quoted_status: Optional["Status"] = None
    referenced_tweets: list["Reference"] | None = None
    place: Place | None = None
    coordinates: Point | None = None
    geo: Geo | None = None
    data: Optional["Status"] = None
    includes: Optional["Includes"] = None
    type: Any = field(name="$type", default=None)
    deleted: Any = field(name="__deleted", default=None)


class Reference(Status):
    """A reference to another tweet, with its content if twarc2 has flattened the record."""

    kind: str | None = field(name="type", default=None)


class Includes(msgspec.Struct):
    """The objects that a tweet of v2 refers to."""

    users: list[User] | None = None
    tweets: list[Status] | None = None
    places: list[Place] | None = None


_decode_status = msgspec.json.Decoder(Status).decode


def decode_common(value: bytes) -> Tweet | None:
    """Decode a tweet whose fields have the usual types, which takes a fifth of the time.

    Returns:
        None if the record needs another decoder.

    Raises:
        msgspec.DecodeError, UnicodeDecodeError, RecursionError: as for None.
        RecordError: as `checked_text`.
    """
    status = _decode_status(value)
    if status.type is not None or status.deleted is not None:
        return None
    return _tweet(status)


def read(record: dict[str, Any]) -> Tweet | None:
    """Read a tweet whose fields may have any types.

    Returns:
        None if it has no text.

    Raises:
        RecordError: `wrong_type` or `empty_text` if its text field is not a text or blank.
    """
    if (tweet := _tweet(_status(record))) is not None:
        return tweet
    for holder in (child(record, "data"), record):
        for key in _TEXTS:
            value = holder.get(key)
            if isinstance(value, str):
                raise RecordError("empty_text", f"the text in {key!r} is empty")
            if value is not None:
                kind = type(value).__name__
                raise RecordError("wrong_type", f"{key!r} is of type {kind}; expected a string")
    return None


def _tweet(outer: Status) -> Tweet | None:
    """Make a tweet from its fields. Most tweets have only the few that are read here."""
    status = outer
    if (data := outer.data) is not None and (data.text or _full_text(data) is not None):
        status = data
    if status.full_text is None and status.extended_tweet is None and status.note_tweet is None:
        text = status.text
    else:
        text = _full_text(status)
    if text is None or not text or text.isspace():
        return None
    quoted = None
    if (
        status.retweeted_status is not None
        or status.quoted_status is not None
        or status.referenced_tweets
    ):
        text, quoted = _with_others(text, status, outer.includes)
    number = status.id_str
    author = None if status.user is None else status.user.screen_name
    if author and number:
        link: str | None = f"https://x.com/{author}/status/{number}"
    else:
        number = number or (None if status.id is None else str(status.id))
        author = _author(status, outer.includes)
        link = _link(status, status is outer.data, number, author)
    place = point = None
    if status.place is not None or status.geo is not None or status.coordinates is not None:
        place, point = _place(status, outer.includes), _point(status)
    return Tweet(
        checked_text(text, quoted),
        number if number is None or len(number) <= MAX_NAME_LENGTH else None,
        author if author is None or len(author) <= MAX_NAME_LENGTH else None,
        status.created_at,
        None if status.lang is None else primary_language(status.lang),
        place,
        point,
        link,
    )


def _with_others(text: str, status: Status, includes: Includes | None) -> tuple[str, str | None]:
    """Complete a retweet's truncated text, and find the text that it quotes."""
    quoting = status
    retweeted = status.retweeted_status or _referenced(status, includes, "retweeted")
    if retweeted is not None and (whole := _full_text(retweeted)) is not None:
        # The outer text is "RT @name: " and the retweeted text, truncated at 140.
        mark, colon, _ = text.partition(": ")
        text = mark + colon + whole if colon and mark.startswith("RT @") else whole
        quoting = retweeted
    found = quoting.quoted_status or _referenced(quoting, includes, "quoted")
    return text, None if found is None else _full_text(found)


def _full_text(status: Status) -> str | None:
    """Find the longest form of a status' own text that is not blank."""
    if (more := status.extended_tweet) is not None and _some(more.full_text):
        return more.full_text
    if (more := status.note_tweet) is not None and _some(more.text):
        return more.text
    if _some(status.full_text):
        return status.full_text
    return status.text if _some(status.text) else None


def _some(text: str | None) -> bool:
    return text is not None and text != "" and not text.isspace()


def _referenced(status: Status, includes: Includes | None, kind: str) -> Status | None:
    """Find a tweet that a tweet of v2 refers to, if the record has it."""
    for reference in (status.referenced_tweets or ())[:_MOST_REFERENCES]:
        if reference.kind != kind:
            continue
        if _full_text(reference) is not None:
            return reference
        for tweet in (includes and includes.tweets) or ():
            if reference.id is not None and str(tweet.id) == str(reference.id):
                return tweet
    return None


def _author(status: Status, includes: Includes | None) -> str | None:
    if (user := status.user or status.author) is not None:
        if name := user.screen_name or user.username or user.of_twitter4j:
            return name
    elif includes is not None and status.author_id is not None:
        for one in includes.users or ():
            if one.id == status.author_id and one.username:
                return one.username
    return status.author_id


def _place(status: Status, includes: Includes | None) -> str | None:
    if status.place is not None and status.place.full_name:
        return _name(status.place.full_name)
    if (geo := status.geo) is None:
        return None
    for place in (includes and includes.places) or ():
        if place.id is not None and place.id == geo.place_id:
            return _name(place.full_name)
    return _name(geo.full_name)


def _point(status: Status) -> Coordinates | None:
    if (point := status.coordinates) is not None and len(point.coordinates or ()) == 2:
        return fields.coordinates(*(point.coordinates or ()))
    return fields.point(status.geo.coordinates) if status.geo is not None else None


def _link(status: Status, of_v2: bool, number: str | None, author: str | None) -> str | None:
    """Compose the address of a tweet, if it is certainly Twitter's."""
    named = author is not None and author != status.author_id
    if not number or not (of_v2 or (named and (status.id_str or status.author_id))):
        return None
    return f"https://x.com/{author if named else 'i'}/status/{number}"


def _name(value: str | None) -> str | None:
    return value if value and len(value) <= MAX_NAME_LENGTH else None


def _status(record: dict[str, Any], depth: int = 0) -> Status:
    """Read a tweet's fields one by one; those of unexpected types become None."""

    def inner(key: str) -> Status | None:
        value = record.get(key)
        return _status(value, depth + 1) if isinstance(value, dict) and depth < 3 else None

    return Status(
        **_own_fields(record),
        data=inner("data"),
        includes=_includes(record, depth),
        retweeted_status=inner("retweeted_status"),
        quoted_status=inner("quoted_status"),
        referenced_tweets=[
            Reference(**_own_fields(one), kind=fields.text(one.get("type")))
            for one in _objects(record.get("referenced_tweets"))
        ],
    )


def _own_fields(record: dict[str, Any]) -> dict[str, Any]:
    return {
        "text": fields.text(record.get("text")),
        "full_text": fields.text(record.get("full_text")),
        "id": fields.identifier(record.get("id")),
        "id_str": fields.identifier(record.get("id_str")),
        "created_at": fields.created_at(record.get("created_at")),
        "lang": fields.language(record.get("lang")),
        "user": _user(record.get("user")),
        "author": _user(record.get("author")),
        "author_id": fields.identifier(record.get("author_id")),
        "extended_tweet": FullText(
            full_text=first_text(child(record, "extended_tweet"), "full_text")
        ),
        "note_tweet": FullText(text=first_text(child(record, "note_tweet"), "text")),
        "place": Place(full_name=fields.place(record.get("place"))),
        "coordinates": _point_of(record.get("coordinates")),
        "geo": _geo(record.get("geo")),
    }


def _user(value: Any) -> User | None:
    if isinstance(value, dict):
        name = first_text(value, "screen_name", "username", "screenName", "userName", "handle")
        return User(screen_name=fields.identifier(name), id=fields.identifier(value.get("id")))
    return User(screen_name=fields.identifier(value)) if isinstance(value, str) else None


def _point_of(value: Any) -> Point | None:
    found = fields.point(value)
    return None if found is None else Point([found.longitude, found.latitude])


def _geo(value: Any) -> Geo | None:
    if not isinstance(value, dict):
        return None
    place = fields.identifier(value.get("place_id"))
    return Geo(place, fields.place(value.get("full_name")), value.get("coordinates"))


def _includes(record: dict[str, Any], depth: int) -> Includes | None:
    if not isinstance(found := record.get("includes"), dict) or depth:
        return None
    return Includes(
        [
            User(
                username=fields.identifier(one.get("username")), id=fields.identifier(one.get("id"))
            )
            for one in _objects(found.get("users"))
        ],
        [_status(one, 1) for one in _objects(found.get("tweets"))],
        [
            Place(fields.identifier(one.get("id")), fields.place(one.get("full_name")))
            for one in _objects(found.get("places"))
        ],
    )


def _objects(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []

"""Envelopes: what connectors, databases and streams put around a record.

    Kafka Connect   {"schema": …, "payload": …}, of JsonConverter with schemas.enable=true
    Debezium        {"before": …, "after": …, "op": "c"}, of PostgreSQL, MySQL, MongoDB and others
    MongoDB         {"operationType": "insert", "fullDocument": …}, of its own Connect source
    CloudEvents     {"specversion": "1.0", "data": …}, in structured mode
    Logstash        {"@timestamp": …, "message": …}, and Filebeat's
    Mastodon        {"event": "update", "payload": "…"}, of its streaming API
    X's archive     {"tweet": {…}}, of tweets.js

https://kafka.apache.org/documentation/#connect_userguide
https://debezium.io/documentation/reference/stable/connectors/postgresql.html#postgresql-events
https://www.mongodb.com/docs/kafka-connector/current/source-connector/fundamentals/change-streams/
https://github.com/cloudevents/spec/blob/main/cloudevents/formats/json-format.md
https://docs.joinmastodon.org/methods/streaming/#events
"""

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any

import msgspec

from worker.messages.fields import child
from worker.messages.tweet import Notice


class Envelope(msgspec.Struct, frozen=True):
    """An envelope.

    Attributes:
        name: for messages.
        advice: how to make the producer write no envelope.
        unwrap: returns a notice, or the content in a tuple of one; None for another kind of object.
    """

    name: str
    advice: str
    unwrap: Callable[[dict[str, Any]], Notice | tuple[Any] | None]


def _connect(record: dict[str, Any]) -> Notice | tuple[Any] | None:
    if record.keys() != {"schema", "payload"}:
        return None
    payload = record["payload"]
    if payload is None:
        return Notice("tombstone")
    return (_from_base64(payload) if child(record, "schema").get("type") == "bytes" else payload,)


def _debezium(record: dict[str, Any]) -> Notice | tuple[Any] | None:
    if record.get("__deleted") in ("true", True):  # flattened by ExtractNewRecordState
        return Notice("delete")
    if (
        not isinstance(operation := record.get("op"), str)
        or not {"after", "before"} & record.keys()
    ):
        return None
    if operation == "d":
        return Notice("delete")
    after = record.get("after")
    return Notice("other_event") if after is None else (after,)


def _mongodb(record: dict[str, Any]) -> Notice | tuple[Any] | None:
    if "operationType" not in record or "_id" not in record:
        return None
    document = record.get("fullDocument")
    if document is not None:
        return (document,)
    return Notice("delete" if record["operationType"] == "delete" else "other_event")


def _cloudevents(record: dict[str, Any]) -> Notice | tuple[Any] | None:
    if not ("specversion" in record and "type" in record and "source" in record):
        return None
    if "data_base64" in record:
        return (_from_base64(record["data_base64"]),)
    data = record.get("data")
    return Notice("other_event") if data is None else (data,)


def _logstash(record: dict[str, Any]) -> Notice | tuple[Any] | None:
    if "@timestamp" not in record or "text" in record or "full_text" in record:
        return None
    message = record.get("message")
    if not isinstance(message, str):
        message = child(record, "event").get("original")
    if not isinstance(message, str):
        return None
    if message.lstrip()[:1] in ("{", "[", '"'):
        return (message,)
    # The twitter input without full_tweet: `user` is the screen name, `source` the address.
    tweet = {"text": message, "user": record.get("user"), "created_at": record["@timestamp"]}
    if isinstance(source := record.get("source"), str) and (match := _STATUS.search(source)):
        tweet["id_str"] = match[1]
    return (tweet,)


def _mastodon(record: dict[str, Any]) -> Notice | tuple[Any] | None:
    event = record.get("event")
    if not isinstance(event, str) or not {"payload", "stream"} & record.keys():
        return None
    if event in ("update", "status.update") and record.get("payload") is not None:
        return (record["payload"],)
    return Notice("delete" if event == "delete" else "other_event")


def _archive(record: dict[str, Any]) -> Notice | tuple[Any] | None:
    tweet = child(record, "tweet")
    return (tweet,) if {"full_text", "text", "id_str"} & tweet.keys() else None


_STATUS = re.compile(r"/status(?:es)?/(\d{1,20})$")
_RAW = "value.converter.schemas.enable=false"
ENVELOPES = (
    Envelope("Kafka Connect", f"set {_RAW} in the connector", _connect),
    Envelope("Debezium", "add the transformation ExtractNewRecordState", _debezium),
    Envelope("MongoDB change stream", "set publish.full.document.only=true", _mongodb),
    Envelope("CloudEvents", "send the event in binary mode", _cloudevents),
    Envelope("Logstash", 'use codec => plain { format => "%{message}" } in the output', _logstash),
    Envelope("Mastodon event", "send the payload alone", _mastodon),
    Envelope("tweets.js", "send the object in `tweet` alone", _archive),
)


def split(record: dict[str, Any]) -> list[Any] | None:
    """Split a page, such as an answer of an API, into its posts.

    Returns:
        Records of one post each, as in a stream; None if it is not a page.
    """
    if isinstance(data := record.get("data"), list) and "text" not in record:
        return _page_of_v2(data, child(record, "includes"))
    for key in ("statuses", "posts", "feed", "tweets", "tweet_create_events"):
        if isinstance(posts := record.get(key), list) and all(isinstance(p, dict) for p in posts):
            return posts
    return None


def _page_of_v2(tweets: list[Any], includes: dict[str, Any]) -> list[Any]:
    """Give each tweet of a page those included objects that it refers to."""
    users, others, places = (
        {one["id"]: one for one in _objects(includes.get(key)) if isinstance(one.get("id"), str)}
        for key in ("users", "tweets", "places")
    )
    records: list[Any] = []
    for tweet in tweets:
        if not isinstance(tweet, dict):
            records.append(tweet)
            continue
        ids = [one.get("id") for one in _objects(tweet.get("referenced_tweets"))[:10]]
        own = {
            "users": _found(users, [tweet.get("author_id")]),
            "tweets": _found(others, ids),
            "places": _found(places, [child(tweet, "geo").get("place_id")]),
        }
        records.append({"data": tweet, "includes": own})
    return records


def _found(objects: dict[str, Any], ids: list[Any]) -> list[Any]:
    return [objects[one] for one in ids if isinstance(one, str) and one in objects]


def _objects(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _from_base64(value: Any) -> Any:
    """Decode Base64; return anything else unchanged."""
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return value

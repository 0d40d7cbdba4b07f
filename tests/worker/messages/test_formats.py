"""Every format, envelope and notice, with records that are true to it."""

import base64
import json
from typing import Any

import pytest
from msgspec.structs import replace

from worker.messages.decode import Decoder
from worker.messages.formats import FORMATS
from worker.messages.notices import KINDS
from worker.messages.tweet import Coordinates, Notice, Tweet

FIRE = "Wildfire 3 km south of Pine Ridge, residents told to leave"
WHOLE = f"{FIRE}. Shelter is open at the school, bring water and medicine"
CUT = f"{FIRE}. Shelter is op…"
DID = "did:plc:z72i7hdynmk6r22z27h6tvur"
V1_TIME = "Sat Aug 05 21:14:07 +0000 2023"
TIME = "2023-08-05T21:14:07.000Z"
decode = Decoder()


def post(**more: Any) -> dict[str, Any]:
    """Return a post of Bluesky."""
    return {"$type": "app.bsky.feed.post", "createdAt": TIME, "langs": ["en"], "text": FIRE} | more


def event(collection: str, record: Any, operation: str = "create") -> dict[str, Any]:
    """Return an event of Jetstream."""
    commit = {"rev": "3l", "operation": operation, "collection": collection, "rkey": "3lkq"}
    if record is not None:
        commit |= {"record": record, "cid": "bafyrei"}
    return {"did": DID, "time_us": 1725911162329308, "kind": "commit", "commit": commit}


def status(**more: Any) -> dict[str, Any]:
    """Return a status of Mastodon."""
    return {
        "id": "110842",
        "created_at": TIME,
        "sensitive": False,
        "spoiler_text": "",
        "visibility": "public",
        "language": "en",
        "uri": "https://social.example/users/ana/statuses/110842",
        "url": "https://social.example/@ana/110842",
        "content": "<p>Fire south of Pine Ridge,<br />residents &amp; guests told to leave</p>",
        "reblog": None,
        "account": {"id": "9", "username": "ana", "acct": "ana@social.example"},
    } | more


MASTODON = Tweet(
    "Fire south of Pine Ridge,\nresidents & guests told to leave",
    "110842",
    "ana@social.example",
    TIME,
    "en",
    link="https://social.example/@ana/110842",
)
BLUESKY = Tweet(
    FIRE,
    f"at://{DID}/app.bsky.feed.post/3lkq",
    DID,
    TIME,
    "en",
    link=f"https://bsky.app/profile/{DID}/post/3lkq",
)
VIEW: dict[str, Any] = {
    "uri": f"at://{DID}/app.bsky.feed.post/3lkq",
    "cid": "bafyrei",
    "author": {"did": DID, "handle": "ana.example"},
    "record": post(),
    "indexedAt": TIME,
}
OF_VIEW = Tweet(
    FIRE,
    VIEW["uri"],
    "ana.example",
    TIME,
    "en",
    link="https://bsky.app/profile/ana.example/post/3lkq",
)


def activity(**more: Any) -> dict[str, Any]:
    """Return an activity of GNIP."""
    return {
        "id": "tag:search.twitter.com,2005:1687",
        "objectType": "activity",
        "verb": "post",
        "postedTime": TIME,
        "link": "http://twitter.com/ana/statuses/1687",
        "body": FIRE,
        "actor": {"objectType": "person", "id": "id:twitter.com:9", "preferredUsername": "ana"},
        "object": {"objectType": "note", "id": "object:search.twitter.com,2005:1687"},
        "twitter_lang": "en",
        "location": {"objectType": "place", "displayName": "Pine Ridge, SD"},
        "geo": {"type": "Point", "coordinates": [43.0, -102.5]},
    } | more


GNIP = Tweet(
    FIRE,
    "1687",
    "ana",
    TIME,
    "en",
    "Pine Ridge, SD",
    Coordinates(-102.5, 43.0),
    "http://twitter.com/ana/statuses/1687",
)


def v1(**more: Any) -> dict[str, Any]:
    """Return a tweet of Twitter's API v1.1."""
    return {
        "created_at": V1_TIME,
        "id": 1687,
        "id_str": "1687",
        "text": FIRE,
        "user": {"id": 9, "id_str": "9", "name": "Ana", "screen_name": "ana"},
        "geo": None,
        "coordinates": None,
        "place": None,
        "lang": "en",
    } | more


V1 = Tweet(FIRE, "1687", "ana", V1_TIME, "en", link="https://x.com/ana/status/1687")
V2 = {"id": "1687", "text": FIRE, "author_id": "9", "created_at": TIME, "lang": "en"}
OF_V2 = Tweet(FIRE, "1687", "ana", TIME, "en", link="https://x.com/ana/status/1687")
USERS = {"users": [{"id": "8", "username": "bo"}, {"id": "9", "username": "ana", "name": "Ana"}]}


def graphql(text: str = FIRE, retweeted: Any = None, **more: Any) -> dict[str, Any]:
    """Return a tweet of the API of X's web client."""
    legacy: dict[str, Any] = {"full_text": text, "created_at": V1_TIME, "id_str": "1687"}
    legacy["lang"] = "en"
    if retweeted is not None:
        legacy["retweeted_status_result"] = {"result": retweeted}
    user = {"rest_id": "9", "legacy": {"screen_name": "ana"}}
    return {
        "__typename": "Tweet",
        "rest_id": "1687",
        "core": {"user_results": {"result": user}},
        "legacy": legacy,
    } | more


ACTOR = "https://social.example/users/ana"


def note(**more: Any) -> dict[str, Any]:
    """Return a note of ActivityPub."""
    return {
        "id": f"{ACTOR}/statuses/110842",
        "type": "Note",
        "summary": None,
        "published": TIME,
        "url": "https://social.example/@ana/110842",
        "attributedTo": ACTOR,
        "content": f"<p>{FIRE}</p>",
        "contentMap": {"en": f"<p>{FIRE}</p>"},
    } | more


NOTE = Tweet(
    FIRE,
    f"{ACTOR}/statuses/110842",
    ACTOR,
    TIME,
    "en",
    link="https://social.example/@ana/110842",
)

Sample = tuple[str, Any, Tweet | Notice]
SAMPLES: list[Sample] = [
    # Twitter's API v1.1
    ("twitter", v1(), V1),
    (
        "twitter",
        v1(
            geo={"type": "Point", "coordinates": [43.0, -102.5]},
            coordinates={"type": "Point", "coordinates": [-102.5, 43.0]},
            place={"id": "p", "full_name": "Pine Ridge, SD", "bounding_box": {"type": "Polygon"}},
        ),
        replace(V1, place="Pine Ridge, SD", coordinates=Coordinates(-102.5, 43.0)),
    ),
    (
        "twitter",
        v1(text="Stay safe", quoted_status=v1(text=CUT, extended_tweet={"full_text": WHOLE})),
        replace(V1, text=f"Stay safe\n{WHOLE}"),
    ),
    (
        "twitter",
        v1(
            text="RT @bo: Stay sa…",
            retweeted_status=v1(text="Stay safe", quoted_status=v1(text=WHOLE)),
        ),
        replace(V1, text=f"RT @bo: Stay safe\n{WHOLE}"),
    ),
    (
        "twitter",
        v1(text=f"See {FIRE}", quoted_status=v1()),
        replace(V1, text=f"See {FIRE}"),  # which has the quoted text
    ),
    ("twitter", v1(text="Fire &amp; smoke &lt;3"), replace(V1, text="Fire & smoke <3")),
    ("twitter", v1(lang="und"), replace(V1, lang=None)),
    ("twitter", v1(lang="in"), replace(V1, lang="id")),
    # v2
    ("twitter", {"data": V2, "includes": USERS, "matching_rules": [{"id": "1"}]}, OF_V2),
    (
        "twitter",
        {"data": V2},
        replace(OF_V2, author="9", link="https://x.com/i/status/1687"),
    ),
    (
        "twitter",
        {
            "data": V2
            | {"text": "Stay safe", "referenced_tweets": [{"type": "quoted", "id": "7"}]},
            "includes": USERS
            | {"tweets": [{"id": "7", "text": CUT, "note_tweet": {"text": WHOLE}}]},
        },
        replace(OF_V2, text=f"Stay safe\n{WHOLE}"),
    ),
    (
        "twitter",
        {
            "data": V2
            | {"text": "RT @bo: Wild…", "referenced_tweets": [{"type": "retweeted", "id": "7"}]},
            "includes": USERS | {"tweets": [{"id": "7", "text": FIRE}]},
        },
        replace(OF_V2, text=f"RT @bo: {FIRE}"),
    ),
    (
        "twitter",
        {
            "data": V2 | {"geo": {"place_id": "p"}},
            "includes": USERS | {"places": [{"id": "p", "full_name": "Pine Ridge, SD"}]},
        },
        replace(OF_V2, place="Pine Ridge, SD"),
    ),
    (
        "twitter",
        {
            "data": V2 | {"geo": {"coordinates": {"type": "Point", "coordinates": [-102.5, 43.0]}}},
            "includes": USERS,
        },
        replace(OF_V2, coordinates=Coordinates(-102.5, 43.0)),
    ),
    ("twitter", {"data": V2, "errors": [{"title": "Not Found Error"}], "includes": USERS}, OF_V2),
    # twarc2 flatten
    (
        "twitter",
        V2
        | {
            "author": {"id": "9", "username": "ana"},
            "text": "Stay safe",
            "referenced_tweets": [{"type": "quoted", "id": "7", "text": FIRE, "author_id": "8"}],
            "geo": {"place_id": "p", "full_name": "Pine Ridge, SD"},
        },
        replace(OF_V2, text=f"Stay safe\n{FIRE}", place="Pine Ridge, SD"),
    ),
    # minimal JSON, and side fields of other types
    ("twitter", {"id": 5, "text": FIRE}, Tweet(FIRE, "5")),
    ("twitter", {"id": 5.0, "text": FIRE}, Tweet(FIRE, "5")),
    ("twitter", {"id": 1.687e18, "text": FIRE}, Tweet(FIRE)),  # it has lost digits
    ("twitter", {"id": {"$numberLong": "1687"}, "text": FIRE}, Tweet(FIRE, "1687")),
    ("twitter", {"_id": {"$oid": "64"}, "id": {"$oid": "64"}, "text": FIRE}, Tweet(FIRE, "64")),
    ("twitter", {"id": True, "text": FIRE, "user": "ana"}, Tweet(FIRE, author="ana")),
    ("twitter", {"text": FIRE, "user": {"screen_name": 5}}, Tweet(FIRE)),
    ("twitter", {"text": FIRE, "user": {"screenName": "ana"}}, Tweet(FIRE, author="ana")),
    ("twitter", {"text": FIRE, "user": ["ana"], "lang": 7, "place": 3}, Tweet(FIRE)),
    ("twitter", {"text": {"string": FIRE}, "id": {"long": 7}}, Tweet(FIRE, "7")),
    ("twitter", {"text": FIRE, "created_at": 1691270047}, Tweet(FIRE, created_at=1691270047)),
    ("twitter", {"text": FIRE, "created_at": {"$date": TIME}}, Tweet(FIRE, created_at=TIME)),
    (
        "twitter",
        {"text": FIRE, "created_at": {"$date": {"$numberLong": "1691270047000"}}},
        Tweet(FIRE, created_at=1691270047000),
    ),
    ("twitter", {"text": FIRE, "created_at": ["2023"]}, Tweet(FIRE)),
    ("twitter", {"text": FIRE, "coordinates": [1, 2], "geo": "here"}, Tweet(FIRE)),
    ("twitter", {"text": FIRE, "retweeted_status": "x", "includes": 3}, Tweet(FIRE)),
    ("twitter", {"text": FIRE, "full_text": "", "extended_tweet": 3}, Tweet(FIRE)),
    ("twitter", {"id": 1, "text": FIRE, "data": {"source": "x"}}, Tweet(FIRE, "1")),
    # GNIP
    ("gnip", activity(), GNIP),
    ("gnip", activity(body=CUT, long_object={"body": WHOLE}), replace(GNIP, text=WHOLE)),
    (
        "gnip",
        activity(body=f"RT @bo: {CUT}", verb="share", object=activity(body=WHOLE)),
        replace(GNIP, text=f"RT @bo: {WHOLE}"),
    ),
    (
        "gnip",
        activity(body="Stay safe", twitter_quoted_status=activity(long_object={"body": WHOLE})),
        replace(GNIP, text=f"Stay safe\n{WHOLE}"),
    ),
    ("gnip", {"objectType": "activity", "verb": "delete", "object": {}}, Notice("delete")),
    ("gnip", {"objectType": "activity", "verb": "scrub_geo"}, Notice("scrub_geo")),
    ("gnip", {"objectType": "activity", "verb": "user_protect"}, Notice("compliance")),
    # Bluesky
    ("bluesky", event("app.bsky.feed.post", post()), BLUESKY),
    ("bluesky", event("app.bsky.feed.post", post(), "update"), BLUESKY),
    (
        "bluesky",
        event("app.bsky.feed.post", post(langs=["en", "es"])),
        replace(BLUESKY, lang=None),
    ),
    (
        "bluesky",
        {
            "did": DID,
            "time_us": 1,
            "type": "com",
            "commit": {
                "rev": "3l",
                "type": "c",
                "collection": "app.bsky.feed.post",
                "rkey": "3lkq",
                "record": post(),
            },
        },
        BLUESKY,
    ),
    ("bluesky", event("app.bsky.feed.post", None, "delete"), Notice("delete")),
    ("bluesky", event("app.bsky.feed.like", {"$type": "app.bsky.feed.like"}), Notice("like")),
    ("bluesky", event("app.bsky.feed.repost", {"subject": {}}), Notice("repost")),
    ("bluesky", event("app.bsky.graph.follow", {"subject": DID}), Notice("follow")),
    ("bluesky", event("app.bsky.feed.threadgate", {}), Notice("other_event")),
    ("bluesky", event("app.bsky.feed.post", post(text="")), Notice("media_only")),
    (
        "bluesky",
        {"did": DID, "time_us": 1, "kind": "account", "account": {"active": False}},
        Notice("account"),
    ),
    (
        "bluesky",
        {"did": DID, "time_us": 1, "kind": "identity", "identity": {"handle": "a.example"}},
        Notice("account"),
    ),
    ("bluesky", post(), Tweet(FIRE, created_at=TIME, lang="en")),
    ("bluesky", VIEW, OF_VIEW),
    ("bluesky", {"post": VIEW, "reply": None}, OF_VIEW),
    (
        "bluesky",
        VIEW
        | {
            "record": post(text="Stay safe"),
            "embed": {"$type": "app.bsky.embed.record#view", "record": {"value": post()}},
        },
        replace(OF_VIEW, text=f"Stay safe\n{FIRE}"),
    ),
    (
        "bluesky",
        VIEW
        | {
            "record": post(text="Stay safe"),
            "embed": {
                "$type": "app.bsky.embed.recordWithMedia#view",
                "record": {"record": {"value": post()}},
            },
        },
        replace(OF_VIEW, text=f"Stay safe\n{FIRE}"),
    ),
    ("bluesky", {"uri": VIEW["uri"], "cid": "b", "value": post()}, BLUESKY),
    # Mastodon
    ("mastodon", status(), MASTODON),
    ("mastodon", status(spoiler_text="Fire"), replace(MASTODON, text=f"Fire\n\n{MASTODON.text}")),
    (
        "mastodon",
        status(
            content="", url=None, reblog=status(account={"acct": "bo"}), account={"acct": "ana"}
        ),
        replace(MASTODON, author="ana"),
    ),
    (
        "mastodon",
        status(
            content="<p>Stay safe</p>",
            quote={"state": "accepted", "quoted_status": status(content=f"<p>{FIRE}</p>")},
        ),
        replace(MASTODON, text=f"Stay safe\n{FIRE}"),
    ),
    ("mastodon", status(content="", media_attachments=[{"id": "1"}]), Notice("media_only")),
    # scrapers and connectors
    (
        "snscrape",
        {
            "_type": "snscrape.modules.twitter.Tweet",
            "url": "https://twitter.com/ana/status/1687",
            "date": "2023-08-05T21:14:07+00:00",
            "rawContent": FIRE,
            "renderedContent": CUT,
            "id": 1687,
            "user": {"username": "ana", "id": 9},
            "lang": "en",
            "coordinates": {"longitude": -102.5, "latitude": 43.0},
            "place": {"fullName": "Pine Ridge, SD", "name": "Pine Ridge"},
        },
        Tweet(
            FIRE,
            "1687",
            "ana",
            "2023-08-05T21:14:07+00:00",
            "en",
            "Pine Ridge, SD",
            Coordinates(-102.5, 43.0),
            "https://twitter.com/ana/status/1687",
        ),
    ),
    (
        "snscrape",
        {"rawContent": "Stay safe", "id_str": "1", "quotedTweet": {"rawContent": FIRE}},
        Tweet(f"Stay safe\n{FIRE}"),
    ),
    (
        "snscrape",
        {"rawContent": "RT @bo: Wi…", "id": 7, "retweetedTweet": {"rawContent": FIRE}},
        Tweet(FIRE, "7"),
    ),
    (
        "connect_twitter",
        {
            "CreatedAt": 1691270047000,
            "Id": 1687,
            "Text": FIRE,
            "Source": "web",
            "Lang": "en",
            "GeoLocation": {"Latitude": 43.0, "Longitude": -102.5},
            "Place": {"Name": "Pine Ridge", "FullName": "Pine Ridge, SD"},
            "User": {"Id": 9, "ScreenName": "ana"},
        },
        Tweet(
            FIRE,
            "1687",
            "ana",
            1691270047000,
            "en",
            "Pine Ridge, SD",
            Coordinates(-102.5, 43.0),
        ),
    ),
    ("connect_twitter", {"StatusId": 1687, "UserId": 9}, Notice("delete")),
    ("x_graphql", graphql(), V1),
    ("x_graphql", {"tweet_results": {"result": {"tweet": graphql()}}}, V1),
    (
        "x_graphql",
        graphql(note_tweet={"note_tweet_results": {"result": {"text": WHOLE}}}),
        replace(V1, text=WHOLE),
    ),
    (
        "x_graphql",
        graphql(text="Stay safe", quoted_status_result={"result": graphql()}),
        replace(V1, text=f"Stay safe\n{FIRE}"),
    ),
    (
        "x_graphql",
        graphql(text=f"RT @bo: {CUT}", retweeted=graphql(text=FIRE)),
        V1,
    ),
    ("activitypub", {"type": "Create", "actor": ACTOR, "object": note()}, NOTE),
    ("activitypub", note() | {"@context": "https://www.w3.org/ns/activitystreams"}, NOTE),
    (
        "activitypub",
        note(summary="Fire", contentMap={"en": "", "de": ""}),
        replace(NOTE, text=f"Fire\n\n{FIRE}", lang=None),
    ),
    ("activitypub", note(content="", contentMap={}), Notice("media_only")),
    ("activitypub", {"type": "Delete", "actor": ACTOR, "object": NOTE.id}, Notice("delete")),
    ("activitypub", {"type": "Announce", "actor": ACTOR, "object": NOTE.id}, Notice("repost")),
    ("activitypub", {"type": "Like", "actor": ACTOR, "object": NOTE.id}, Notice("like")),
    (
        "activitypub",
        {"type": "Update", "actor": ACTOR, "object": {"type": "Person", "id": ACTOR}},
        Notice("other_event"),
    ),
    (
        "twint",
        {
            "id": 1687,
            "created_at": "2023-08-05 21:14:07 UTC",
            "username": "ana",
            "tweet": FIRE,
            "language": "en",
            "place": "",
            "link": "https://twitter.com/ana/status/1687",
        },
        Tweet(
            FIRE,
            "1687",
            "ana",
            "2023-08-05 21:14:07 UTC",
            "en",
            link="https://twitter.com/ana/status/1687",
        ),
    ),
]


@pytest.mark.parametrize(("name", "record", "found"), SAMPLES)
def test_each_record_is_read(name: str, record: Any, found: Tweet | Notice) -> None:  # noqa: ARG001
    for ascii_only in (False, True):
        value = json.dumps(record, ensure_ascii=ascii_only).encode()
        assert decode(value) == found
        assert decode(b"\xef\xbb\xbf \r\n" + value + b"\n") == found


@pytest.mark.parametrize(("name", "record", "_"), SAMPLES)
def test_one_format_detects_each_record(name: str, record: Any, _: Any) -> None:
    detected = [known.name for known in FORMATS if known.detect(record)]
    assert detected == ([] if name == "twitter" else [name])


def test_every_format_has_records() -> None:
    assert {name for name, _, _ in SAMPLES} == {known.name for known in FORMATS} | {"twitter"}


MINIMAL = {"id": 7, "text": FIRE}
OF_MINIMAL = Tweet(FIRE, "7")


@pytest.mark.parametrize(
    ("record", "found"),
    [
        ({"schema": {"type": "struct"}, "payload": v1()}, V1),
        ({"schema": {"type": "string"}, "payload": json.dumps(MINIMAL)}, OF_MINIMAL),
        ({"schema": {"type": "string"}, "payload": FIRE}, Tweet(FIRE)),
        (
            {
                "schema": {"type": "bytes"},
                "payload": base64.b64encode(json.dumps(MINIMAL).encode()).decode(),
            },
            OF_MINIMAL,
        ),
        ({"schema": None, "payload": None}, Notice("tombstone")),
        ({"before": None, "after": MINIMAL, "source": {}, "op": "c", "ts_ms": 1}, OF_MINIMAL),
        ({"before": MINIMAL, "after": MINIMAL, "source": {}, "op": "u"}, OF_MINIMAL),
        ({"after": json.dumps(MINIMAL), "source": {}, "op": "r"}, OF_MINIMAL),  # MongoDB's
        ({"before": MINIMAL, "after": None, "op": "d", "source": {}}, Notice("delete")),
        ({"schema": {}, "payload": {"before": None, "after": MINIMAL, "op": "c"}}, OF_MINIMAL),
        (MINIMAL | {"__deleted": "true", "__op": "d"}, Notice("delete")),
        (MINIMAL | {"__deleted": "false", "__op": "c"}, OF_MINIMAL),
        ({"_id": {"_data": "8"}, "operationType": "insert", "fullDocument": MINIMAL}, OF_MINIMAL),
        ({"_id": {"_data": "8"}, "operationType": "delete", "documentKey": {}}, Notice("delete")),
        (
            {"specversion": "1.0", "type": "t", "source": "/c", "id": "A", "data": {"data": V2}},
            replace(OF_V2, author="9", link="https://x.com/i/status/1687"),
        ),
        (
            {"specversion": "1.0", "type": "t", "source": "/c", "id": "A", "data": FIRE},
            Tweet(FIRE),
        ),
        (
            {
                "specversion": "1.0",
                "type": "t",
                "source": "/c",
                "id": "A",
                "data_base64": base64.b64encode(json.dumps(MINIMAL).encode()).decode(),
            },
            OF_MINIMAL,
        ),
        (
            {
                "@timestamp": TIME,
                "@version": "1",
                "message": FIRE,
                "user": "ana",
                "source": "http://twitter.com/ana/status/1687",
            },
            Tweet(FIRE, "1687", "ana", TIME, link="https://x.com/ana/status/1687"),
        ),
        ({"@timestamp": TIME, "message": json.dumps(MINIMAL), "log": {}}, OF_MINIMAL),
        ({"@timestamp": TIME, "event": {"original": json.dumps(MINIMAL)}}, OF_MINIMAL),
        (v1() | {"@timestamp": TIME, "@version": "1"}, V1),
        ({"stream": ["public"], "event": "update", "payload": json.dumps(status())}, MASTODON),
        ({"stream": ["public"], "event": "status.update", "payload": status()}, MASTODON),
        ({"stream": ["public"], "event": "delete", "payload": "110842"}, Notice("delete")),
        ({"stream": ["user"], "event": "filters_changed"}, Notice("other_event")),
        (
            {"tweet": {"id_str": "1687", "full_text": FIRE, "lang": "en"}},
            Tweet(FIRE, "1687", lang="en"),
        ),
        (json.dumps(json.dumps(MINIMAL)), OF_MINIMAL),
    ],
)
def test_envelopes_are_taken_off(record: Any, found: Tweet | Notice) -> None:
    assert decode(json.dumps(record).encode()) == found


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        ({"delete": {"status": {"id": 1, "user_id": 2}, "timestamp_ms": "1"}}, "delete"),
        ({"delete": {"status": {"id": 1}}, "timestamp_ms": "1"}, "delete"),
        ({"limit": {"track": 1234, "timestamp_ms": "1"}}, "limit"),
        ({"scrub_geo": {"user_id": 2, "up_to_status_id": 1}}, "scrub_geo"),
        ({"status_withheld": {"id": 1, "withheld_in_countries": ["DE"]}}, "withheld"),
        ({"user_withheld": {"id": 2, "withheld_in_countries": ["DE"]}}, "withheld"),
        ({"disconnect": {"code": 4, "stream_name": "", "reason": ""}}, "disconnect"),
        ({"warning": {"code": "FALLING_BEHIND", "message": "", "percent_full": 60}}, "warning"),
        ({"friends": [1, 2]}, "info"),
        ({"control": {"control_uri": "/1.1/site/c/01"}}, "info"),
        ({"user_delete": {"id": 2, "timestamp_ms": "1"}}, "compliance"),
        (
            {"event": "follow", "source": {"id": 1}, "target": {"id": 2}, "created_at": ""},
            "other_event",
        ),
        ({"data": {"delete": {"event_at": TIME, "tweet": {"id": "1"}}}}, "delete"),
        ({"data": {"withheld": {"event_at": TIME, "tweet": {"id": "1"}}}}, "withheld"),
        ({"data": {"drop": {"event_at": TIME, "tweet": {"id": "1"}}}}, "compliance"),
        ({"data": {"tweet_edit": {"event_at": TIME, "tweet": {"id": "1"}}}}, "compliance"),
        ({"data": {"user_protect": {"event_at": TIME, "user": {"id": "1"}}}}, "compliance"),
        ({"data": {"scrub_geo": {"event_at": TIME, "user": {"id": "1"}}}}, "scrub_geo"),
        ({"id": "1", "action": "delete", "redacted_at": TIME, "reason": "deleted"}, "compliance"),
        ({"errors": [{"title": "operational-disconnect", "detail": "", "type": ""}]}, "disconnect"),
        ({"errors": [{"message": "Rate limit exceeded", "code": 88}]}, "error"),
        (
            {
                "title": "ConnectionException",
                "detail": "This stream is at the maximum allowed connection limit.",
                "connection_issue": "TooManyConnections",
                "type": "https://api.twitter.com/2/problems/streaming-connection",
            },
            "error",
        ),
        ({"title": "Unauthorized", "type": "about:blank", "status": 401, "detail": "U"}, "error"),
        ({"info": {"message": "Replay Request Completed", "sent": TIME}}, "info"),
        ({"warn": {"message": "Connection is falling behind", "sent": TIME}}, "warning"),
        ({"error": {"message": "Forced Disconnect: Too many connections"}}, "disconnect"),
        ({"for_user_id": "9", "favorite_events": [{"id": "1"}]}, "other_event"),
        ({"type": "keepalive"}, "keep_alive"),
        ({"op": "ping", "t": 5}, "keep_alive"),
        ({"meta": {"result_count": 0, "newest_id": None}, "__twarc": {}}, "empty_page"),
        ({"data": [], "meta": {"result_count": 0}}, "empty_page"),
        ([], "empty_page"),
        (None, "tombstone"),
        ("keep-alive", "keep_alive"),
    ],
)
def test_notices_are_skipped(record: Any, kind: str) -> None:
    assert decode(json.dumps(record).encode()) == Notice(kind)
    assert kind in KINDS


def test_the_kinds_of_notices_are_all_named() -> None:
    found = {notice.kind for _, _, notice in SAMPLES if isinstance(notice, Notice)}
    assert found <= set(KINDS)

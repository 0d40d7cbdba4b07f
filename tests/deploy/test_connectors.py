"""The connectors' configuration, and what the worker makes of the messages that they copy."""

import json
import re
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from worker.messages.decode import Decoder
from worker.messages.tweet import Notice, Tweet
from worker.settings import Settings

FOLDER = ROOT / "deploy" / "connectors"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
README = (FOLDER / "README.md").read_text("utf-8")
TEXT = "Wildfire 3 km south of Pine Ridge, residents told to leave"
TIME = "2023-08-05T21:14:07.000Z"
decode = Decoder()

STATUS = {
    "id": "110842",
    "created_at": TIME,
    "language": "en",
    "url": "https://social.example/@ana/110842",
    "content": f"<p>{TEXT}</p>",
    "spoiler_text": "",
    "visibility": "public",
    "account": {"acct": "ana"},
}
POST = {
    "data": {
        "id": "1687",
        "text": "Stay safe https://t.co/a",
        "author_id": "9",
        "created_at": TIME,
        "lang": "en",
        "geo": {"place_id": "p"},
        "referenced_tweets": [{"type": "quoted", "id": "7"}],
    },
    "includes": {
        "users": [{"id": "9", "username": "ana"}],
        "tweets": [{"id": "7", "text": TEXT}],
        "places": [{"id": "p", "full_name": "Pine Ridge, SD"}],
    },
    "matching_rules": [{"id": "1", "tag": "fire"}],
}
COMMIT = {
    "rev": "3l",
    "operation": "create",
    "collection": "app.bsky.feed.post",
    "rkey": "3lkq",
    "record": {
        "$type": "app.bsky.feed.post",
        "createdAt": TIME,
        "langs": ["en"],
        "text": TEXT,
    },
}
BODIES = {
    "mastodon": f":)\nevent: update\ndata: {json.dumps(STATUS)}\n\n:thump\nevent: delete\n"
    f"data: 110840\n\n:thump\n\nevent: status.update\ndata: {json.dumps(STATUS)}\n\n",
    "x": f"{json.dumps(POST)}\r\n\r\n\r\n{json.dumps(POST)}\r\n"
    '{"errors": [{"title": "operational-disconnect", "disconnect_type": "OperationalDisconnect"}]}'
    "\r\n",
}
"""What the servers send, which the connector's scanner cuts into messages."""
EVENTS = [
    {"did": "did:plc:a", "time_us": 1, "kind": "commit", "commit": COMMIT},
    {
        "did": "did:plc:a",
        "time_us": 2,
        "kind": "commit",
        "commit": {"operation": "delete", "collection": "app.bsky.feed.post", "rkey": "3lkp"},
    },
    {"did": "did:plc:a", "time_us": 3, "kind": "identity", "identity": {"handle": "a.example"}},
]
EXPECTED: dict[str, list[Tweet | Notice]] = {
    "mastodon": [
        Tweet(TEXT, "110842", "ana", TIME, "en", link="https://social.example/@ana/110842"),
        Notice("delete"),
        Notice("keep_alive"),
        Tweet(TEXT, "110842", "ana", TIME, "en", link="https://social.example/@ana/110842"),
    ],
    "x": [
        Tweet(
            f"Stay safe https://t.co/a\n{TEXT}",
            "1687",
            "ana",
            TIME,
            "en",
            "Pine Ridge, SD",
            link="https://x.com/ana/status/1687",
        ),
        Tweet(
            f"Stay safe https://t.co/a\n{TEXT}",
            "1687",
            "ana",
            TIME,
            "en",
            "Pine Ridge, SD",
            link="https://x.com/ana/status/1687",
        ),
        Notice("disconnect"),
    ],
    "bluesky": [
        Tweet(
            TEXT,
            "at://did:plc:a/app.bsky.feed.post/3lkq",
            "did:plc:a",
            TIME,
            "en",
            link="https://bsky.app/profile/did:plc:a/post/3lkq",
        ),
        Notice("delete"),
        Notice("account"),
    ],
}


def configuration(name: str) -> Any:
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text("utf-8"))


def messages(name: str) -> list[bytes]:
    """Return the messages of a connection, cut as the configuration says."""
    if name == "bluesky":  # a WebSocket has messages of its own
        return [json.dumps(event).encode() for event in EVENTS]
    lines = configuration(name)["input"]["http_client"]["stream"]["scanner"]["lines"]
    assert lines["omit_empty"]
    parts = BODIES[name].split(lines["custom_delimiter"])
    return [part.encode() for part in parts if part]


@pytest.mark.parametrize("name", NAMES)
def test_its_messages_are_decoded(name: str) -> None:
    assert [decode(message) for message in messages(name)] == EXPECTED[name]


@pytest.mark.parametrize("name", NAMES)
def test_it_writes_to_the_input_topic_of_the_worker(name: str) -> None:
    output = configuration(name)["output"]["kafka_franz"]
    defaults = Settings()
    servers = defaults.kafka_bootstrap_servers
    assert output["seed_brokers"] == [f"${{TRIAGE_KAFKA_BOOTSTRAP_SERVERS:{servers}}}"]
    assert output["topic"] == f"${{TRIAGE_INPUT_TOPIC:{defaults.input_topic}}}"


@pytest.mark.parametrize("name", NAMES)
def test_it_is_documented_and_holds_no_secret(name: str) -> None:
    text = (FOLDER / f"{name}.yaml").read_text("utf-8")
    assert f"`{name}.yaml`" in README
    for variable in re.findall(r"\$\{(\w+)", text):
        assert f"{variable}" in README
    assert not re.search(r"Bearer (?!\$\{)", text)


def test_the_fields_that_the_decoder_reads_are_asked_for() -> None:
    url = configuration("x")["input"]["http_client"]["url"]
    for wanted in ("lang", "geo", "note_tweet", "referenced_tweets", "author_id", "geo.place_id"):
        assert re.search(rf"[=,]{wanted}\b", url)

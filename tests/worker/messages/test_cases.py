"""Records of people who do this job, which are not ours to ship: they lie beside the repository."""

from pathlib import Path

import pytest

from shared.errors import RecordError
from tests.conftest import ROOT
from worker.messages.alert import Model, Source, encode_alert, make_alert
from worker.messages.decode import Decoder
from worker.messages.tweet import Notice, Tweet, parse_created_at

CASES = ROOT.parent / "shared" / "cases" / "formats"
FIRE = "Forest fire near La Ronge, two villages evacuated"
PHONE = "I love my new phone and the coffee here"
LINK = "#wildfire https://news.example.org/2026/07/04/fire-la-ronge"

TEXTS = {
    "b16-v11-retweet-of-quote.json": f"RT @other_y: This is terrible\n{FIRE}",
    "b30-v2-filtered-stream.json": FIRE,
    "b32-v2-twarc2-flattened.json": FIRE,
    "b37-v2-quote-with-includes.json": f"Praying for everyone there\n{FIRE}",
    "b65-bsky-feed-view-post.json": FIRE,
    "b71-mastodon-websocket-event.json": f"{FIRE} {LINK}",
    "b75-mastodon-html-as-text.json": f"{FIRE} {LINK}",
    "b81-connect-twitter-status.json": FIRE,
    "b83-connect-string-json.json": FIRE,
    "b90-confluent-jsonschema.bin": PHONE,
    "b95-json-string-text.json": FIRE,
    "b98-record-separator.bin": PHONE,
    "c08-id-float.json": FIRE,
    "c10-created-at-epoch.json": FIRE,
    "c14-snscrape.json": FIRE,
    "c18-full-text-empty.json": FIRE,
    "c29-v11-coordinates-in-text-key.json": FIRE,
    "c32-cloudevents-with-v2.json": FIRE,
}
NOTICES = {
    "b02-v11-delete.json": "delete",
    "b04-v11-scrub-geo.json": "scrub_geo",
    "b06-v11-status-withheld.json": "withheld",
    "b08-keep-alive-crlf.txt": "keep_alive",
    "b10-twarc-keep-alive-string.txt": "keep_alive",
    "b34-v2-operational-disconnect.json": "disconnect",
    "b53-gnip-info.json": "info",
    "b61-jetstream-like.json": "like",
    "b63-jetstream-identity.json": "account",
    "b73-mastodon-sse-thump.txt": "keep_alive",
    "b85-debezium-delete.json": "delete",
}
REASONS = {
    "b93-confluent-protobuf.bin": "binary",
    "c34-utf16-le-plain-no-bom.bin": "not_utf8",
    "c36-json-number.txt": "unknown_format",
    "c39-json-pretty-inner-line.txt": "unknown_format",
    "c55-nostr.json": "unknown_format",
}

needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason=f"{CASES} is not there")
decode = Decoder()


def decoded(name: str) -> Tweet:
    tweet = decode((CASES / name).read_bytes())
    assert isinstance(tweet, Tweet)
    return tweet


@needs_cases
@pytest.mark.parametrize("name", TEXTS)
def test_a_post_is_read(name: str) -> None:
    tweet = decoded(name)
    assert tweet.text == TEXTS[name]
    source = Source("tweets.raw", 0, 1, None)
    now = parse_created_at("2026-11-30T12:00:00Z")
    assert now is not None
    encode_alert(make_alert(tweet, 0.9, 0.5, Model("LSTM", 1, "d"), source, now))


@needs_cases
@pytest.mark.parametrize(("name", "kind"), NOTICES.items())
def test_a_notice_is_skipped(name: str, kind: str) -> None:
    assert decode((CASES / name).read_bytes()) == Notice(kind)


@needs_cases
@pytest.mark.parametrize(("name", "reason"), REASONS.items())
def test_anything_else_is_refused(name: str, reason: str) -> None:
    with pytest.raises(RecordError) as caught:
        decode((CASES / name).read_bytes())
    assert caught.value.reason == reason


@needs_cases
def test_the_fields_that_were_wrong() -> None:
    assert decoded("b30-v2-filtered-stream.json").author == "someone_x"
    assert decoded("b32-v2-twarc2-flattened.json").author == "someone_x"
    assert decoded("c08-id-float.json").id is None  # the number has lost digits
    epoch = parse_created_at(decoded("c10-created-at-epoch.json").created_at)
    assert epoch == parse_created_at("2015-06-03T18:04:12Z")
    assert decoded("b51-gnip-long.json").text.endswith("bring your medicine.")


@needs_cases
def test_every_file_is_expected_to_be_something() -> None:
    there = {path.name for path in Path(CASES).iterdir() if path.name[0] in "bc"}
    assert there == {*TEXTS, *NOTICES, *REASONS, "b51-gnip-long.json"}

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import RecordError
from worker.messages.alert import (
    Alert,
    Model,
    Source,
    alert_schema,
    decode_alert,
    encode_alert,
    make_alert,
    source_timestamp,
)
from worker.messages.tweet import Coordinates, Tweet

NOW = datetime(2024, 5, 6, 7, 8, 9, 123_456, tzinfo=UTC)
MODEL = Model("LSTM", 3, "ab" * 32)
SOURCE = Source("tweets.raw", 1, 42, NOW)
KEYS = {"alert_id", "tweet", "probability", "threshold", "model", "scored_at", "source"}


def alert_of(tweet: Tweet, source: Source = SOURCE) -> Alert:
    return make_alert(tweet, 0.75, 0.5, MODEL, source, NOW)


def test_encoded_alert() -> None:
    """Subscribers depend on these names and forms."""
    tweet = Tweet(
        "Fire 🔥 & smoke",
        "7",
        "me",
        "Wed Oct 10 20:19:24 +0200 2018",
        "en",
        "Pine Ridge, SD",
        Coordinates(-102.5, 43),
        "https://x.com/me/status/7",
    )
    assert json.loads(encode_alert(alert_of(tweet))) == {
        "alert_id": "tweets.raw-1-42-1714979289123",
        "tweet": {
            "id": "7",
            "text": "Fire 🔥 & smoke",
            "author": "me",
            "created_at": "2018-10-10T18:19:24Z",
            "lang": "en",
            "place": "Pine Ridge, SD",
            "coordinates": {"longitude": -102.5, "latitude": 43.0},
            "link": "https://x.com/me/status/7",
        },
        "probability": 0.75,
        "threshold": 0.5,
        "model": {"name": "LSTM", "version": 3, "digest": "ab" * 32},
        "scored_at": "2024-05-06T07:08:09.123456Z",
        "source": {
            "topic": "tweets.raw",
            "partition": 1,
            "offset": 42,
            "timestamp": "2024-05-06T07:08:09.123456Z",
            "index": None,
        },
    }


def test_an_alert_of_version_1_can_be_read() -> None:
    record = json.loads(encode_alert(alert_of(Tweet("a"))))
    for key in ("lang", "place", "coordinates", "link"):
        del record["tweet"][key]
    del record["source"]["index"]
    VALIDATOR.validate(record)
    assert decode_alert(json.dumps(record).encode()) == alert_of(Tweet("a"))


def test_the_posts_of_a_record_have_alerts_of_their_own() -> None:
    """The id of another partition's record cannot be the same."""
    sources = [Source("a", 1, 2, NOW, 3), Source("a", 1, 2, NOW), Source("a-1", 2, 3, NOW)]
    ids = [alert_of(Tweet("x"), source).alert_id for source in sources]
    ms = 1_714_979_289_123
    assert ids == [f"a-1-2-{ms}.3", f"a-1-2-{ms}", f"a-1-2-3-{ms}"]


def test_a_time_without_a_zone_is_one_of_utc() -> None:
    alert = alert_of(Tweet("a", created_at="2022-01-01T10:00:00"))
    VALIDATOR.validate(json.loads(encode_alert(alert)))
    assert alert.tweet.created_at == datetime(2022, 1, 1, 10, tzinfo=UTC)


texts = st.text(min_size=1)
tweets = st.builds(
    Tweet,
    text=texts,
    id=st.none() | texts,
    author=st.none() | texts,
    created_at=st.none()
    | texts
    | st.integers(-(2**63), 2**63)
    | st.datetimes().map(lambda moment: moment.isoformat()),
    lang=st.none() | texts,
    place=st.none() | texts,
    coordinates=st.none() | st.builds(Coordinates, st.floats(-180, 180), st.floats(-90, 90)),
    link=st.none() | texts,
)
sources = st.builds(
    Source,
    topic=texts,
    partition=st.integers(0, 2**31 - 1),
    offset=st.integers(0, 2**63 - 1),
    timestamp=st.integers(-1, 2**63 - 1).map(source_timestamp),
    index=st.none() | st.integers(0, 9999),
)
VALIDATOR = jsonschema.Draft202012Validator(alert_schema())


@given(tweets, sources, st.floats(0, 1))
@settings(max_examples=200, deadline=None)
def test_round_trip_as_the_schema_says(tweet: Tweet, source: Source, probability: float) -> None:
    alert = make_alert(tweet, probability, 0.5, MODEL, source, NOW)
    value = encode_alert(alert)
    assert decode_alert(value) == alert
    read = json.loads(value)
    VALIDATOR.validate(read)
    assert set(read) == KEYS


def test_alert_id_depends_on_the_source_alone() -> None:
    other = make_alert(Tweet("b"), 0.1, 0.9, Model("x", 9, ""), SOURCE, NOW + timedelta(days=1))
    assert alert_of(Tweet("a")).alert_id == other.alert_id
    moved = Source("tweets.raw", 1, 43, NOW)
    assert alert_of(Tweet("a"), moved).alert_id != other.alert_id


def test_another_record_at_the_same_offset_has_another_alert_id() -> None:
    """As in a topic that was deleted and created anew; a record without a timestamp has one too."""
    later = [NOW + timedelta(milliseconds=1), datetime.fromtimestamp(0.5, UTC), None]
    ids = [alert_of(Tweet("a"), Source("tweets.raw", 1, 42, t)).alert_id for t in [NOW, *later]]
    assert ids == [f"tweets.raw-1-42-{ms}" for ms in (1714979289123, 1714979289124, 500, 0)]


@given(st.integers(0, 253_402_300_799_999))
def test_the_timestamp_in_an_alert_id_is_the_records(milliseconds: int) -> None:
    source = Source("t", 0, 0, source_timestamp(milliseconds))
    assert alert_of(Tweet("a"), source).alert_id == f"t-0-0-{milliseconds}"


def test_schema_names_every_key() -> None:
    schema: dict[str, Any] = alert_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"].endswith("2020-12/schema")
    described = schema["$defs"]["Alert"]
    assert set(described["properties"]) == set(described["required"]) == KEYS


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("alert_id",), 5),
        (("probability",), "0.75"),
        (("probability",), 1.5),
        (("threshold",), -0.1),
        (("tweet", "text"), None),
        (("tweet", "id"), 7),
        (("model", "version"), "3"),
        (("scored_at",), None),
        (("source", "offset"), 1.5),
        (("source",), None),
        (("model",), ...),
        (("tweet", "text"), ...),
    ],
)
def test_wrong_alert_is_refused_by_schema_and_decoder(path: tuple[str, ...], value: Any) -> None:
    record = json.loads(encode_alert(alert_of(Tweet("a"))))
    VALIDATOR.validate(record)
    place = record
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(record)
    with pytest.raises(RecordError, match="no alert") as caught:
        decode_alert(json.dumps(record).encode())
    assert caught.value.reason == "invalid_alert"


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{}",
        b"[]",
        b"no JSON",
        b"\xff",
        b'{"alert_id": "\xff"}',
        b'{"x": ' + b"[" * 100_000,
        b'{"scored_at": "yesterday"}',
        encode_alert(alert_of(Tweet("a"))).replace(b'56Z"', b'56"'),  # a time of no zone
    ],
)
def test_anything_else_is_no_alert(value: bytes) -> None:
    with pytest.raises(RecordError) as caught:
        decode_alert(value)
    assert caught.value.reason == "invalid_alert"


def test_unreadable_creation_time_is_null() -> None:
    assert alert_of(Tweet("a", created_at="yesterday")).tweet.created_at is None


@pytest.mark.parametrize(
    ("milliseconds", "moment"),
    [
        (None, None),
        (-1, None),
        (-(2**63), None),
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (1_715_000_000_123, datetime(2024, 5, 6, 12, 53, 20, 123_000, tzinfo=UTC)),
        (253_402_300_799_000, datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (253_402_300_800_000, None),
        (2**63 - 1, None),
    ],
)
def test_source_timestamp(milliseconds: int | None, moment: datetime | None) -> None:
    assert source_timestamp(milliseconds) == moment


def test_source_timestamp_is_in_utc() -> None:
    found = source_timestamp(0)
    assert found is not None
    assert found.utcoffset() == timedelta(0)
    assert found == datetime(1970, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))

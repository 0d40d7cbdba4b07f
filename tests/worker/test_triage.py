"""A batch becomes alerts, dead letters and a count, whatever is in it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pytest

from shared.alert import Model, decode_alert
from shared.bundle import Bundle
from shared.text import EncodedTexts
from worker.kafka_clients.records import Headers
from worker.triage import Triage

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MODEL = Model("LSTM", 7, "0" * 64)
RELEVANT = "BREAKING: 12 killed as earthquake collapses buildings, residents evacuated"
NOT_RELEVANT = "lol my new album is fire, love this song"


class FakeRecord(msgspec.Struct):
    value: bytes | None
    offset: int = 0
    key: bytes | None = None
    headers: Headers = []
    topic: str = "tweets.raw"
    partition: int = 3
    timestamp: int = 1_700_000_000_000


class RefusingScorer:
    """A scorer that fails on batches with a certain text in them, as spaCy may."""

    def __init__(self, refused: str) -> None:
        self.refused = refused

    def encode(self, texts: list[str]) -> EncodedTexts:
        if self.refused in texts:
            raise ValueError("refused")
        return EncodedTexts(np.ones(len(texts), np.int32), np.ones(len(texts), np.int32))

    def unknown_words(self, encoded: EncodedTexts) -> int:
        return len(encoded.ids)

    def score(self, texts: list[str]) -> Any:
        return self.predict(self.pad(self.encode(texts)))

    def pad(self, encoded: EncodedTexts) -> Any:
        return encoded.ids.reshape(-1, 1)

    def predict(self, padded: Any) -> Any:
        return np.full(len(padded), 0.9, np.float32)


@contextmanager
def no_step(_: str) -> Iterator[None]:
    yield


def new_triage(scorer: Any, threshold: float = 0.5) -> Triage:
    return Triage(scorer, MODEL, threshold, "alerts", "dead", lambda: NOW, no_step)


def test_every_record_ends_in_one_place(bundle: Bundle) -> None:
    values = [
        RELEVANT.encode(),
        json.dumps({"id": 5, "text": NOT_RELEVANT}).encode(),
        b"{broken",
        None,
        json.dumps({"data": {"id": "9", "text": RELEVANT}}).encode(),
    ]
    records = [FakeRecord(value, offset) for offset, value in enumerate(values)]
    outcome = new_triage(bundle.scorer)(records)
    assert [alert.source.offset for alert in outcome.alerts] == [0, 4]
    assert outcome.not_relevant == 1
    assert outcome.dead_letter_reasons == ["invalid_json", "no_value"]
    assert [message.topic for message in outcome.messages] == ["alerts", "alerts", "dead", "dead"]


def test_an_alert_says_what_was_decided_and_why(bundle: Bundle) -> None:
    tweet = {
        "id_str": "42",
        "full_text": RELEVANT,
        "user": {"screen_name": "desk"},
        "created_at": "Wed Oct 10 20:19:24 +0000 2018",
    }
    trace = ("traceparent", b"00-1-2-01")
    record = FakeRecord(
        json.dumps(tweet).encode(), 17, b"key", [trace, ("other", b"x"), ("X-B3-TraceId", b"y")]
    )
    (message,) = new_triage(bundle.scorer)([record]).messages
    alert = decode_alert(message.value or b"")
    assert alert.alert_id == "tweets.raw-3-17"
    assert (alert.tweet.id, alert.tweet.author, alert.tweet.text) == ("42", "desk", RELEVANT)
    assert alert.tweet.created_at == datetime(2018, 10, 10, 20, 19, 24, tzinfo=UTC)
    assert alert.probability == pytest.approx(float(bundle.scorer.score([RELEVANT])[0]), abs=1e-6)
    assert (alert.threshold, alert.model, alert.scored_at) == (0.5, MODEL, NOW)
    assert (alert.source.topic, alert.source.partition, alert.source.offset) == (
        "tweets.raw",
        3,
        17,
    )
    assert message.key == b"key"
    assert message.headers == [
        ("content-type", b"application/json"),
        ("triage-schema-version", b"1"),
        ("triage-model-version", b"7"),
        trace,
        ("X-B3-TraceId", b"y"),
    ]


def test_a_dead_letter_is_the_record_with_its_reason(bundle: Bundle) -> None:
    record = FakeRecord(b'{"text": 5}', 8, b"key", [("kept", b"1")])
    (message,) = new_triage(bundle.scorer)([record]).messages
    assert (message.key, message.value) == (b"key", b'{"text": 5}')
    headers = dict(message.headers)
    assert headers.pop("triage-error").startswith(b"the JSON object is no tweet")
    assert headers == {
        "kept": b"1",
        "triage-reason": b"wrong_type",
        "triage-error-class": b"RecordError",
        "triage-source-topic": b"tweets.raw",
        "triage-source-partition": b"3",
        "triage-source-offset": b"8",
        "triage-source-timestamp": b"1700000000000",
    }


def test_a_tombstone_without_key_can_be_published(bundle: Bundle) -> None:
    (message,) = new_triage(bundle.scorer)([FakeRecord(None)]).messages
    assert message.value == b""
    (message,) = new_triage(bundle.scorer)([FakeRecord(None, key=b"k")]).messages
    assert message.value is None


def test_a_batch_of_dead_letters_alone_is_no_problem(bundle: Bundle) -> None:
    outcome = new_triage(bundle.scorer)([FakeRecord(b"")])
    assert (outcome.not_relevant, outcome.alerts) == (0, [])
    assert outcome.dead_letter_reasons == ["empty_text"]


def test_a_text_that_cannot_be_encoded_costs_only_itself() -> None:
    records = [FakeRecord(text, n) for n, text in enumerate((b"good", b"bad", b"fine"))]
    outcome = new_triage(RefusingScorer("bad"))(records)
    assert [alert.source.offset for alert in outcome.alerts] == [0, 2]
    assert outcome.dead_letter_reasons == ["unprocessable"]


def test_the_threshold_itself_is_relevant() -> None:
    at = float(np.float32(0.9))
    assert len(new_triage(RefusingScorer("-"), at)([FakeRecord(b"a")]).alerts) == 1
    above = float(np.nextafter(np.float32(0.9), np.float32(1)))
    assert new_triage(RefusingScorer("-"), above)([FakeRecord(b"a")]).not_relevant == 1


def test_the_longest_timestamp_is_no_problem(bundle: Bundle) -> None:
    record = FakeRecord(RELEVANT.encode(), timestamp=2**63 - 1)
    (message,) = new_triage(bundle.scorer)([record]).messages
    assert decode_alert(message.value or b"").source.timestamp is None

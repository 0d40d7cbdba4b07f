"""A batch becomes alerts, dead letters and a count, whatever is in it."""

import json
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from shared.bundle.load import Bundle
from shared.errors import UnavailableError
from shared.text.encoder import EncodedTexts, TokenTable
from shared.text.tokens import Featurizer
from worker.kafka.records import Message, Record, RecordHeaders
from worker.messages.alert import Model, decode_alert
from worker.messages.decode import Decoder
from worker.messages.languages import Languages
from worker.messages.review import decode_review_tweet
from worker.messages.tweet import Tweet
from worker.review import Review
from worker.triage import Triage

TIMESTAMP = 1_700_000_000_000
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MODEL = Model("LSTM", 7, "0" * 64)
RELEVANT = "BREAKING: 12 killed as earthquake collapses buildings, residents evacuated"
NOT_RELEVANT = "lol my new album is fire, love this song"


def record_of(
    value: bytes | None,
    offset: int = 0,
    key: bytes | None = None,
    headers: RecordHeaders = (),
    topic: str = "tweets.raw",
    partition: int = 3,
    timestamp: int = TIMESTAMP,
) -> Record:
    return Record(topic, partition, offset, timestamp, key, value, headers)


TABLE = TokenTable(
    Featurizer([], None), lambda features: np.zeros((len(features.words), 0), np.float32)
)


class FakeScorer:
    """A scorer for which every text is relevant, and one word that it does not know.

    Args:
        check: is called with the texts of each batch, and raises what spaCy or TensorFlow may.
    """

    def __init__(self, check: Callable[[list[str]], None] = lambda _: None) -> None:
        self.check = check
        self.batches: list[int] = []

    def encode(self, texts: list[str]) -> EncodedTexts:
        self.batches.append(len(texts))
        self.check(texts)
        ones = np.ones(len(texts), np.int32)
        return EncodedTexts(ones, ones, TABLE)

    def unknown_words(self, encoded: EncodedTexts) -> Any:
        return np.ones(len(encoded.lengths), np.intp)

    def score(self, texts: list[str]) -> Any:
        return self.predict(self.pad(self.encode(texts)))

    def pad(self, encoded: EncodedTexts) -> Any:
        return encoded.ids.reshape(-1, 1)

    def predict(self, padded: Any) -> Any:
        return np.full(len(padded), 0.9, np.float32)


def refuse(refused: str) -> Callable[[list[str]], None]:
    def check(texts: list[str]) -> None:
        if refused in texts:
            raise ValueError("refused")

    return check


def no_memory_for(most: int) -> Callable[[list[str]], None]:
    def check(texts: list[str]) -> None:
        if len(texts) > most:
            raise MemoryError(f"{len(texts)} are too many")

    return check


@contextmanager
def no_step(_: str) -> Iterator[None]:
    yield


def new_triage(
    scorer: Any,
    threshold: float = 0.5,
    retried: Callable[[], None] = lambda: None,
    decoder: Any = Decoder(),  # noqa: B008
    languages: Languages = Languages(["any"]),  # noqa: B008
    review: Review | None = None,
) -> Triage:
    return Triage(
        scorer,
        MODEL,
        threshold,
        "alerts",
        "dead",
        lambda: NOW,
        no_step,
        retried,
        decoder,
        languages,
        review,
    )


def headers_of(message: Message) -> dict[str, bytes]:
    return dict(message.headers + message.added)


def test_every_record_ends_in_one_place(bundle: Bundle) -> None:
    values = [
        RELEVANT.encode(),
        json.dumps({"id": 5, "text": NOT_RELEVANT}).encode(),
        b"{broken",
        b"\0\0\0\0\1\2binary",
        json.dumps({"data": {"id": "9", "text": RELEVANT}}).encode(),
    ]
    records = [record_of(value, offset) for offset, value in enumerate(values)]
    outcome = new_triage(bundle.scorer)(records)
    assert [alert.source.offset for alert in outcome.alerts] == [0, 4]
    assert outcome.not_relevant == 1
    assert outcome.dead_letter_reasons == ["invalid_json", "binary"]
    assert [message.topic for message in outcome.messages] == ["alerts", "alerts", "dead", "dead"]
    assert (outcome.records, outcome.consumed) == (5, 5)


def test_notices_and_other_languages_are_counted_apart() -> None:
    values = [
        b"good",
        b'{"delete": {"status": {"id": 1}}}',
        b"\r\n",
        None,
        b'{"text": "good", "lang": "es"}',
        b'{"text": "Buenos dias a todos mis amigos", "lang": "en"}',
        b"{broken",
    ]
    records = [record_of(value, offset) for offset, value in enumerate(values)]
    outcome = new_triage(FakeScorer(), languages=Languages(["en"]))(records)
    assert [alert.source.offset for alert in outcome.alerts] == [0, 5]
    assert outcome.notices == ["delete", "keep_alive", "tombstone"]
    assert (outcome.other_language, outcome.not_relevant) == (1, 0)
    assert outcome.dead_letter_reasons == ["invalid_json"]
    assert (outcome.records, outcome.consumed) == (7, 7)


def test_each_post_of_a_record_ends_by_itself() -> None:
    array = (
        b'[{"text": "one", "lang": "en"}, {"a": 1}, {"limit": {}}, {"text": "two"}, {"text": "b"}]'
    )
    records = [record_of(b"zero", 4), record_of(array, 5, b"key", [("kept", b"1")])]
    outcome = new_triage(FakeScorer(refuse("b")))(records)
    assert [alert.alert_id for alert in outcome.alerts] == [
        f"tweets.raw-3-4-{TIMESTAMP}",
        f"tweets.raw-3-5-{TIMESTAMP}.0",
        f"tweets.raw-3-5-{TIMESTAMP}.3",
    ]
    assert outcome.notices == ["limit"]
    assert outcome.dead_letter_reasons == ["no_text", "unprocessable"]
    assert (outcome.records, outcome.consumed) == (2, 6)
    dead = [message for message in outcome.messages if message.topic == "dead"]
    assert [message.value for message in dead] == [b'{"a":1}', b'{"text":"b"}']
    assert [headers_of(message)["triage-source-index"] for message in dead] == [b"1", b"4"]
    assert all(message.key == b"key" and message.headers == [("kept", b"1")] for message in dead)


def test_a_fault_of_a_decoder_costs_only_its_record() -> None:
    def decode(value: bytes | None) -> Any:
        if value == b"bad":
            raise KeyError("a decoder forgot something")
        return Tweet("good")

    triage = new_triage(FakeScorer(), decoder=decode)
    outcome = triage([record_of(b"bad"), record_of(b"fine", 1)])
    assert [alert.source.offset for alert in outcome.alerts] == [1]
    assert outcome.dead_letter_reasons == ["unprocessable"]


def test_without_memory_to_decode_a_batch_is_halved() -> None:
    def decode(value: bytes | None) -> Any:
        if value == b"large" and len(decoded) > 1:
            raise MemoryError
        decoded.append(value)
        return Tweet("good")

    decoded: list[bytes | None] = []
    triage = new_triage(FakeScorer(), decoder=decode)
    records = [record_of(b"a"), record_of(b"b", 1), record_of(b"large", 2), record_of(b"c", 3)]
    assert triage(records).records == 2
    with pytest.raises(UnavailableError):
        triage([record_of(b"large")])


def test_an_alert_says_what_was_decided_and_why(bundle: Bundle) -> None:
    tweet = {
        "id_str": "42",
        "full_text": RELEVANT,
        "user": {"screen_name": "desk"},
        "created_at": "Wed Oct 10 20:19:24 +0000 2018",
    }
    trace = ("traceparent", b"00-1-2-01")
    record = record_of(
        json.dumps(tweet).encode(), 17, b"key", [trace, ("other", b"x"), ("X-B3-TraceId", b"y")]
    )
    (message,) = new_triage(bundle.scorer)([record]).messages
    alert = decode_alert(message.value or b"")
    assert alert.alert_id == f"tweets.raw-3-17-{TIMESTAMP}"
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
    assert message.headers == [trace, ("X-B3-TraceId", b"y")]
    assert message.added == [
        ("content-type", b"application/json"),
        ("triage-schema-version", b"3"),
        ("triage-model-version", b"7"),
    ]


def test_a_dead_letter_is_the_record_with_its_reason(bundle: Bundle) -> None:
    record = record_of(b'{"text": 5}', 8, b"key", [("kept", b"1")])
    (message,) = new_triage(bundle.scorer)([record]).messages
    assert (message.key, message.value) == (b"key", b'{"text": 5}')
    headers = headers_of(message)
    assert message.headers == record.headers
    assert headers.pop("triage-error").startswith(b"'text' is of type int")
    assert headers == {
        "kept": b"1",
        "triage-reason": b"wrong_type",
        "triage-error-class": b"RecordError",
        "triage-source-topic": b"tweets.raw",
        "triage-source-partition": b"3",
        "triage-source-offset": b"8",
        "triage-source-timestamp": b"1700000000000",
    }


def test_a_batch_of_dead_letters_alone_is_no_problem(bundle: Bundle) -> None:
    outcome = new_triage(bundle.scorer)([record_of(b"{}")])
    assert (outcome.not_relevant, outcome.alerts) == (0, [])
    assert outcome.dead_letter_reasons == ["no_text"]


def test_a_text_that_cannot_be_encoded_costs_only_itself() -> None:
    texts = [f"text {n}".encode() for n in range(1000)]
    texts[617] = b"bad"
    records = [record_of(text, n) for n, text in enumerate(texts)]
    outcome = new_triage(FakeScorer(refuse("bad")))(records)
    assert [alert.source.offset for alert in outcome.alerts] == [n for n in range(1000) if n != 617]
    assert outcome.texts == [text.decode() for text in texts if text != b"bad"]
    assert (len(outcome.probabilities), outcome.words, outcome.unknown_words) == (999, 999, 999)
    assert (outcome.dead_letter_reasons, outcome.not_relevant) == (["unprocessable"], 0)
    (dead_letter,) = [message for message in outcome.messages if message.topic == "dead"]
    assert dead_letter.value == b"bad"
    headers = headers_of(dead_letter)
    assert headers["triage-source-offset"] == b"617"
    assert headers["triage-error-class"] == b"ValueError"
    assert headers["triage-error"] == b"refused"


def test_several_of_them_are_all_found_and_the_order_is_kept() -> None:
    bad = {3, 4, 99, 100}
    records = [record_of(b"bad" if n in bad else b"good %d" % n, n) for n in range(101)]
    outcome = new_triage(FakeScorer(refuse("bad")))(records)
    assert [alert.source.offset for alert in outcome.alerts] == sorted(set(range(101)) - bad)
    dead = [headers_of(m)["triage-source-offset"] for m in outcome.messages if m.topic == "dead"]
    assert sorted(map(int, dead)) == sorted(bad)
    assert outcome.dead_letter_reasons == ["unprocessable"] * 4


def test_a_scorer_that_fails_for_any_text_blames_no_record() -> None:
    def check(_: list[str]) -> None:
        raise RuntimeError("the graph is broken")

    records = [record_of(b"good %d" % n, n) for n in range(8)]
    with pytest.raises(RuntimeError, match="the graph is broken"):
        new_triage(FakeScorer(check))(records)


def test_a_traceback_does_not_quote_tweets() -> None:
    def check(texts: list[str]) -> None:
        raise ValueError(f"cannot score {texts[0]!r}")

    tweet = record_of(b"private".upper())  # so that no line of source has it
    with pytest.raises(ValueError, match="cannot score 'any text'") as caught:
        new_triage(FakeScorer(check))([tweet])
    shown = "".join(traceback.format_exception(caught.value))
    assert "any text" in shown
    assert "PRIVATE" not in shown


def test_batches_are_halved_until_they_fit_into_memory_and_stay_so() -> None:
    retries: list[str] = []
    scorer = FakeScorer(no_memory_for(300))
    triage = new_triage(scorer, retried=lambda: retries.append("memory"))
    for batch in range(2):
        outcome = triage([record_of(b"good %d %d" % (batch, n), n) for n in range(1000)])
        assert [alert.source.offset for alert in outcome.alerts] == list(range(1000))
        assert (outcome.dead_letter_reasons, outcome.words) == ([], 1000)
    assert scorer.batches == [1000, 500, 250, 250, 250, 250, 250, 250, 250, 250]
    assert len(retries) == 2


def test_a_text_that_comes_again_is_not_scored_again() -> None:
    scorer = FakeScorer()
    triage = new_triage(scorer)
    values = [b"a retweet", b"a tweet", b"a retweet", b"too long to be remembered " * 20]
    for _ in range(2):
        outcome = triage([record_of(value, n) for n, value in enumerate(values)])
        assert [alert.source.offset for alert in outcome.alerts] == [0, 1, 2, 3]
        assert outcome.probabilities.tolist() == pytest.approx([0.9] * 4)
    assert scorer.batches == [3, 1]


def test_a_batch_ends_before_its_texts_take_too_long() -> None:
    triage = new_triage(FakeScorer(no_memory_for(12)))
    records: list[Record] = [record_of(b"%5d " % n * 4000, n) for n in range(24)]
    records.insert(3, record_of(b"{", 24))
    taken: list[int] = []
    while records:
        outcome = triage(records)
        ended = [alert.source.offset for alert in outcome.alerts]
        ended += [24] * len(outcome.dead_letter_reasons)
        done, records = records[: outcome.records], records[outcome.records :]
        assert sorted(ended) == sorted(record.offset for record in done)
        taken.append(outcome.records)
    assert taken == [11, 10, 4]


def test_without_memory_for_a_single_record_it_waits() -> None:
    records = [record_of(b"good %d" % n, n) for n in range(4)]
    with pytest.raises(UnavailableError, match="1 are too many"):
        new_triage(FakeScorer(no_memory_for(0)))(records)


def test_an_unreadable_record_is_a_dead_letter_without_content() -> None:
    unreadable = Record("tweets.raw", 3, 17, error="CorruptRecordError: failed crc check")
    records: list[Record] = [record_of(b"good"), unreadable, record_of(b"fine", 18)]
    outcome = new_triage(FakeScorer())(records)
    assert [alert.source.offset for alert in outcome.alerts] == [0, 18]
    assert outcome.dead_letter_reasons == ["unreadable"]
    (message,) = [message for message in outcome.messages if message.topic == "dead"]
    assert (message.key, message.value, message.headers) == (None, b"", [])
    assert message.added == [
        ("triage-reason", b"unreadable"),
        ("triage-error", b"CorruptRecordError: failed crc check"),
        ("triage-error-class", b"RecordError"),
        ("triage-source-topic", b"tweets.raw"),
        ("triage-source-partition", b"3"),
        ("triage-source-offset", b"17"),
        ("triage-source-timestamp", b"-1"),
    ]


def test_headers_can_be_published_whatever_they_hold() -> None:
    """kafka-python reads a null value but does not publish one; some errors repeat their input."""
    headers: Any = [("traceparent", None), ("other", None)]
    unreadable = Record("tweets.raw", 3, 17, error="bad name: " + "x" * 1_000_000)
    good, no_text = (record_of(value, headers=headers) for value in (b"good", b"{}"))
    records: list[Record] = [good, no_text, unreadable]
    alert, empty, cut = new_triage(FakeScorer())(records).messages
    assert alert.headers == [("traceparent", b"")]
    assert empty.headers == [("traceparent", b""), ("other", b"")]
    assert headers_of(cut)["triage-error"] == b"bad name: " + b"x" * 990


def test_words_are_counted(bundle: Bundle) -> None:
    assert bundle.manifest.text.keep_unknown
    few = new_triage(bundle.scorer)([record_of(b"fire and flood")])
    assert (few.words, few.unknown_words) == (3, 0)
    records = [record_of(b"fire and flood"), record_of(b"qqxzv fire zzxqk"), record_of(b"")]
    more = new_triage(bundle.scorer)(records)
    assert (more.words, more.unknown_words) == (6, 2)


def test_the_threshold_itself_is_relevant() -> None:
    at = float(np.float32(0.9))
    assert len(new_triage(FakeScorer(), at)([record_of(b"a")]).alerts) == 1
    above = float(np.nextafter(np.float32(0.9), np.float32(1)))
    assert new_triage(FakeScorer(), above)([record_of(b"a")]).not_relevant == 1


def test_the_longest_timestamp_is_no_problem(bundle: Bundle) -> None:
    record = record_of(RELEVANT.encode(), timestamp=2**63 - 1)
    (message,) = new_triage(bundle.scorer)([record]).messages
    assert decode_alert(message.value or b"").source.timestamp is None


def test_tweets_of_any_probability_are_chosen_for_review(bundle: Bundle) -> None:
    review = Review("review", 1000, lambda: 60.0, lambda: 0.5)
    records = [record_of(RELEVANT.encode(), 0, b"k", (("traceparent", b"t"),))]
    records += [record_of(NOT_RELEVANT.encode() + b" %d" % n, n) for n in range(1, 9)]
    records.append(record_of(b"{broken", 9))
    outcome = new_triage(bundle.scorer, review=review)(records)
    found = [m for m in outcome.messages if m.topic == "review"]
    tweets = [decode_review_tweet(m.value or b"") for m in found]
    assert [tweet.reason for tweet in tweets] == outcome.review_reasons
    assert {tweet.source.offset for tweet in tweets} > {0}
    assert all(tweet.inclusion_probability <= 1 for tweet in tweets)
    first = tweets[0]
    (alert,) = outcome.alerts
    assert (first.alert_id, first.tweet, first.probability, first.model, first.scored_at) == (
        *(alert.alert_id, alert.tweet, alert.probability, alert.model, alert.scored_at),
    )
    assert (found[0].key, headers_of(found[0])["traceparent"]) == (b"k", b"t")
    assert headers_of(found[0])["triage-schema-version"] == b"1"
    assert outcome.not_relevant == 8
    without = new_triage(bundle.scorer)(records)
    assert [m for m in outcome.messages if m.topic != "review"] == without.messages

"""Triage: a batch of records → alerts, dead letters, and a count of what is not relevant.

    bytes ─decode─▶ Tweet ─encode─▶ ids ─pad─▶ rows ─predict─▶ probability ─decide─▶ Alert

A record that cannot take a step becomes a dead letter, and the others go on.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime

import msgspec

from shared.alert import (
    CONTENT_TYPE,
    SCHEMA_VERSION,
    Model,
    Source,
    encode_alert,
    make_alert,
    source_timestamp,
)
from shared.errors import RecordError
from shared.models import Floats
from shared.scorer import Scorer
from shared.text import EncodedTexts
from shared.tweet import Tweet, decode_tweet
from worker.kafka_clients.records import Headers, Message, Record

Step = Callable[[str], AbstractContextManager[None]]

_TRACE_HEADERS = frozenset(("traceparent", "tracestate", "baggage", "b3"))
"""W3C Trace Context and Baggage, and Zipkin's B3 in one header; `x-b3-…` is matched by prefix."""


class Outcome(msgspec.Struct, frozen=True):
    """What became of a batch.

    Attributes:
        messages: alerts and dead letters, to be published.
        alerted: the records that became alerts.
        not_relevant: how many tweets scored below the threshold.
        dead_letter_reasons: one for each dead letter.
    """

    messages: list[Message]
    alerted: list[Record]
    not_relevant: int
    dead_letter_reasons: list[str]


class Triage:
    """Decides about batches with one bundle.

    Args:
        scorer: the bundle's.
        model: names the bundle in alerts.
        threshold: a probability.
        clock: gives the alerts' `scored_at`.
        step: measures a step, given its name.
    """

    def __init__(
        self,
        scorer: Scorer,
        model: Model,
        threshold: float,
        alerts_topic: str,
        dead_letters_topic: str,
        clock: Callable[[], datetime],
        step: Step,
    ) -> None:
        self._scorer = scorer
        self._model = model
        self._threshold = threshold
        self._alerts_topic = alerts_topic
        self._dead_letters_topic = dead_letters_topic
        self._clock = clock
        self._step = step
        self._alert_headers: Headers = [
            ("content-type", CONTENT_TYPE.encode()),
            ("triage-schema-version", str(SCHEMA_VERSION).encode()),
            ("triage-model-version", str(model.version).encode()),
        ]

    def __call__(self, records: Sequence[Record]) -> Outcome:
        """Triages a batch; every record ends as alert, as not relevant, or as dead letter."""
        failed: list[tuple[Record, RecordError]] = []
        with self._step("decode"):
            tweets = self._decode(records, failed)
        with self._step("encode"):
            tweets, encoded = self._encode(tweets, failed)
        with self._step("pad"):
            padded = self._scorer.pad(encoded)
        with self._step("predict"):
            probabilities = self._scorer.predict(padded) if tweets else ()
        with self._step("decide"):
            alerts, alerted = self._decide(tweets, probabilities)
        dead_letters = [self._dead_letter(record, error) for record, error in failed]
        return Outcome(
            alerts + dead_letters,
            alerted,
            len(tweets) - len(alerted),
            [error.reason for _, error in failed],
        )

    def _decode(
        self, records: Sequence[Record], failed: list[tuple[Record, RecordError]]
    ) -> list[tuple[Record, Tweet]]:
        tweets = []
        for record in records:
            try:
                tweets.append((record, decode_tweet(record.value)))
            except RecordError as error:
                failed.append((record, error))
        return tweets

    def _encode(
        self, tweets: list[tuple[Record, Tweet]], failed: list[tuple[Record, RecordError]]
    ) -> tuple[list[tuple[Record, Tweet]], EncodedTexts]:
        """Encodes the texts; if that fails, finds the texts at fault one by one."""
        try:
            return tweets, self._scorer.encode([tweet.text for _, tweet in tweets])
        except ValueError:
            good = []
            for record, tweet in tweets:
                try:
                    self._scorer.encode([tweet.text])
                    good.append((record, tweet))
                except ValueError as error:
                    failed.append((record, RecordError("unencodable_text", str(error))))
            return good, self._scorer.encode([tweet.text for _, tweet in good])

    def _decide(
        self, tweets: list[tuple[Record, Tweet]], probabilities: Floats | tuple[()]
    ) -> tuple[list[Message], list[Record]]:
        now = self._clock()
        alerts, alerted = [], []
        for (record, tweet), probability in zip(tweets, map(float, probabilities), strict=True):
            if probability < self._threshold:
                continue
            source = Source(
                record.topic, record.partition, record.offset, source_timestamp(record.timestamp)
            )
            alert = make_alert(tweet, probability, self._threshold, self._model, source, now)
            headers = self._alert_headers + [h for h in record.headers if _is_trace(h[0])]
            alerts.append(Message(self._alerts_topic, record.key, encode_alert(alert), headers))
            alerted.append(record)
        return alerts, alerted

    def _dead_letter(self, record: Record, error: RecordError) -> Message:
        """The record unchanged, with headers that say why and from where it came."""
        headers = [
            *record.headers,
            ("triage-reason", error.reason.encode()),
            ("triage-error", str(error).encode("utf-8", "replace")),
            ("triage-error-class", type(error).__name__.encode()),
            ("triage-source-topic", record.topic.encode()),
            ("triage-source-partition", str(record.partition).encode()),
            ("triage-source-offset", str(record.offset).encode()),
            ("triage-source-timestamp", str(record.timestamp).encode()),
        ]
        value = record.value
        if value is None and record.key is None:  # kafka-python publishes no message without both
            value = b""
        return Message(self._dead_letters_topic, record.key, value, headers)


def _is_trace(header: str) -> bool:
    name = header.lower()
    return name in _TRACE_HEADERS or name.startswith("x-b3-")

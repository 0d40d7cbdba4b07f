"""Triage: a batch of records → alerts, dead letters, and a count of what is not relevant.

    bytes ─decode─▶ Tweet ─encode─▶ ids ─pad─▶ rows ─predict─▶ probability ─decide─▶ Alert

A record that cannot take a step becomes a dead letter, and the others go on: a batch that fails as
a whole is halved until the record at fault is found.
"""

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime

import msgspec
import numpy as np

from shared.errors import RecordError, UnavailableError
from shared.model.architecture import Floats
from shared.model.scorer import Scorer
from worker.kafka.records import Headers, Message, Record
from worker.messages.alert import (
    CONTENT_TYPE,
    SCHEMA_VERSION,
    Alert,
    Model,
    Source,
    encode_alert,
    make_alert,
    source_timestamp,
)
from worker.messages.dead_letter import make_dead_letter, publishable
from worker.messages.tweet import Tweet, decode_tweet

_REMEMBERED = 50_000
"""Texts whose probabilities are remembered, some 500 bytes each: a third of Twitter are retweets,
whose texts are equal. When there are more, remembering starts anew."""
_LONGEST_REMEMBERED = 400
"""Characters; longer texts hardly come twice, and would take the memory."""

_MOST_CHARACTERS = 1 << 18
"""Of a batch's texts, unless there is but one. Tokens of the worst take 90 µs a character on a busy
core, and a member that does not come back within `TRIAGE_STALL_SECONDS` loses its partitions."""

Step = Callable[[str], AbstractContextManager[None]]

_TRACE_HEADERS = frozenset(("traceparent", "tracestate", "baggage", "b3"))
"""W3C Trace Context and Baggage, and Zipkin's B3 in one header; `x-b3-…` is matched by prefix."""


class Outcome(msgspec.Struct, frozen=True):
    """What became of a batch, or of its first records where its texts are long.

    Attributes:
        records: how many these are.
        messages: alerts and dead letters, to be published.
        alerts: those of them that are alerts.
        not_relevant: how many tweets scored below the threshold.
        dead_letter_reasons: one for each dead letter.
        texts: of the tweets that were scored.
        probabilities: float32, shape (texts,).
        words: how many words were scored; a text that was scored before is not scored again.
        unknown_words: how many of them the vocabulary lacks.
    """

    records: int
    messages: list[Message]
    alerts: list[Alert]
    not_relevant: int
    dead_letter_reasons: list[str]
    texts: list[str]
    probabilities: Floats
    words: int
    unknown_words: int


class Triage:
    """Decides about batches with one bundle.

    Args:
        scorer: the bundle's.
        model: names the bundle in alerts.
        threshold: a probability.
        clock: gives the alerts' `scored_at`.
        step: measures a step, given its name.
        retried: is told of each attempt with a smaller batch after memory ran out.
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
        retried: Callable[[], None] = lambda: None,
    ) -> None:
        self._scorer = scorer
        self._model = model
        self.threshold = threshold
        self._alerts_topic = alerts_topic
        self._dead_letters_topic = dead_letters_topic
        self._clock = clock
        self._step = step
        self._retried = retried
        self._most = sys.maxsize  # records that fit into memory at once
        self._known: dict[str, float] = {}  # text → probability
        self._alert_headers: Headers = [
            ("content-type", CONTENT_TYPE.encode()),
            ("triage-schema-version", str(SCHEMA_VERSION).encode()),
            ("triage-model-version", str(model.version).encode()),
        ]

    def __call__(self, records: Sequence[Record]) -> Outcome:
        """Triages a batch; every record ends as alert, as not relevant, or as dead letter.

        Not all of them where their texts are long: one at least, and as many as `Outcome.records`.

        Raises:
            UnavailableError: if memory does not suffice for a single record.
            Exception: whatever a step raises for any text, which is no record's fault.
        """
        if len(records) > self._most:
            return self._halves(records)
        try:
            return self._triage(records)
        except MemoryError as error:
            if len(records) == 1:
                raise UnavailableError(str(error)) from error
            self._most = len(records) // 2
            self._retried()
        except Exception as error:  # noqa: BLE001  # a step may raise anything over some text
            if len(records) == 1:
                return self._unprocessable(records[0], error)
        return self._halves(records)

    def _unprocessable(self, record: Record, error: Exception) -> Outcome:
        try:
            self._scorer.score(["any text"])
        except Exception as fault:
            # It is not the record's. The error before may quote the tweet, and a traceback would
            # show it, too.
            raise fault from None
        dead_letter = self._dead_letter(record, "unprocessable", error)
        nothing = np.empty(0, np.float32)
        return Outcome(1, [dead_letter], [], 0, ["unprocessable"], [], nothing, 0, 0)

    def _halves(self, records: Sequence[Record]) -> Outcome:
        middle = (len(records) + 1) // 2
        first = self(records[:middle])
        if first.records < middle:
            return first
        second = self(records[middle:])
        return Outcome(
            first.records + second.records,
            first.messages + second.messages,
            first.alerts + second.alerts,
            first.not_relevant + second.not_relevant,
            first.dead_letter_reasons + second.dead_letter_reasons,
            first.texts + second.texts,
            np.concatenate([first.probabilities, second.probabilities]),
            first.words + second.words,
            first.unknown_words + second.unknown_words,
        )

    def _triage(self, records: Sequence[Record]) -> Outcome:
        with self._step("decode"):
            tweets, failed = _decode(records, _MOST_CHARACTERS)
        texts = [tweet.text for _, tweet in tweets]
        known = self._known
        new = [text for text in dict.fromkeys(texts) if text not in known]
        with self._step("encode"):
            encoded = self._scorer.encode(new)
        with self._step("pad"):
            padded = self._scorer.pad(encoded)
        with self._step("predict"):
            scored = self._scorer.predict(padded).tolist() if new else []
        known.update(zip(new, scored, strict=True))
        probabilities = np.fromiter(map(known.__getitem__, texts), np.float32, len(texts))
        self._forget(new)
        with self._step("decide"):
            messages, alerts = self._decide(tweets, probabilities)
        return Outcome(
            len(tweets) + len(failed),
            messages + [self._dead_letter(record, e.reason, e) for record, e in failed],
            alerts,
            len(tweets) - len(alerts),
            [error.reason for _, error in failed],
            texts,
            probabilities,
            len(encoded.ids),
            self._scorer.unknown_words(encoded),
        )

    def _forget(self, new: Sequence[str]) -> None:
        if len(self._known) > _REMEMBERED:
            self._known.clear()
            return
        for text in new:
            if len(text) > _LONGEST_REMEMBERED:
                del self._known[text]

    def _decide(
        self, tweets: list[tuple[Record, Tweet]], probabilities: Floats
    ) -> tuple[list[Message], list[Alert]]:
        now = self._clock()
        messages, alerts = [], []
        for (record, tweet), probability in zip(tweets, probabilities.tolist(), strict=True):
            if probability < self.threshold:
                continue
            source = Source(
                record.topic, record.partition, record.offset, source_timestamp(record.timestamp)
            )
            alert = make_alert(tweet, probability, self.threshold, self._model, source, now)
            trace = [header for header in publishable(record.headers) if _is_trace(header[0])]
            value = encode_alert(alert)
            messages.append(
                Message(self._alerts_topic, record.key, value, trace, self._alert_headers)
            )
            alerts.append(alert)
        return messages, alerts

    def _dead_letter(self, record: Record, reason: str, error: Exception) -> Message:
        return make_dead_letter(self._dead_letters_topic, record, reason, error)


def _decode(
    records: Sequence[Record], most: int
) -> tuple[list[tuple[Record, Tweet]], list[tuple[Record, RecordError]]]:
    """Decodes records, up to so many characters of their texts."""
    tweets: list[tuple[Record, Tweet]] = []
    failed, size = [], 0
    for record in records:
        try:
            tweet = decode_tweet(record.value)
            size += len(tweet.text)
            if size > most and tweets:
                break
            tweets.append((record, tweet))
        except RecordError as error:
            unreadable = record.error and RecordError("unreadable", record.error)
            failed.append((record, unreadable or error))
    return tweets, failed


def _is_trace(header: str) -> bool:
    name = header.lower()
    return name in _TRACE_HEADERS or name.startswith("x-b3-")

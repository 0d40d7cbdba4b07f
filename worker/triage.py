"""Triage: a batch of records → alerts, dead letters, and counts of the rest.

    bytes ─decode─▶ Tweet ─encode─▶ ids ─pad─▶ rows ─predict─▶ probability ─decide─▶ Alert
                                                                       └─review─▶ ReviewTweet

A record ends as exactly one of: alert, not relevant, other language, skipped notice, dead letter. A
record that holds several posts ends as one of these for each post, and all of them are committed
together. A record that fails a step becomes a dead letter, and the others continue. If a whole
batch fails, it is halved until the bad tweet is found. A few tweets, of any probability, are chosen
for review as well.
"""

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from itertools import repeat
from typing import cast

import msgspec
import numpy as np

from shared.arrays import Floats
from shared.errors import RecordError, UnavailableError
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
from worker.messages.decode import MAX_CHARACTERS, Decoder, Item
from worker.messages.languages import ANY, Languages
from worker.messages.review import SCHEMA_VERSION as REVIEW_SCHEMA_VERSION
from worker.messages.review import Reason, encode_review_tweet, make_review_tweet
from worker.messages.tweet import Notice, Tweet
from worker.review import Review

_REMEMBERED = 50_000
"""Texts whose probabilities are remembered, about 500 bytes each: a third of all tweets are
retweets with equal texts. When the memory is full, it is cleared."""
_LONGEST_REMEMBERED = 400
"""Characters of a remembered text. Longer texts rarely occur twice, and would fill the memory."""

_CHARACTERS_OF_A_TWEET = 16
"""The least number of characters that a tweet counts towards `MAX_CHARACTERS`, so that arrays of
tiny texts do not fill the memory."""

Step = Callable[[str], AbstractContextManager[None]]

_TRACE_HEADERS = frozenset(("traceparent", "tracestate", "baggage", "b3"))
"""W3C Trace Context and Baggage, and Zipkin's B3 in one header; `x-b3-…` is matched by prefix."""


class Outcome(msgspec.Struct, frozen=True):
    """The outcome of a batch, or of its first records if its texts are long.

    Attributes:
        records: how many records it covers.
        consumed: the posts and other messages in them. A record counts once unless it has several.
        messages: alerts, review tweets and dead letters, to be published.
        alerts: how many of the messages are alerts.
        not_relevant: tweets that scored below the threshold.
        other_language: tweets that were skipped for their language.
        notices: the kind of each notice that was skipped.
        dead_letter_reasons: one for each dead letter.
        review_reasons: one for each review tweet.
        texts: of the tweets that were scored.
        probabilities: float32, shape (texts,).
        words: how many words were scored, without those of remembered texts.
        unknown_words: how many of them are not in the vocabulary.
    """

    records: int
    consumed: int
    messages: list[Message]
    alerts: list[Alert]
    not_relevant: int
    other_language: int
    notices: list[str]
    dead_letter_reasons: list[str]
    review_reasons: list[str]
    texts: list[str]
    probabilities: Floats
    words: int
    unknown_words: int


class _Post(msgspec.Struct, gc=False):
    """A tweet and where it came from: a record, or one of several posts in it."""

    record: Record
    tweet: Tweet
    index: int | None = None
    item: Item | None = None


class _Failed(msgspec.Struct):
    """A record, or a post in it, that becomes a dead letter."""

    record: Record
    reason: str
    error: Exception
    index: int | None = None
    item: Item | None = None


class _Decoded(msgspec.Struct):
    """A batch, or its first records if its texts are long, by the type of its decoded posts."""

    records: int = 0
    consumed: int = 0
    posts: list[_Post] = msgspec.field(default_factory=list)
    other_language: int = 0
    notices: list[str] = msgspec.field(default_factory=list)
    failed: list[_Failed] = msgspec.field(default_factory=list)


class _Scored(msgspec.Struct):
    """Posts that were scored together."""

    messages: list[Message]
    alerts: list[Alert]
    review_reasons: list[str]
    texts: list[str]
    probabilities: Floats
    words: int
    unknown_words: int


_DECODER = Decoder()
_ANY_LANGUAGE = Languages([ANY])


class Triage:
    """Scores batches of records with one bundle.

    Args:
        scorer: the bundle's.
        model: names the bundle in alerts.
        threshold: a probability.
        clock: returns the time for the alerts' `scored_at`.
        step: measures a step, given its name.
        retried: called for each attempt with a smaller batch after memory ran out.
        decoder: decodes the records' values.
        languages: those that the bundle can score.
        review: chooses tweets for review; None: none are.
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
        decoder: Decoder = _DECODER,
        languages: Languages = _ANY_LANGUAGE,
        review: Review | None = None,
    ) -> None:
        self._scorer = scorer
        self._model = model
        self.threshold = threshold
        self._alerts_topic = alerts_topic
        self._dead_letters_topic = dead_letters_topic
        self._clock = clock
        self._step = step
        self._retried = retried
        self._decode = decoder
        self._languages = languages
        self._review = review
        self._most = sys.maxsize  # how many tweets fit into memory at once
        self._known: dict[str, float] = {}  # text → probability
        self._alert_headers = _headers(SCHEMA_VERSION, model)
        self._review_headers = _headers(REVIEW_SCHEMA_VERSION, model)

    def __call__(self, records: Sequence[Record]) -> Outcome:
        """Triage a batch: as many of its records as `Outcome.records`, and at least one.

        Raises:
            UnavailableError: if memory does not suffice for a single record.
            Exception: the error of a step that fails for every text, so that no record is its
                cause.
        """
        try:
            with self._step("decode"):
                decoded = self._decoded(records)
        except MemoryError as error:
            if len(records) == 1:
                raise UnavailableError(str(error)) from error
            self._retried()
            return self(records[: len(records) // 2])
        scored = self._scored(decoded.posts, decoded.failed)
        alerts = [alert for part in scored for alert in part.alerts]
        messages = [message for part in scored for message in part.messages]
        probabilities = [part.probabilities for part in scored] or [np.empty(0, np.float32)]
        texts = [text for part in scored for text in part.texts]
        return Outcome(
            decoded.records,
            decoded.consumed,
            messages + [self._dead_letter(failed) for failed in decoded.failed],
            alerts,
            len(texts) - len(alerts),
            decoded.other_language,
            decoded.notices,
            [failed.reason for failed in decoded.failed],
            [reason for part in scored for reason in part.review_reasons],
            texts,
            np.concatenate(probabilities),
            sum(part.words for part in scored),
            sum(part.unknown_words for part in scored),
        )

    def _decoded(self, records: Sequence[Record]) -> _Decoded:
        """Decode records until their texts fill a batch."""
        decoded = _Decoded()
        posts: list[_Post] = []
        size = 0
        decode, accept = self._decode, self._languages.accept
        for record in records:
            try:
                if record.error is not None:
                    raise RecordError("unreadable", record.error)
                found = decode(record.value)
            except MemoryError:
                raise
            except Exception as error:  # noqa: BLE001  # a fault of a decoder is one record's
                reason = error.reason if isinstance(error, RecordError) else "unprocessable"
                decoded.failed.append(_Failed(record, reason, error))
            else:
                if type(found) is Tweet:
                    size += max(_CHARACTERS_OF_A_TWEET, len(found.text))
                    if size > MAX_CHARACTERS and posts:
                        break
                    posts.append(_Post(record, found))
                elif isinstance(found, Notice):
                    decoded.notices.append(found.kind)
                else:
                    items = cast(Sequence[Item], found)
                    size += _size(items)
                    if size > MAX_CHARACTERS and posts:
                        break
                    self._take(record, items, posts, decoded)
                    decoded.consumed += len(items) - 1
            decoded.consumed += 1
            decoded.records += 1
        # All at once, because the tables of the language identifier fill the processor's cache.
        decoded.posts = [post for post in posts if accept(post.tweet)]
        decoded.other_language = len(posts) - len(decoded.posts)
        return decoded

    def _take(
        self, record: Record, items: Sequence[Item], posts: list[_Post], decoded: _Decoded
    ) -> None:
        """Take the posts of a record that holds several."""
        for index, item in enumerate(items):
            found = item.found
            if isinstance(found, Notice):
                decoded.notices.append(found.kind)
            elif isinstance(found, RecordError):
                decoded.failed.append(_Failed(record, found.reason, found, index, item))
            else:
                posts.append(_Post(record, found, index, item))

    def _scored(self, posts: list[_Post], failed: list[_Failed]) -> list[_Scored]:
        """Score posts, together if possible; those that cannot be scored go to `failed`."""
        if not posts:
            return []
        if len(posts) <= self._most:
            try:
                return [self._score(posts)]
            except MemoryError as error:
                if len(posts) == 1:
                    raise UnavailableError(str(error)) from error
                self._most = len(posts) // 2
                self._retried()
            except Exception as error:  # noqa: BLE001  # a step may raise anything over some text
                if len(posts) == 1:
                    failed.append(self._unprocessable(posts[0], error))
                    return []
        middle = (len(posts) + 1) // 2
        return self._scored(posts[:middle], failed) + self._scored(posts[middle:], failed)

    def _unprocessable(self, post: _Post, error: Exception) -> _Failed:
        try:
            self._scorer.score(["any text"])
        except Exception as fault:
            # The record is not the cause. The earlier error may quote the tweet, and a traceback
            # would show it.
            raise fault from None
        return _Failed(post.record, "unprocessable", error, post.index, post.item)

    def _score(self, posts: list[_Post]) -> _Scored:
        texts = [post.tweet.text for post in posts]
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
            messages, alerts = self._decide(posts, probabilities)
        unknown = self._scorer.unknown_words(encoded)
        review_reasons: list[str] = []
        if self._review is not None:
            with self._step("review"):
                shares = (unknown / np.maximum(encoded.lengths, 1)).astype(np.float32)
                if len(new) < len(texts):
                    share_of = dict(zip(new, shares.tolist(), strict=True))
                    found = map(share_of.get, texts, repeat(-1.0))
                    shares = np.fromiter(found, np.float32, len(texts))
                chosen = self._choose(self._review, posts, texts, probabilities, shares)
            messages += [message for message, _ in chosen]
            review_reasons = [reason for _, reason in chosen]
        return _Scored(
            messages,
            alerts,
            review_reasons,
            texts,
            probabilities,
            len(encoded.ids),
            int(unknown.sum()),
        )

    def _forget(self, new: Sequence[str]) -> None:
        if len(self._known) > _REMEMBERED:
            self._known.clear()
            return
        for text in new:
            if len(text) > _LONGEST_REMEMBERED:
                del self._known[text]

    def _decide(
        self, posts: list[_Post], probabilities: Floats
    ) -> tuple[list[Message], list[Alert]]:
        now = self._clock()
        messages, alerts = [], []
        for post, probability in zip(posts, probabilities.tolist(), strict=True):
            if probability < self.threshold:
                continue
            alert = self._alert(post, probability, now)
            messages.append(
                Message(
                    self._alerts_topic,
                    post.record.key,
                    encode_alert(alert),
                    _trace_of(post.record),
                    self._alert_headers,
                )
            )
            alerts.append(alert)
        return messages, alerts

    def _choose(
        self,
        review: Review,
        posts: list[_Post],
        texts: list[str],
        probabilities: Floats,
        unknown: Floats,
    ) -> list[tuple[Message, Reason]]:
        """Choose tweets for review; arguments are as of `Review.choose`."""
        now = self._clock()
        chosen = []
        for choice in review.choose(texts, probabilities, self.threshold, unknown):
            post = posts[choice.index]
            alert = self._alert(post, float(probabilities[choice.index]), now)
            tweet = make_review_tweet(alert, choice.reason, choice.inclusion_probability)
            message = Message(
                review.topic,
                post.record.key,
                encode_review_tweet(tweet),
                _trace_of(post.record),
                self._review_headers,
            )
            chosen.append((message, choice.reason))
        return chosen

    def _alert(self, post: _Post, probability: float, now: datetime) -> Alert:
        record = post.record
        source = Source(
            record.topic,
            record.partition,
            record.offset,
            source_timestamp(record.timestamp),
            post.index,
        )
        return make_alert(post.tweet, probability, self.threshold, self._model, source, now)

    def _dead_letter(self, failed: _Failed) -> Message:
        record, index = failed.record, failed.index
        if failed.item is not None and (value := failed.item.encode()) is not None:
            record = msgspec.structs.replace(record, value=value)
        return make_dead_letter(
            self._dead_letters_topic, record, failed.reason, failed.error, index
        )


def _size(items: Sequence[Item]) -> int:
    """Count the characters of several posts."""
    texts = (item.found.text for item in items if isinstance(item.found, Tweet))
    return sum(max(_CHARACTERS_OF_A_TWEET, len(text)) for text in texts)


def _headers(schema_version: int, model: Model) -> Headers:
    return [
        ("content-type", CONTENT_TYPE.encode()),
        ("triage-schema-version", str(schema_version).encode()),
        ("triage-model-version", str(model.version).encode()),
    ]


def _trace_of(record: Record) -> Headers:
    """Return the headers by which a tracing system finds what became of the record."""
    return [header for header in publishable(record.headers) if _is_trace(header[0])]


def _is_trace(header: str) -> bool:
    name = header.lower()
    return name in _TRACE_HEADERS or name.startswith("x-b3-")

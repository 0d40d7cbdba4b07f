"""Stream: records published at a steady rate, through every fault, with a known fate each."""

import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from kafka import KafkaProducer
from kafka.errors import KafkaError

from tests.faults.malformed import malformed
from tests.faults.versions import Versions
from worker.kafka.records import Headers
from worker.messages.languages import Languages
from worker.messages.tweet import Tweet
from worker.settings import Settings

_MALFORMED_SHARE = 0.05
_SKIPPED_SHARE = 0.05
_SEVERAL_SHARE = 0.05
_SKIPPED = (
    ("notice", {"delete": {"status": {"id": 1, "user_id": 2}}}),
    ("notice", {"limit": {"track": 5}}),
    ("other language", {"id": 1, "text": "Incendio en la sierra", "lang": "es"}),
    ("other language", {"id": 1, "text": "El río se desborda otra vez esta noche"}),
)
_TICK = 0.05
"""Seconds between two handfuls of records."""
TRACE = "traceparent"


class Sent(msgspec.Struct, frozen=True):
    """A record that was given to the producer.

    Attributes:
        text: of the tweet, or None if the record is malformed.
        reason: of the dead letter that it must become, or None.
        identifier: the tweet's, or None where the format has no place for one.
        skipped: `other language` or `notice`, if it must be neither alert nor dead letter.
        posts: what must become of each, if the record holds several; the rest is of the record.
    """

    key: bytes
    value: bytes | None
    headers: Headers
    text: str | None = None
    reason: str | None = None
    identifier: str | None = None
    skipped: str | None = None
    posts: tuple["Sent", ...] = ()


class Stream(threading.Thread):
    """Publishes from its start until `finish`; its keys are numbers, so that all are distinct.

    Kafka's own promise is part of the account: a record whose send was confirmed lies where it was
    said to lie, once. One whose send was not confirmed may or may not lie in the topic.

    Args:
        versions: whose texts are published, again and again.
        rate: records per second.

    Attributes:
        sent: by key.
        confirmed: partition and offset by key.
        refused: sends that failed, counted by the error's class.
    """

    def __init__(
        self, settings: Settings, versions: Versions, choose: random.Random, rate: float
    ) -> None:
        super().__init__(name="stream")
        self.sent: dict[bytes, Sent] = {}
        self.confirmed: dict[bytes, tuple[int, int]] = {}
        self.refused: dict[str, int] = {}
        self._settings = settings
        english = Languages(["en"])
        self._texts = [text for text in versions.relevant if english.accept(Tweet(text))]
        self._choose = choose
        self._rate = rate
        self._finish = threading.Event()
        self._publishing = threading.Lock()
        self._producer: Any = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Publish nothing meanwhile; each send has been confirmed or refused.

        Raises:
            KafkaError: if that takes too long.
        """
        with self._publishing:
            self._producer.flush(timeout=60)
            self._producer.close()
            try:
                yield
            finally:
                self._producer = self._new_producer()

    def more(self, count: int) -> list[Sent]:
        """Make records that somebody else publishes."""
        with self._publishing:
            made = [self._record(len(self.sent) + n) for n in range(count)]
            self.sent |= {record.key: record for record in made}
        return made

    def finish(self) -> None:
        """Stop publishing, and wait until each send is confirmed or refused."""
        self._finish.set()
        self.join()

    def run(self) -> None:
        """Publish until told to stop. `start` calls it in a thread."""
        self._producer = self._new_producer()
        last, owed = time.monotonic(), 0.0
        while not self._finish.wait(_TICK):
            now = time.monotonic()
            # No more than a second's worth, however long the producer was blocked.
            owed = min(owed + (now - last) * self._rate, self._rate)
            last = now
            with self._publishing:
                while owed >= 1:
                    self._publish(self._record(len(self.sent)))
                    owed -= 1
        self._producer.close(timeout=180)

    def _publish(self, record: Sent) -> None:
        """Give a record to the producer, which is replaced if it fails."""
        self.sent[record.key] = record
        try:
            future = self._producer.send(
                self._settings.input_topic,
                key=record.key,
                value=record.value,
                headers=record.headers,
            )
        except KafkaError as error:
            self._refuse(error)
            self._producer.close(timeout=0)
            self._producer = self._new_producer()
            return
        future.add_callback(self._confirm, record.key)
        future.add_errback(self._refuse)

    def _confirm(self, key: bytes, place: Any) -> None:
        self.confirmed[key] = (place.partition, place.offset)

    def _refuse(self, error: BaseException) -> None:
        name = type(error).__name__
        self.refused[name] = self.refused.get(name, 0) + 1

    def _new_producer(self) -> Any:
        return KafkaProducer(
            bootstrap_servers=self._settings.kafka_bootstrap_servers.split(","),
            acks="all",
            enable_idempotence=True,
            linger_ms=20,
            metadata_max_age_ms=2_000,  # so that new partitions are written to soon
            reconnect_backoff_max_ms=1_000,
            request_timeout_ms=10_000,
        )

    def _record(self, number: int) -> Sent:
        choose = self._choose
        key = str(number).encode()
        headers: Headers = [("n", key)]
        if choose.random() < 0.2:
            headers.append((TRACE, f"00-{choose.getrandbits(128):032x}-{number:016x}-01".encode()))
        if choose.random() < _MALFORMED_SHARE:
            reason, value = malformed(choose)
            return Sent(key, value, headers, reason=reason)
        if choose.random() < _SKIPPED_SHARE:
            skipped, record = choose.choice(_SKIPPED)
            return Sent(key, json.dumps(record).encode(), headers, skipped=skipped)
        if choose.random() < _SEVERAL_SHARE:
            return self._several(key, headers)
        text = choose.choice(self._texts)
        identifier = str(10**18 + number)
        formats: tuple[Any, ...] = (
            text,
            {"id_str": identifier, "full_text": text, "user": {"screen_name": f"user{number}"}},
            {"data": {"id": identifier, "text": text, "author_id": str(number)}},
            {"id": identifier, "text": text},
        )
        made = choose.choice(formats[text.startswith("{") :])
        if made is text:
            return Sent(key, text.encode(), headers, text)
        return Sent(key, json.dumps(made).encode(), headers, text, identifier=identifier)

    def _several(self, key: bytes, headers: Headers) -> Sent:
        """Return a JSON array of posts, some of them skipped or broken."""
        posts: list[Sent] = []
        records: list[Any] = []
        for number in range(self._choose.randint(1, 4)):
            text = self._choose.choice(self._texts)
            choices: tuple[tuple[Any, Sent], ...] = (
                ({"id": number, "text": text}, Sent(key, None, headers, text, None, str(number))),
                ({"n": 1}, Sent(key, b'{"n":1}', headers, reason="no_text")),
                (_SKIPPED[0][1], Sent(key, None, headers, skipped="notice")),
            )
            record, post = self._choose.choice(choices)
            records.append(record)
            posts.append(post)
        return Sent(key, json.dumps(records).encode(), headers, posts=tuple(posts))

"""Labels: what people say of tweets, from the labels topic, and one label from a shell."""

import csv
import getpass
import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import Literal

import msgspec

from shared.errors import RecordError, UsageError
from worker.kafka.follow import read, read_decoded
from worker.kafka.publisher import Publisher
from worker.kafka.records import Message
from worker.messages.alert import Alert, decode_alert
from worker.messages.label import (
    Label,
    Verdict,
    count_votes,
    decode_label,
    encode_label,
    label_key,
    make_label,
)
from worker.messages.review import decode_review_tweet
from worker.settings import Settings

Format = Literal["csv", "jsonl"]

_LONGEST_NAME = 200


class LabelledTweet(msgspec.Struct, frozen=True):
    """A tweet and its label, as `triage-worker labels` writes it.

    Attributes:
        label: the label that counts.
        votes_relevant, votes_not_relevant: how many people say so.
        by, at: the person who gave the label that counts, and when.
        queue: why the tweet was shown to that person.
        probability, threshold: of the model that scored the tweet.
        model: its name, version and digest.
    """

    text: str
    label: Verdict
    votes_relevant: int
    votes_not_relevant: int
    by: str
    at: datetime
    queue: str
    lang: str | None
    probability: float
    threshold: float
    model: str
    version: int
    digest: str
    alert_id: str


class Summary(msgspec.Struct, frozen=True):
    """What became of the labels of a topic.

    Attributes:
        relevant, not_relevant: tweets by the label that counts.
        conflicts: tweets of which people say both.
        undecided: tweets that people skipped, or of which they took back what they had said.
    """

    relevant: int
    not_relevant: int
    conflicts: int
    undecided: int

    def __str__(self) -> str:
        return (
            f"{self.relevant + self.not_relevant} labelled tweets: {self.relevant} relevant, "
            f"{self.not_relevant} not relevant; people disagree about {self.conflicts}; "
            f"{self.undecided} skipped or withdrawn"
        )


def read_labels(settings: Settings, warn: Callable[[str], object]) -> list[Label]:
    """Read the labels that the topic has now; those of one tweet are in their order.

    Args:
        warn: is called with a line about each record that is not a label.

    Raises:
        DependencyError: from Kafka, or if there is no such topic.
    """
    return list(read_decoded(settings, settings.labels_topic, decode_label, warn))


def settle_labels(labels: Iterable[Label]) -> tuple[list[LabelledTweet], Summary]:
    """Find the label of each tweet that has one, in the order in which tweets were first labelled.

    Args:
        labels: those of one tweet in their order.
    """
    by_tweet: dict[str, list[Label]] = defaultdict(list)
    for label in labels:
        by_tweet[label.alert_id].append(label)
    tweets, undecided = [], 0
    for said in by_tweet.values():
        votes = count_votes((label.by, label.label) for label in said)
        if votes.label is None:
            undecided += 1
            continue
        last = next(label for label in reversed(said) if label.by == votes.by)
        tweets.append(
            LabelledTweet(
                last.text,
                last.label,
                votes.relevant,
                votes.not_relevant,
                last.by,
                last.at,
                last.queue,
                last.lang,
                last.probability,
                last.threshold,
                last.model.name,
                last.model.version,
                last.model.digest,
                last.alert_id,
            )
        )
    relevant = sum(tweet.label == "relevant" for tweet in tweets)
    conflicts = sum(bool(tweet.votes_relevant and tweet.votes_not_relevant) for tweet in tweets)
    return tweets, Summary(relevant, len(tweets) - relevant, conflicts, undecided)


def write_labels(tweets: Sequence[LabelledTweet], form: Format) -> Iterator[str]:
    """Yield the lines of CSV (RFC 4180) or JSON Lines, each with its end."""
    if form == "jsonl":
        encode = msgspec.json.Encoder().encode
        yield from (encode(tweet).decode() + "\n" for tweet in tweets)
        return
    line = io.StringIO(newline="")
    writer = csv.writer(line)
    writer.writerow(LabelledTweet.__struct_fields__)
    for tweet in tweets:
        yield line.getvalue()
        line.seek(0)
        line.truncate()
        writer.writerow(msgspec.to_builtins(tweet).values())
    yield line.getvalue()


def give_label(settings: Settings, alert_id: str, verdict: Verdict, by: str | None) -> Label:
    """Publish a label of an alert, and wait until Kafka has it.

    Args:
        by: the person; None: the user of this process.

    Raises:
        UsageError: if there is no such alert, or the name is empty or too long.
        DependencyError: from Kafka.
    """
    by = getpass.getuser() if by is None else by.strip()
    if not 1 <= len(by) <= _LONGEST_NAME:
        raise UsageError(f"--by {by[:40]!r}: expected a name of 1 to {_LONGEST_NAME} characters")
    alert, queue = _find(settings, alert_id)
    label = make_label(alert, verdict, by, datetime.now(UTC), queue)
    with closing(Publisher(settings)) as publisher:
        publisher.publish(
            [Message(settings.labels_topic, label_key(label.source), encode_label(label), [])]
        )
    return label


def _find(settings: Settings, alert_id: str) -> tuple[Alert, str]:
    """Find an alert, and the queue that it is for."""
    wanted = alert_id.encode()
    topics = [settings.alerts_topic]
    if settings.review_topic is not None:
        topics.append(settings.review_topic)
    for topic in topics:
        for record in read(settings, topic):
            if record.value is None or wanted not in record.value:
                continue
            try:
                if topic == settings.alerts_topic:
                    alert, queue = decode_alert(record.value), "alert"
                else:
                    tweet = decode_review_tweet(record.value)
                    alert, queue = tweet, tweet.reason
            except RecordError:  # who reads all of the topic reports it
                continue
            if alert.alert_id == alert_id:
                return alert, queue
    raise UsageError(
        f"{' and '.join(topics)}: no alert_id is {alert_id!r}; expected one as "
        "`triage-worker alerts` prints it"
    )

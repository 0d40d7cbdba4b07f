"""From the stream to a better model: review tweets, labels at the desk, adaptation, promotion."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from shared.registry.folder import FolderRegistry
from tests.conftest import ROOT, Trained
from tests.desk.alerts import new_alert, new_label
from tests.desk.processes import desk_settings
from tests.kafka.processes import environment_of, read_all, running, wait_for
from tests.trainer.adapt.crisis import make_tweets
from worker.demo.local_kafka import LocalKafka
from worker.desk.estimate import estimates
from worker.desk.feed import Feed
from worker.desk.labelling import Labelling
from worker.desk.metrics import Metrics
from worker.desk.store import Store
from worker.kafka.publisher import Publisher
from worker.kafka.records import Message
from worker.kafka.topics import create_topics
from worker.labels import read_labels
from worker.live import live_figures, read_review_tweets
from worker.messages.alert import decode_alert
from worker.messages.label import Label, Verdict, decode_label, encode_label, label_key
from worker.messages.review import REASONS, decode_review_tweet
from worker.settings import Settings

SCRIPT = ROOT / "deploy" / "kubernetes" / "adapt" / "adapt.sh"


def label_what_the_desk_asks_for(
    settings: Settings, folder: Path, truth: Mapping[str, Verdict]
) -> int:
    """Label the whole queue of a desk, and return how many of its tweets were no alerts."""
    store = Store(folder / "desk.sqlite3")
    labelling = Labelling(settings, store)
    feed = Feed(settings, store, Metrics(), lambda _: None)
    feed.start()
    missed = sampled = hits = 0
    try:
        wait_for(lambda: feed.not_ready() is None)
        while (row := store.lease("mei", 0)) is not None:
            label = labelling.label(row["alert_id"], truth[row["text"]], "mei")
            assert label is not None
            assert label.queue in (*REASONS, "alert")
            missed += row["probability"] < row["threshold"]
            if label.queue in REASONS:
                sampled += 1
                hits += label.label == "relevant" and row["probability"] >= row["threshold"]
        (estimate,) = estimates(store.reader(), "model")
        assert estimate.recall is not None
        assert (estimate.recall.value > 0) == (hits > 0)
        assert estimate.recall.low <= estimate.recall.value <= estimate.recall.high
        assert 0 <= estimate.recall.low < estimate.recall.high <= 1
        assert estimate.labelled == sampled
        # What `triage-worker estimates` writes.
        reviews, labels = read_review_tweets(settings, print), read_labels(settings, print)
        (figures,) = live_figures(reviews, labels)
        assert figures.labelled == sampled
        assert figures.recall is not None
        assert figures.recall.value == pytest.approx(estimate.recall.value)
    finally:
        feed.stop()
        labelling.close()
        store.close()
    return missed


def adapt(environment: dict[str, str], new_labels: int) -> subprocess.CompletedProcess[str]:
    """Run the job's script with the programs of this environment."""
    return in_shell(f"sh {SCRIPT}", environment | {"NEW_LABELS": str(new_labels)})


def in_shell(line: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a shell line that finds the programs of this environment."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["sh", "-c", line], env=environment | {"PATH": path}, capture_output=True, text=True
    )


@pytest.mark.slow
def test_labels_of_review_tweets_become_the_model_in_production(
    kafka: LocalKafka, trained: Trained, tmp_path: Path
) -> None:
    settings = msgspec.structs.replace(
        desk_settings(kafka, "review-whole", tmp_path),
        review_topic="review-whole.review",
        review_per_minute=1000,
    )
    create_topics(settings, {"review-whole.review": 3})
    registry = FolderRegistry(Path(shutil.copytree(trained.registry.folder, tmp_path / "registry")))
    given = environment_of(settings) | {"TRIAGE_REGISTRY": registry.url}
    texts, labels = make_tweets(160, 1)
    truth: dict[str, Verdict] = {
        text: "relevant" if label else "not-relevant"
        for text, label in zip(texts, labels, strict=True)
    }
    with closing(Publisher(settings)) as publisher:
        publisher.publish(Message(settings.input_topic, None, t.encode(), []) for t in texts)
    with running(given, tmp_path / "log") as worker:
        wait_for(lambda: worker.consumed() == len(texts))
        counted = worker.metrics()
        assert worker.stop() == 0
    tweets = [decode_review_tweet(value) for value, _ in read_all(settings, "review-whole.review")]
    alerts = {
        decode_alert(value).alert_id for value, _ in read_all(settings, settings.alerts_topic)
    }
    assert len(tweets) == counted["triage_review_tweets_total"] > 0
    for tweet in tweets:
        assert (tweet.alert_id in alerts) == (tweet.probability >= tweet.threshold)
        assert tweet.tweet.text in truth

    missed = label_what_the_desk_asks_for(settings, tmp_path, truth)
    assert missed == sum(tweet.probability < tweet.threshold for tweet in tweets)
    said = [decode_label(value) for value, _ in read_all(settings, settings.labels_topic)]
    others = [
        new_label(new_alert(text), verdict, "jon")
        for text, verdict in truth.items()
        if text not in {label.text for label in said}
    ]
    with closing(Publisher(settings)) as publisher:  # as another desk does

        def message(label: Label) -> Message:
            return Message(settings.labels_topic, label_key(label.source), encode_label(label), [])

        publisher.publish(map(message, others))

    pipe = "triage-worker estimates | triage-trainer list --live - --json -"
    lists = in_shell(pipe, given)
    assert lists.returncode == 0, lists.stderr
    (listed,) = json.loads(lists.stdout)["versions"]
    assert listed["live"]["labelled"] == len(tweets)
    assert listed["live"]["precision"] is not None

    waits = adapt(given, len(texts) + 1)
    assert (waits.returncode, waits.stdout.split(":")[0]) == (0, "nothing to do"), waits.stderr
    learns = adapt(given, 50)
    assert learns.returncode == 0, learns.stdout + learns.stderr
    production = registry.resolve("production")
    assert production.number == 2
    assert production.manifest.adaptation is not None
    assert production.manifest.adaptation.labels == len(truth)
    again = adapt(given, 50)
    assert again.stdout.startswith("nothing to do: "), again.stdout + again.stderr
    assert registry.resolve("production").number == 2

"""`triage-worker labels` and `label`: which label counts, what is written, who can read it."""

import csv
import io
import json
from pathlib import Path

import pytest

from shared.bundle.manifest import Labelling
from shared.errors import UsageError
from tests.desk.alerts import NEWS, new_alert, new_label
from tests.desk.processes import desk_settings, publish
from trainer.data.read import read_dataset
from worker.demo.local_kafka import LocalKafka
from worker.kafka.publisher import Publisher
from worker.kafka.records import Message
from worker.labels import Summary, give_label, read_labels, settle_labels, write_labels
from worker.messages.label import Label, Verdict, count_votes

SAID: list[tuple[list[tuple[str, Verdict]], Verdict | None, int, int]] = [
    ([("ana", "relevant")], "relevant", 1, 0),
    ([("ana", "relevant"), ("ana", "not-relevant")], "not-relevant", 0, 1),
    ([("ana", "relevant"), ("mei", "not-relevant")], "not-relevant", 1, 1),
    ([("mei", "not-relevant"), ("ana", "relevant"), ("mei", "not-relevant")], "not-relevant", 1, 1),
    ([("ana", "relevant"), ("ana", "withdrawn")], None, 0, 0),
    ([("ana", "relevant"), ("mei", "relevant"), ("mei", "withdrawn")], "relevant", 1, 0),
    ([("ana", "relevant"), ("mei", "skip")], "relevant", 1, 0),
    ([("ana", "skip")], None, 0, 0),
]


@pytest.mark.parametrize(("said", "label", "relevant", "not_relevant"), SAID)
def test_the_last_label_counts_and_votes_are_counted(
    said: list[tuple[str, Verdict]], label: Verdict | None, relevant: int, not_relevant: int
) -> None:
    votes = count_votes(said)
    assert (votes.label, votes.relevant, votes.not_relevant) == (label, relevant, not_relevant)
    alert = new_alert(NEWS[0])
    tweets, summary = settle_labels(new_label(alert, verdict, by) for by, verdict in said)
    assert [tweet.label for tweet in tweets] == ([label] if label else [])
    assert summary == Summary(
        int(label == "relevant"),
        int(label == "not-relevant"),
        int(relevant > 0 and not_relevant > 0),
        int(label is None),
    )


def hostile_labels() -> list[Label]:
    """Labels of texts that a careless writer or reader would break."""
    texts = ['two\nlines, "quoted"', "=1+1", "a\u2028b, ; \t c", " \u202eflood ", *NEWS]
    texts += [f"fire number {n} in the village" for n in range(40)]
    return [
        new_label(new_alert(text), "relevant" if n % 2 else "not-relevant")
        for n, text in enumerate(texts)
    ]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_the_trainer_reads_what_is_written(form: str, tmp_path: Path) -> None:
    tweets, _ = settle_labels(hostile_labels())
    path = tmp_path / "labels"
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines(write_labels(tweets, form))  # type: ignore[arg-type]
    dataset = read_dataset(path, Labelling("text", "label", ("relevant",), (), ()))
    assert list(dataset.texts) == [tweet.text for tweet in tweets]
    assert dataset.labels.tolist() == [int(tweet.label == "relevant") for tweet in tweets]


def test_both_forms_have_the_same_columns() -> None:
    tweets, _ = settle_labels([new_label(new_alert(NEWS[0], lang=None), "relevant")])
    (record,) = [json.loads(line) for line in write_labels(tweets, "jsonl")]
    (row,) = csv.DictReader(io.StringIO("".join(write_labels(tweets, "csv"))))
    assert list(record) == list(row)
    assert {name: "" if value is None else str(value) for name, value in record.items()} == row


def test_a_label_from_a_shell_is_read_back(
    kafka: LocalKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = desk_settings(kafka, "shell-labels", tmp_path)
    alerts = [new_alert(text) for text in NEWS]
    publish(settings, alerts)
    chosen = alerts[3]
    monkeypatch.setenv("LOGNAME", "mei")
    give_label(settings, chosen.alert_id, "relevant", None)
    label = give_label(settings, chosen.alert_id, "not-relevant", " ana ")
    assert (label.text, label.source, label.queue) == (NEWS[3], chosen.source, "alert")
    publisher = Publisher(settings)
    publisher.publish([Message(settings.labels_topic, b"k", b"{}", [])])
    publisher.close()
    warnings: list[str] = []
    tweets, summary = settle_labels(read_labels(settings, warnings.append))
    assert len(warnings) == 1
    assert "is not a label" in warnings[0]
    assert summary == Summary(0, 1, 1, 0)
    assert (tweets[0].by, tweets[0].text) == ("ana", NEWS[3])
    for alert_id, by, expected in (("tweets.raw-9-9-9", None, "no alert_id"), ("x", "  ", "--by")):
        with pytest.raises(UsageError, match=expected):
            give_label(settings, alert_id, "relevant", by)

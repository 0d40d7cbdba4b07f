"""Dead letters go back through a real Kafka: those asked for, once each, and not for ever."""

import json
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from tests.conftest import Trained
from tests.kafka.processes import (
    environment_of,
    read_all,
    running,
    settings_of,
    wait_for,
)
from tests.worker.test_triage import record_of
from worker.demo.local_kafka import LocalKafka
from worker.kafka.publisher import Publisher
from worker.kafka.records import Message, Record
from worker.kafka.sink import truncate
from worker.messages.alert import decode_alert
from worker.messages.dead_letter import make_dead_letter
from worker.replay import MOST_REPLAYS, DeadLetterFilter, Summary, replay
from worker.settings import Settings


def letter(settings: Settings, number: int, reason: str, **changes: object) -> Message:
    """Return a dead letter of a record of its own."""
    record = record_of(
        json.dumps({"id": number, "text": f"forest fire {number}"}).encode(),
        number,
        str(number).encode(),
        [("trace", b"%d" % number)],
        settings.input_topic,
    )
    record = msgspec.structs.replace(record, **changes)
    return make_dead_letter(settings.dead_letters_topic, record, reason, ValueError("bad"))


def publish(settings: Settings, messages: list[Message]) -> None:
    with closing(Publisher(settings)) as publisher:
        publisher.publish(messages)


def run(settings: Settings, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "worker.cli", "replay-dead-letters", *options],
        env=environment_of(settings),
        stdout=subprocess.PIPE,
        text=True,
    )


def ids(settings: Settings) -> list[int]:
    """Return the ids of the records in the input topic."""
    return sorted(json.loads(value)["id"] for value, _ in read_all(settings, settings.input_topic))


def put_back_until_killed(settings: Settings) -> int:
    """Kill a run when its first records are there, and return how many it has put back."""
    with run(settings, "--send") as program:
        wait_for(lambda: bool(ids(settings)), every=0.01)
        program.kill()
    return len(ids(settings))


@pytest.mark.slow
def test_those_asked_for_go_and_what_cannot_go_stays(kafka: LocalKafka) -> None:
    settings = settings_of(kafka, "selected")
    unreadable = Record(settings.input_topic, 0, 0, error="CorruptRecordError")
    dead = settings.dead_letters_topic
    publish(
        settings,
        [letter(settings, n, "wrong_type") for n in range(20)]
        + [letter(settings, n, "invalid_json") for n in range(20, 50)]
        + [
            letter(settings, 50, "wrong_type", topic="other"),
            letter(settings, 51, "wrong_type", headers=[("triage-replays", b"3")]),
            truncate(letter(settings, 52, "wrong_type"), keep_value=False),
            make_dead_letter(dead, unreadable, "unreadable", ValueError("bad")),
            Message(dead, b"k", b"by hand", []),
        ],
    )
    time.sleep(0.01)
    middle = datetime.now(UTC)
    time.sleep(0.01)
    publish(settings, [letter(settings, n, "wrong_type") for n in range(100, 110)])
    stay = {
        "not written by a worker": 1,
        "from another topic": 1,
        "failed 3 times after a replay": 1,
        "without the whole record": 2,
    }

    before = read_all(settings, dead)
    dry = replay(settings, DeadLetterFilter(), send=False)
    assert dry == Summary({"wrong_type": 30, "invalid_json": 30}, stay)  # type: ignore[arg-type]
    assert ids(settings) == []
    assert read_all(settings, dead) == before

    early = DeadLetterFilter(frozenset(["wrong_type"]), until=middle, count=12)
    first = replay(settings, early, send=True)
    assert first.replayed == {"wrong_type": 12}
    assert first.left["over --count"] == 8
    there = ids(settings)
    assert len(there) == 12
    assert set(there) < set(range(20))
    for value, headers in read_all(settings, settings.input_topic):
        number = b"%d" % json.loads(value)["id"]
        assert headers == {"trace": number, "triage-replays": b"1"}

    rest = replay(settings, msgspec.structs.replace(early, count=None), send=True)
    assert rest.replayed == {"wrong_type": 8}
    assert rest.left["put back earlier"] == 12
    assert ids(settings) == list(range(20))

    late = DeadLetterFilter(frozenset(["wrong_type", "no_text"]), since=middle)
    assert replay(settings, late, send=True).replayed == {"wrong_type": 10}
    with run(settings, "--send") as program:
        answer = program.communicate()[0]
    assert program.returncode == 0
    lines = answer.splitlines()
    assert lines[:4] == [
        f"30 dead letters were put back into {settings.input_topic}",
        "        30 invalid_json",
        "35 stay",
        "        30 put back earlier",
    ]
    assert set(lines[4:]) == {f"{number:>10} {why}" for why, number in stay.items()}
    assert ids(settings) == [*range(50), *range(100, 110)]
    assert replay(settings, DeadLetterFilter(), send=True).replayed == {}
    assert len(ids(settings)) == 60


def test_a_mended_cause_gives_each_alert_once_and_an_endless_one_ends(
    kafka: LocalKafka, trained: Trained, tmp_path: Path
) -> None:
    settings = settings_of(kafka, "mended")
    # What a worker before this one failed by, and this one does not.
    publish(settings, [letter(settings, n, "unprocessable") for n in range(40)])
    publish(
        settings,
        [Message(settings.input_topic, b"k", b'{"text": 7}', [("own", b"h")]) for _ in range(5)],
    )
    environment = environment_of(settings, trained) | {"TRIAGE_THRESHOLD": "0.000001"}
    with running(environment, tmp_path / "log") as worker:
        consumed = [5]
        wait_for(lambda: worker.consumed() == 5)
        for round_ in range(MOST_REPLAYS + 1):
            account = replay(settings, DeadLetterFilter(), send=True)
            again = 5 if round_ < MOST_REPLAYS else 0
            mended = {"unprocessable": 40} if round_ == 0 else {}
            assert account.replayed == mended | ({"wrong_type": 5} if again else {})
            assert account.left[f"failed {MOST_REPLAYS} times after a replay"] == 5 - again
            consumed[0] += account.replayed.total()
            wait_for(lambda: worker.consumed() >= consumed[0])
        figures = worker.metrics()
        assert worker.stop() == 0
    assert figures["triage_tweets_consumed_total"] == 5 + 40 + 5 * MOST_REPLAYS
    assert figures["triage_alerts_total"] == 40
    alerts = [decode_alert(value) for value, _ in read_all(settings, settings.alerts_topic)]
    assert sorted(int(alert.tweet.id or "") for alert in alerts) == list(range(40))
    dead = [headers for _, headers in read_all(settings, settings.dead_letters_topic)]
    replays = [headers.get("triage-replays") for headers in dead if "own" in headers]
    assert sorted(map(str, replays)) == sorted(
        str(count) for count in (None, b"1", b"2", b"3") for _ in range(5)
    )


@pytest.mark.slow
def test_a_run_that_is_killed_and_runs_side_by_side_double_nothing(kafka: LocalKafka) -> None:
    many = 20_000
    for attempt in range(3):
        settings = settings_of(kafka, f"interrupted-{attempt}")
        publish(settings, [letter(settings, n, "wrong_type") for n in range(many)])
        there = put_back_until_killed(settings)
        if there < many:  # or it was done before it was killed
            break
    assert 0 < there < many
    # Two at once: one of them takes the other's place, which says so.
    with run(settings, "--send") as one, run(settings, "--send") as two:
        codes = {one.wait(120), two.wait(120)}
    assert codes <= {0, 6}
    replay(settings, DeadLetterFilter(), send=True)
    assert ids(settings) == list(range(many))

"""`triage-worker alerts`: its lines, whose words are anybody's, its filters and its incidents."""

import io
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from rich.console import Console

from shared.errors import UsageError
from tests.desk.alerts import NEWS, NOON, new_alert
from tests.kafka.processes import settings_of
from worker.alerts import AlertFilter, IncidentLine, alert_line, is_step, print_alerts
from worker.demo.local_kafka import LocalKafka
from worker.kafka.publisher import Publisher
from worker.kafka.records import Message
from worker.messages.alert import Model, Source, decode_alert, encode_alert, make_alert
from worker.messages.decode import Decoder
from worker.messages.tweet import Tweet


def shown(record: dict[str, object]) -> str:
    tweet = Decoder()(json.dumps(record).encode())
    assert isinstance(tweet, Tweet)
    now = datetime(2026, 11, 28, 7, 29, 23, tzinfo=UTC)
    source = Source("tweets.raw", 0, 5, None)
    alert = make_alert(tweet, 0.9, 0.5, Model("LSTM", 1, "d"), source, now)
    console = Console(
        file=io.StringIO(), soft_wrap=True, highlight=False, emoji=False, force_terminal=True
    )
    with console.capture() as capture:
        console.print(alert_line(alert))
    return capture.get()


def test_no_word_of_a_record_is_markup_or_tells_the_terminal_anything() -> None:
    hostile = "a\x1b]0;title\x07\x1b[2J\n23:59:59 [bold]0.99[/] :fire: \u202eb"
    line = shown({"text": hostile, "user": {"screen_name": hostile}, "id": 1})
    assert line.count("\n") == 1
    assert line.count("[bold]0.99[/] :fire:  b") == 2
    for escape in ("\x1b]", "\x1b[2J", "\x07", "\u202e"):
        assert escape not in line
    assert line.count("]0;title") == 2


def test_a_line_has_the_date_and_the_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert shown({"text": "fire"}).startswith("\x1b[2m2026-11-28 16:29:23 JST")
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_long_text_is_whole_when_piped() -> None:
    text = "flood " * 4000
    out = io.StringIO()
    Console(file=out, soft_wrap=True).print(alert_line(new_alert(text)))
    assert text in out.getvalue()


@pytest.mark.parametrize(
    ("values", "asked_for"),
    [
        ({}, True),
        ({"min_probability": 0.75}, True),
        ({"min_probability": 0.76}, False),
        ({"match": "flood|EARTHQUAKE"}, True),
        ({"match": "^earthquake"}, False),
        ({"langs": frozenset({"de", "EN"})}, True),
        ({"langs": frozenset({"de"})}, False),
        ({"authors": frozenset({"@Ana"})}, True),
        ({"authors": frozenset({"an"})}, False),
        ({"since": NOON}, True),
        ({"since": NOON + timedelta(seconds=1)}, False),
        ({"until": NOON}, False),
        ({"until": NOON + timedelta(seconds=1)}, True),
        ({"match": "quake", "authors": frozenset({"ben"})}, False),
    ],
)
def test_selection(values: dict[str, Any], asked_for: bool) -> None:
    assert AlertFilter(**values).compile()(new_alert(NEWS[0], lang="en")) == asked_for


def test_an_alert_without_language_or_author_is_none_of_those_asked_for() -> None:
    alert = new_alert(NEWS[0], author=None)
    assert not AlertFilter(langs=frozenset({"en"})).compile()(alert)
    assert not AlertFilter(authors=frozenset({"ana"})).compile()(alert)


def test_what_is_no_regular_expression_is_named() -> None:
    with pytest.raises(UsageError, match=r"--match '\(' is not a regular expression"):
        AlertFilter(match="(").compile()


def test_incidents_are_printed_as_they_grow(kafka: LocalKafka) -> None:
    settings = settings_of(kafka, "alerts-incidents", partitions=1)
    alerts = [new_alert(NEWS[0], at=NOON + timedelta(seconds=n)) for n in range(12)]
    alerts.insert(4, new_alert(NEWS[1]))
    publisher = Publisher(settings)
    publisher.publish(Message(settings.alerts_topic, None, encode_alert(a), []) for a in alerts)
    publisher.close()

    def printed(**options: Any) -> list[str]:
        lines: list[str] = []
        given: dict[str, Any] = {
            "selection": AlertFilter(until=datetime.now(UTC)),
            "from_beginning": True,
            "as_json": True,
            "incidents": True,
            "max_messages": None,
        }
        print_alerts(settings, lines.append, lines.append, **given | options)
        return lines

    found = [msgspec.json.decode(line, type=IncidentLine) for line in printed()]
    assert [(line.incident, line.alerts) for line in found] == [
        (alerts[0].alert_id, 1),
        (alerts[0].alert_id, 2),
        (alerts[4].alert_id, 1),
        (alerts[0].alert_id, 5),
        (alerts[0].alert_id, 10),
    ]
    assert found[-1].first_seen == NOON
    assert found[-1].last_seen == decode_alert(bytes(found[-1].alert)).scored_at
    assert "    10 ×" in printed(as_json=False)[-1]
    assert len(printed(incidents=False)) == 13
    assert len(printed(incidents=False, max_messages=3)) == 3
    only = AlertFilter(match="flood", until=datetime.now(UTC))
    assert len(printed(incidents=False, selection=only)) == 1


def test_steps() -> None:
    assert [n for n in range(1, 1001) if is_step(n)] == [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]

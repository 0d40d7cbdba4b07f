"""The line of an alert, whose words are anybody's."""

import io
import json
from datetime import UTC, datetime

from rich.console import Console

from worker.alerts import alert_line
from worker.messages.alert import Model, Source, make_alert
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

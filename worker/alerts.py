"""A subscriber to the alerts topic that prints alerts for people, or as JSON for programs."""

from collections.abc import Callable

from rich.markup import escape

from shared.errors import RecordError
from worker.kafka.follow import follow
from worker.messages.alert import Alert, decode_alert
from worker.settings import Settings


def print_alerts(
    settings: Settings,
    show: Callable[[str], object],
    warn: Callable[[str], object],
    *,
    from_beginning: bool,
    as_json: bool,
    max_messages: int | None,
) -> None:
    """Prints alerts as they come, until `max_messages` were printed or it is interrupted.

    Args:
        show: prints a line of an alert, in rich's markup unless `as_json`.
        warn: prints a line about a record that is no alert.

    Raises:
        DependencyError: from Kafka.
    """
    printed = 0
    for record in follow(settings, settings.alerts_topic, from_beginning=from_beginning):
        try:
            alert = decode_alert(record.value or b"")
        except RecordError as error:
            warn(f"{record.topic}-{record.partition}-{record.offset}: {error}")
            continue
        show((record.value or b"").decode() if as_json else alert_line(alert))
        printed += 1
        if printed == max_messages:
            return


def alert_line(alert: Alert) -> str:
    """An alert in a line of rich's markup: time, probability, author, text, and its source."""
    author = f"@{_plain(alert.tweet.author)} " if alert.tweet.author else ""
    return (
        f"[dim]{alert.scored_at:%H:%M:%S}[/] [bold red]{alert.probability:.2f}[/] "
        f"[cyan]{author}[/]{_plain(alert.tweet.text)} [dim]{_plain(alert.alert_id)}[/]"
    )


def _plain(text: str) -> str:
    """Text that is neither markup nor leaves its line, nor tells the terminal anything."""
    return escape("".join(c if c.isprintable() else " " for c in text))

"""A subscriber to the alerts topic that prints alerts for people, or as JSON for programs."""

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

import msgspec
from rich.markup import escape

from shared.errors import RecordError, UsageError
from worker.kafka.follow import follow, read
from worker.kafka.records import Record
from worker.messages.alert import Alert, decode_alert
from worker.settings import Settings


class AlertFilter(msgspec.Struct, frozen=True):
    """A filter of alerts; the default is all.

    Attributes:
        min_probability: from 0 to 1.
        match: a regular expression to find in the text, ignoring case.
        langs: languages, such as `en`. If given, alerts without a language are excluded.
        authors: names, with or without @, ignoring case.
        since: only alerts that were scored then or later.
        until: only alerts that were scored before.
    """

    min_probability: float = 0
    match: str | None = None
    langs: frozenset[str] = frozenset()
    authors: frozenset[str] = frozenset()
    since: datetime | None = None
    until: datetime | None = None

    def compile(self) -> Callable[[Alert], bool]:
        """Return a function that tells whether an alert passes the filter.

        Raises:
            UsageError: if `match` is not a regular expression.
        """
        try:
            pattern = re.compile(self.match or "", re.IGNORECASE)
        except re.error as error:
            raise UsageError(
                f"--match {self.match!r} is not a regular expression: {error}"
            ) from error
        langs = {lang.lower() for lang in self.langs}
        authors = {author.removeprefix("@").lower() for author in self.authors}

        def is_asked_for(alert: Alert) -> bool:
            return (
                alert.probability >= self.min_probability
                and (self.since is None or alert.scored_at >= self.since)
                and (self.until is None or alert.scored_at < self.until)
                and (not langs or (alert.tweet.lang or "").lower() in langs)
                and (not authors or (alert.tweet.author or "").lower() in authors)
                and pattern.search(alert.tweet.text) is not None
            )

        return is_asked_for


def print_alerts(
    settings: Settings,
    show: Callable[[str], object],
    warn: Callable[[str], object],
    *,
    selection: AlertFilter,
    from_beginning: bool,
    as_json: bool,
    incidents: bool,
    max_messages: int | None,
) -> None:
    """Print alerts as they arrive, until `max_messages` are printed or it is interrupted.

    Earlier alerts are read too if `selection` starts in the past. If `selection` ends in the past,
    the function returns at the end of the topic.

    Args:
        show: prints a line of an alert, in rich's markup unless `as_json`.
        warn: prints a line about a record that is not an alert, or about the connection.
        incidents: print a line when an incident begins, and when it has grown to 2, 5, 10, 20, 50
            alerts and so on.

    Raises:
        DependencyError: from Kafka.
        UsageError: if `selection` has no regular expression, or the extra `desk` is missing.
    """
    now = datetime.now(UTC)
    is_asked_for = selection.compile()
    describe = _by_incident(settings, as_json) if incidents else _by_alert(as_json)
    from_beginning = from_beginning or (selection.since is not None and selection.since < now)
    records: Iterable[Record]
    if selection.until is not None and selection.until <= now:
        records = read(settings, settings.alerts_topic)
    else:
        records = follow(
            settings, settings.alerts_topic, from_beginning=from_beginning, notify=warn
        )
    printed = 0
    for alert, value in _alerts(records, warn):
        if not is_asked_for(alert):
            continue
        line = describe(alert, value)
        if line is None:
            continue
        show(line)
        printed += 1
        if printed == max_messages:
            return


def _alerts(
    records: Iterable[Record], warn: Callable[[str], object]
) -> Iterator[tuple[Alert, bytes]]:
    for record in records:
        value = record.value or b""
        try:
            yield decode_alert(value), value
        except RecordError as error:
            warn(f"{record.topic}-{record.partition}-{record.offset}: {error}")


def _by_alert(as_json: bool) -> Callable[[Alert, bytes], str | None]:
    return lambda alert, value: value.decode() if as_json else alert_line(alert)


class _Told(msgspec.Struct):
    """What was printed of an incident."""

    first_seen: datetime
    alerts: int = 0


class IncidentLine(msgspec.Struct, frozen=True):
    """An incident as `--incidents --json` prints it.

    Attributes:
        incident: the id of its first alert.
        alert: the alert that brought it to this number.
    """

    incident: str
    alerts: int
    first_seen: datetime
    last_seen: datetime
    alert: msgspec.Raw


def _by_incident(settings: Settings, as_json: bool) -> Callable[[Alert, bytes], str | None]:
    """Return a function that gives a line when an incident begins or grows, otherwise None."""
    try:
        from worker.desk.incidents import Incidents
    except ModuleNotFoundError as error:
        raise UsageError(
            f"--incidents needs the package {error.name}: install tweet-triage[desk]"
        ) from error
    incidents = Incidents(settings.incident_window_hours * 3600, settings.incident_likeness)
    told: dict[int, tuple[str, _Told]] = {}

    def describe(alert: Alert, value: bytes) -> str | None:
        placement = incidents.add(alert.tweet.text, alert.scored_at.timestamp())
        name, seen = told.setdefault(placement.incident, (alert.alert_id, _Told(alert.scored_at)))
        for merged in placement.merged:
            if gone := told.pop(merged, None):
                seen.alerts += gone[1].alerts
        seen.alerts += 1
        if len(told) > 2 * incidents.most:
            for number in sorted(told)[: len(told) - incidents.most]:
                if number not in incidents:
                    del told[number]
        if not is_step(seen.alerts):
            return None
        if as_json:
            line = IncidentLine(
                name, seen.alerts, seen.first_seen, alert.scored_at, msgspec.Raw(value)
            )
            return msgspec.json.encode(line).decode()
        return f"[bold]{seen.alerts:>6} ×[/] {alert_line(alert)}"

    return describe


def is_step(count: int) -> bool:
    """Return whether a count is 1, 2 or 5 times a power of ten."""
    while count % 10 == 0:
        count //= 10
    return count in (1, 2, 5)


def alert_line(alert: Alert) -> str:
    """Return an alert as a line of rich's markup: time, probability, author, text and its id.

    The time is that of this machine's time zone.
    """
    author = f"@{_plain(alert.tweet.author)} " if alert.tweet.author else ""
    return (
        f"[dim]{alert.scored_at.astimezone():%Y-%m-%d %H:%M:%S %Z}[/] "
        f"[bold red]{alert.probability:.2f}[/] "
        f"[cyan]{author}[/]{_plain(alert.tweet.text)} [dim]{_plain(alert.alert_id)}[/]"
    )


def _plain(text: str) -> str:
    """Return text without markup, line breaks and control characters."""
    return escape("".join(c if c.isprintable() else " " for c in text))

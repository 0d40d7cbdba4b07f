"""View: format stored data for pages, and parse the filters of an address."""

import html
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec
from markupsafe import Markup, escape

from worker.desk.index import Filter
from worker.desk.queries import TimeLine

_LINK = re.compile(r"https?://[^\s<>\"'\u0000-\u001f\u202a-\u202e\u2066-\u2069]{4,500}")
_INVISIBLE = re.compile(
    "[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]"  # and what reverses text
)
_TWEET = re.compile(r"\d{1,25}\Z")
_FIELDS = ("q", "since", "until", "probability", "lang", "place", "size", "model", "sort")

Parameters = Mapping[str, str]


def read_filter(parameters: Parameters) -> tuple[Filter, list[str]]:
    """Read a filter from an address, with a message for each part that is invalid and ignored."""
    problems: list[str] = []

    def read(name: str, convert: Any, expected: str) -> Any:
        text = parameters.get(name, "").strip()
        if not text:
            return None
        try:
            return convert(text)
        except (ValueError, OverflowError):
            problems.append(f"“{text[:40]}” is left out: expected {expected}.")
            return None

    moment = "a date and time in UTC, such as 2026-11-30T10:00"
    return (
        Filter(
            search=parameters.get("q", "").strip()[:200] or None,
            since=read("since", _milliseconds, moment),
            until=read("until", _milliseconds, moment),
            probability=read("probability", _share, "a probability from 0 to 1"),
            lang=read("lang", str, ""),
            place=read("place", str, ""),
            size=read("size", _size, "a whole number from 1"),
            model=read("model", str, ""),
            sort="largest" if parameters.get("sort") == "largest" else "newest",
        ),
        problems,
    )


def is_filtered(wanted: Filter) -> bool:
    """Return whether a filter is not empty."""
    return msgspec.structs.replace(wanted, sort="newest") != Filter()


def query_of(parameters: Parameters) -> str:
    """Return the filter as a query string, without the page."""
    return urlencode({name: parameters[name] for name in _FIELDS if parameters.get(name)})


def local_path(path: str) -> str | None:
    """Return a path on this desk, or None if the text may lead elsewhere."""
    if not path.startswith("/") or path.startswith(("//", "/\\")) or len(path) > 2000:
        return None
    if any(not c.isprintable() or c == "\\" for c in path):
        return None
    parts = urlsplit(path)
    return path if not parts.scheme and not parts.netloc else None


def _milliseconds(text: str) -> int:
    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError(text)
    return value


def _size(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) < 1 << 40:
        raise ValueError(text)
    return int(text)


class Drawing(msgspec.Struct, frozen=True):
    """A time line as bars of a picture that is 100 high.

    Attributes:
        bars: left edge, width, top, height, and what a bar stands for.
        marks: moments below, as left edge and text.
        summary: the same in a sentence, for screen readers.
    """

    width: int
    bars: list[tuple[float, float, float, float, str]]
    marks: list[tuple[float, str]]
    summary: str
    highest: int
    unit: str
    start: int
    end: int


def draw(line: TimeLine) -> Drawing:
    """Draw a time line."""
    width, count = 960, len(line.bars)
    step = width / count
    highest = max(line.bars)
    span = line.minutes * 60_000
    unit = _duration(line.minutes)
    end = line.start + span * count
    bars = []
    for place, alerts in enumerate(line.bars):
        if alerts:
            height = max(2.0, 100 * alerts / highest)
            bars.append(
                (
                    round(place * step, 2),
                    round(max(1.0, min(step - 1, 40)), 2),
                    round(100 - height, 2),
                    round(height, 2),
                    f"{moment(line.start + place * span)} UTC: {number(alerts)}",
                )
            )
    total = sum(line.bars)
    peak = line.start + line.bars.index(highest) * span
    summary = f"{number(total)} alerts from {moment(line.start)} to {moment(end)} UTC"
    if total:
        summary += f", at most {number(highest)} in {unit}, at {moment(peak)}"
    marks = [(0.0, moment(line.start)), (float(width), moment(end))]
    return Drawing(width, bars, marks, summary, highest, unit, line.start, end)


def _duration(minutes: int) -> str:
    if minutes == 1:
        return "a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    hours = minutes // 60
    if hours == 1:
        return "an hour"
    return f"{hours} hours" if hours < 48 else f"{hours // 24} days"


def moment(milliseconds: int | None) -> str:
    """Return a moment in UTC, with its date unless that is today."""
    if milliseconds is None:
        return "–"
    when = _when(milliseconds)
    if when is None:
        return "–"
    if when.date() == _today():
        return f"{when:%H:%M}"
    year = "" if when.year == _today().year else f" {when.year}"
    return f"{when.day} {when:%b}{year} {when:%H:%M}"


def span(first: int, last: int) -> str:
    """Return a time span, with the date once if it is the same."""
    begin, end = moment(first), moment(last)
    if begin == end:
        return end
    if begin.rsplit(" ", 1)[0] == end.rsplit(" ", 1)[0] and " " in end:
        return f"{begin} – {end.rsplit(' ', 1)[1]}"
    return f"{begin} – {end}"


def iso(milliseconds: int | None) -> str:
    """Return a moment in UTC by ISO 8601, or ""."""
    when = None if milliseconds is None else _when(milliseconds)
    return "" if when is None else when.isoformat().replace("+00:00", "Z")


def _when(milliseconds: int) -> datetime | None:
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (OverflowError, OSError, ValueError):
        return None


def _today() -> date:
    return datetime.now(UTC).date()


def number(value: int) -> str:
    """Return a whole number with thin spaces between thousands."""
    return f"{value:,}".replace(",", "\u202f")


def probability(value: float) -> str:
    """Return a probability with two digits; only exactly 1 becomes 1.00."""
    return "1.00" if value == 1 else f"{min(value, 0.99):.2f}"


def percent(value: float) -> str:
    """Return a share as a percentage."""
    return f"{100 * value:.0f}\u202f%"


def plain(text: str | None) -> str:
    """Return a tweet's text as people read it: entities resolved, control characters left out."""
    return _INVISIBLE.sub("", html.unescape(text or ""))


def headline(text: str | None) -> str:
    """Return a tweet's text without its links, unless it has nothing else."""
    text = plain(text)
    return " ".join(_LINK.sub("", text).split()) or text


def linked(text: str | None) -> Markup:
    """Return a tweet's text with its links as links; everything else is escaped."""
    text = plain(text)
    parts, end = [], 0
    for match in _LINK.finditer(text):
        url = match[0].rstrip(".,;:!?)…")
        parts += [
            escape(text[end : match.start()]),
            Markup('<a href="{}" rel="noopener noreferrer nofollow" target="_blank">{}</a>').format(
                url, url
            ),
        ]
        end = match.start() + len(url)
    return Markup("").join([*parts, escape(text[end:])])


def link_of(alert: Any) -> str | None:
    """Return the tweet's own address, if it is an HTTP URL."""
    link: str | None = alert["link"]
    if link is not None:
        with_host = urlsplit(link) if link.startswith(("https://", "http://")) else None
        return link if with_host is not None and with_host.netloc else None
    if alert["tweet_id"] and _TWEET.match(alert["tweet_id"]) and len(alert["tweet_id"]) > 9:
        return f"https://x.com/i/status/{alert['tweet_id']}"
    return None


def page_of_alert(alert_id: str) -> str:
    """Return a permanent address of the incident that an alert is part of."""
    return f"/incidents/{quote(alert_id, safe='')}"


def words_of_alert(alert_id: str) -> str:
    """Return the address of the words that drove an alert's score."""
    return f"/words/{quote(alert_id, safe='')}"


def reason(queue: str) -> str:
    """Return why a tweet is shown for labelling, for people."""
    return {
        "random": "random sample",
        "near-threshold": "the model is unsure",
        "new-words": "words new to the model",
    }.get(queue, plain(queue))


FILTERS: dict[str, Any] = {
    "reason": reason,
    "moment": moment,
    "iso": iso,
    "number": number,
    "probability": probability,
    "percent": percent,
    "plain": plain,
    "headline": headline,
    "linked": linked,
    "link_of": link_of,
    "quote": quote,
}

"""Queries: what the desk's pages show, read from the store.

Each takes a connection of `Store.reader`. Lists are paged by the last row's key, so old pages are
as fast as the first.
"""

import math
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from worker.desk.index import Filter, IncidentIndex

Row = sqlite3.Row

PAGE = 50
_MOST_MATCHES = 2000
"""Alerts that a search reads for one page. Further matches are on the next page."""
_MOST_BARS = 96
_Z = 1.959964
"""Of a 95 % interval."""


class Page(msgspec.Struct, frozen=True):
    """Incidents of a page.

    Attributes:
        after: the key of the next page, or None.
        partial: whether a search for the largest incidents read only the newest matches.
    """

    incidents: list[Row]
    after: str | None
    partial: bool = False


def find_incidents(
    db: sqlite3.Connection, index: IncidentIndex, wanted: Filter, after: str | None = None
) -> Page:
    """Return a page of incidents."""
    places = _places(db, wanted.place)
    if words := search_expression(wanted.search):
        return _search(db, index, wanted, words, places, after)
    key = _numbers(after, 2)
    found = index.find(wanted, places, PAGE + 1, (key[0], key[1]) if key else None)
    rows = _in_order(db, [number for _, number in found[:PAGE]])
    last = found[PAGE - 1] if len(found) > PAGE else None
    return Page(rows, last and f"{last[0]}-{last[1]}")


def _in_order(db: sqlite3.Connection, numbers: Sequence[int]) -> list[Row]:
    """Return the incidents of these numbers that still exist, in this order."""
    rows = {row["id"]: row for row in incidents_by_number(db, numbers)}
    return [rows[number] for number in numbers if number in rows]


def _places(db: sqlite3.Connection, part: str | None) -> list[str]:
    """Return the names of places that have this part."""
    if part is None:
        return []
    for sign in "\\%_":
        part = part.replace(sign, "\\" + sign)
    rows = db.execute(
        "SELECT value FROM choice WHERE field = 'place' AND value LIKE ? ESCAPE '\\'",
        (f"%{part}%",),
    )
    return [value for (value,) in rows]


def _search(
    db: sqlite3.Connection,
    index: IncidentIndex,
    wanted: Filter,
    words: str,
    places: Sequence[str],
    after: str | None,
) -> Page:
    """Return the incidents of the newest alerts that match, or the largest among these."""
    fits = index.fitting(wanted, places)
    before = key[0] if (key := _numbers(after, 1)) else 1 << 62
    matches = db.execute(
        "SELECT alert.id, incident FROM (SELECT rowid AS id FROM alert_words "
        "WHERE alert_words MATCH ? AND rowid < ? ORDER BY rowid DESC LIMIT ?) AS matching "
        "CROSS JOIN alert USING (id) ORDER BY matching.id DESC",
        (words, before, _MOST_MATCHES),
    )
    found: list[int] = []
    seen: set[int] = set()
    looked = 0
    for before, incident in matches:  # noqa: B007  # where the next page begins
        looked += 1
        if incident in seen:
            continue
        seen.add(incident)
        if incident >= len(fits) or not fits[incident]:
            continue
        # An incident is listed on the page of its newest match.
        if key and _newer_match(db, words, incident, key[0]):
            continue
        found.append(incident)
        if wanted.sort == "newest" and len(found) == PAGE:
            break
    full = looked == _MOST_MATCHES
    if wanted.sort == "largest":
        found.sort(key=lambda number: (-index.size(number), -number))
        return Page(_in_order(db, found[:PAGE]), None, full or len(found) > PAGE)
    more = len(found) == PAGE or full
    return Page(_in_order(db, found), str(before) if more else None)


def _newer_match(db: sqlite3.Connection, words: str, incident: int, before: int) -> bool:
    """Return whether one of an incident's newest 200 alerts matches and is on an earlier page."""
    found = db.execute(
        "SELECT 1 FROM (SELECT id FROM alert WHERE incident = ? AND id >= ? LIMIT 200) AS newer "
        "CROSS JOIN alert_words ON alert_words.rowid = newer.id WHERE alert_words MATCH ? LIMIT 1",
        (incident, before, words),
    )
    return found.fetchone() is not None


def search_expression(search: str | None) -> str:
    """Return a full-text query that matches all of these words.

    Nothing in the text is an operator, except `*` at the end of a word.
    """
    parts = []
    for word in (search or "").replace("\0", " ").split()[:16]:
        mark = "*" if word.endswith("*") else ""
        word = word.strip("*").replace('"', '""')
        if any(letter.isalnum() for letter in word):
            parts.append(f'"{word}"{mark}')
    return " ".join(parts)


def _numbers(text: str | None, count: int) -> list[int] | None:
    parts = (text or "").split("-")
    if len(parts) != count or not all(part.isdecimal() and len(part) < 19 for part in parts):
        return None
    return [int(part) for part in parts]


def find_incident(db: sqlite3.Connection, alert_id: str) -> Row | None:
    """Return the incident that an alert is part of."""
    row: Row | None = db.execute(
        "SELECT incident.* FROM alert JOIN incident ON incident.id = alert.incident "
        "WHERE alert_id = ?",
        (alert_id,),
    ).fetchone()
    return row


def incidents_by_number(db: sqlite3.Connection, numbers: Sequence[int]) -> list[Row]:
    """Return the incidents of these numbers that still exist."""
    marks = ", ".join("?" * len(numbers))
    return db.execute(f"SELECT * FROM incident WHERE id IN ({marks})", numbers).fetchall()  # noqa: S608


def find_tweet(db: sqlite3.Connection, alert_id: str) -> Row | None:
    """Return the queue of an alert or a review tweet, and its `value` as it was published."""
    row: Row | None = db.execute(
        "SELECT queue, value FROM review WHERE alert_id = :alert_id UNION ALL "
        "SELECT 'alert', value FROM alert JOIN message USING (id) WHERE alert_id = :alert_id",
        {"alert_id": alert_id},
    ).fetchone()
    return row


def find_alerts(
    db: sqlite3.Connection, incident: int, after: str | None = None
) -> tuple[list[Row], str | None]:
    """Return a page of an incident's alerts, the newest first, and the key of the next page."""
    where, names = "incident = :incident", {"incident": incident}
    if key := _numbers(after, 2):
        where += " AND (time, id) < (:time, :id)"
        names |= {"time": key[0], "id": key[1]}
    rows = db.execute(
        f"SELECT * FROM alert WHERE {where} ORDER BY time DESC, id DESC LIMIT {PAGE + 1}",  # noqa: S608
        names,
    ).fetchall()
    last = rows[PAGE - 1] if len(rows) > PAGE else None
    return rows[:PAGE], last and f"{last['time']}-{last['id']}"


def published_alert(db: sqlite3.Connection, number: int) -> bytes:
    """Return an alert as it was published."""
    value: bytes = db.execute("SELECT value FROM message WHERE id = ?", (number,)).fetchone()[0]
    return value


class TimeLine(msgspec.Struct, frozen=True):
    """Alerts by time.

    Attributes:
        start: milliseconds, of the first bar.
        minutes: that a bar stands for.
        bars: alerts of each.
    """

    start: int
    minutes: int
    bars: list[int]


def time_line(
    db: sqlite3.Connection, since: int, until: int, incident: int | None = None
) -> TimeLine:
    """Count alerts between two moments, in milliseconds, in at most 96 bars of whole minutes."""
    first, last = since // 60_000, max(since, until) // 60_000
    minutes = next(
        (n for n in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440) if _fits(first, last, n)),
        math.ceil((last - first + 1) / (_MOST_BARS - 1)),
    )
    first -= first % minutes
    if incident is None:
        query = (
            "SELECT (minute - :first) / :minutes, sum(alerts) FROM minute "
            "WHERE minute BETWEEN :first AND :last GROUP BY 1"
        )
    else:
        query = (
            "SELECT (time / 60000 - :first) / :minutes, count(*) FROM alert "
            "WHERE incident = :incident AND time BETWEEN :first * 60000 AND :last * 60000 + 59999 "
            "GROUP BY 1"
        )
    bars = [0] * ((last - first) // minutes + 1)
    names = {"first": first, "last": last, "minutes": minutes, "incident": incident}
    for place, alerts in db.execute(query, names):
        bars[place] = alerts
    return TimeLine(first * 60_000, minutes, bars)


def _fits(first: int, last: int, minutes: int) -> bool:
    return (last - first // minutes * minutes) // minutes + 1 <= _MOST_BARS


def alert_count(db: sqlite3.Connection) -> int:
    """Return how many alerts there are."""
    count: int = db.execute("SELECT value FROM count WHERE name = 'alerts'").fetchone()[0]
    return count


def choices(db: sqlite3.Connection, field: Literal["lang", "model"]) -> list[str]:
    """Return languages or models to choose from, 200 at most."""
    rows = db.execute("SELECT value FROM choice WHERE field = ? LIMIT 200", (field,))
    return [value for (value,) in rows]


def export(
    db: sqlite3.Connection, index: IncidentIndex, wanted: Filter, most: int
) -> Iterator[Row]:
    """Yield the alerts of the filtered incidents, with their published values."""
    after = None
    left = most
    while left > 0:
        page = find_incidents(db, index, wanted, after)
        for incident in page.incidents:
            rows = db.execute(
                "SELECT alert.*, :key AS incident_key, value FROM alert JOIN message USING (id) "
                "WHERE incident = :incident ORDER BY time DESC, alert.id DESC LIMIT :left",
                {"key": incident["key"], "incident": incident["id"], "left": left},
            )
            for row in rows:
                left -= 1
                yield row
            if left <= 0:
                return
        after = page.after
        if after is None:
            return


def newest_labels(db: sqlite3.Connection, limit: int = 100) -> list[Row]:
    """Return the newest labels, each with its alert's own text if the store has it."""
    return db.execute(
        "SELECT label.*, alert.probability FROM label LEFT JOIN alert USING (alert_id) "
        "ORDER BY label.id DESC LIMIT ?",
        (limit,),
    ).fetchall()


def last_label(db: sqlite3.Connection, by: str) -> Row | None:
    """Return a person's last label that they have not undone."""
    row: Row | None = db.execute(
        "SELECT * FROM label AS said WHERE by = ? AND label != 'withdrawn' AND NOT EXISTS "
        "(SELECT 1 FROM label AS later WHERE later.alert_id = said.alert_id AND later.by = said.by "
        "AND later.id > said.id) ORDER BY id DESC LIMIT 1",
        (by,),
    ).fetchone()
    return row


class Precision(msgspec.Struct, frozen=True):
    """The share of labelled alerts that are relevant.

    Attributes:
        name: model and version, or day.
        low, high: Wilson's 95 % interval.
    """

    name: str
    relevant: int
    labelled: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share itself."""
        return self.relevant / self.labelled


def precision(db: sqlite3.Connection, by: Literal["model", "day"]) -> list[Precision]:
    """Return the precision of labelled alerts by model and version, or by day in UTC."""
    group = "model" if by == "model" else "date(time / 1000, 'unixepoch')"
    rows = db.execute(
        f"SELECT {group}, sum(label = 'relevant'), count(*) FROM alert "  # noqa: S608
        "WHERE label IS NOT NULL GROUP BY 1 ORDER BY max(time) DESC LIMIT 60"
    )
    return [Precision(name, hits, n, *wilson(hits, n)) for name, hits, n in rows]


def wilson(hits: float, count: float) -> tuple[float, float]:
    """Return the 95 % score interval of a share (Wilson, JASA 22, 1927).

    Both may be effective numbers, of weighted labels.
    """
    share = hits / count
    scale = 1 + _Z**2 / count
    centre = (share + _Z**2 / (2 * count)) / scale
    half = _Z * math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2)) / scale
    return max(0.0, centre - half), min(1.0, centre + half)


class Totals(msgspec.Struct, frozen=True):
    """Counts of the whole store.

    Attributes:
        waiting: labels given since the newest model scored its first alert: it has not learnt them.
        model: that newest model.
    """

    alerts: int
    incidents: int
    labelled: int
    waiting: int
    model: str | None


def newest_model(db: sqlite3.Connection) -> str | None:
    """Return the model and version of the newest alert or review tweet."""
    row = db.execute(
        "SELECT model, max(time) FROM (SELECT * FROM (SELECT model, time FROM alert "
        "ORDER BY id DESC LIMIT 1) UNION ALL SELECT * FROM (SELECT model, time FROM review "
        "ORDER BY id DESC LIMIT 1))"
    ).fetchone()
    model: str | None = row["model"]
    return model


def totals(db: sqlite3.Connection, index: IncidentIndex) -> Totals:
    """Return the counts of the whole store."""
    model = newest_model(db)
    (labelled,) = db.execute("SELECT count(*) FROM alert WHERE label IS NOT NULL").fetchone()
    (waiting,) = db.execute(
        "SELECT count(*) FROM (SELECT 1 FROM label WHERE label IN ('relevant', 'not-relevant') "
        "AND model = ? GROUP BY alert_id)",
        (model,),
    ).fetchone()
    return Totals(alert_count(db), index.count, labelled, waiting, model)

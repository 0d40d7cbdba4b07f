"""Store: alerts, review tweets and labels in an SQLite file, rebuilt from the topics if lost.

One connection writes; every reading thread has its own. The topics contain everything except which
notifications were sent, and who is labelling which tweet now.
"""

import contextlib
import fcntl
import logging
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import overload

import msgspec

from shared.errors import UsageError
from worker.desk.incidents import Incidents
from worker.desk.index import Filter, IncidentIndex
from worker.messages.alert import Alert
from worker.messages.label import Label, count_votes
from worker.messages.review import ReviewTweet

log = logging.getLogger("triage")

_VERSION = 3
"""Version of the schema. A file of another version is deleted and rebuilt."""
_SHOWN_TEXT = 400
"""Characters of an incident's text in the list."""
LEASE_SECONDS = 120
"""How long a tweet is reserved for the person who labels it."""

_SCHEMA = """
CREATE TABLE alert(
    id INTEGER PRIMARY KEY, alert_id TEXT NOT NULL UNIQUE, incident INTEGER NOT NULL,
    time INTEGER NOT NULL, created INTEGER, probability REAL NOT NULL, threshold REAL NOT NULL,
    model TEXT NOT NULL, text TEXT NOT NULL, author TEXT, tweet_id TEXT, lang TEXT, place TEXT,
    latitude REAL, longitude REAL, link TEXT,
    representative INTEGER NOT NULL, label TEXT, labelled_by TEXT
);
CREATE TABLE message(id INTEGER PRIMARY KEY, value BLOB NOT NULL);
CREATE INDEX alert_incident ON alert(incident, time, id);
CREATE INDEX alert_labelled ON alert(label, time, model) WHERE label IS NOT NULL;
CREATE VIRTUAL TABLE alert_words USING fts5(
    text, author, content='alert', content_rowid='id', prefix='2 3',
    tokenize='unicode61 remove_diacritics 2'
);
CREATE TABLE incident(
    id INTEGER PRIMARY KEY, key TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    size INTEGER NOT NULL, highest REAL NOT NULL, clearest INTEGER NOT NULL, clarity REAL NOT NULL,
    text TEXT NOT NULL, author TEXT, lang TEXT, place TEXT, model TEXT NOT NULL,
    labels INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX incident_unlabelled ON incident(last DESC) WHERE labels = 0;
CREATE TABLE choice(field TEXT, value TEXT, PRIMARY KEY(field, value)) WITHOUT ROWID;
CREATE TABLE minute(minute INTEGER PRIMARY KEY, alerts INTEGER NOT NULL);
CREATE TABLE label(
    id INTEGER PRIMARY KEY, partition INTEGER NOT NULL, offset INTEGER NOT NULL,
    alert_id TEXT NOT NULL, label TEXT NOT NULL, by TEXT NOT NULL, at INTEGER NOT NULL,
    model TEXT NOT NULL, text TEXT NOT NULL, UNIQUE(partition, offset)
);
CREATE INDEX label_alert ON label(alert_id, by);
CREATE TABLE review(
    id INTEGER PRIMARY KEY, alert_id TEXT NOT NULL UNIQUE, time INTEGER NOT NULL,
    probability REAL NOT NULL, threshold REAL NOT NULL, model TEXT NOT NULL, queue TEXT NOT NULL,
    inclusion REAL NOT NULL, text TEXT NOT NULL, author TEXT, tweet_id TEXT, place TEXT, link TEXT,
    label TEXT, labelled_by TEXT, value BLOB NOT NULL
);
CREATE INDEX review_unlabelled ON review(id) WHERE label IS NULL;
CREATE INDEX review_sample ON review(model, time, probability, threshold, inclusion, label);
CREATE TABLE lease(alert_id TEXT PRIMARY KEY, by TEXT NOT NULL, until INTEGER NOT NULL);
CREATE TABLE position(topic TEXT, partition INTEGER, next INTEGER NOT NULL,
    PRIMARY KEY(topic, partition)) WITHOUT ROWID;
CREATE TABLE notification(
    incident INTEGER PRIMARY KEY, state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    due INTEGER NOT NULL
);
CREATE INDEX notification_due ON notification(due) WHERE state = 'due';
CREATE TABLE count(name TEXT PRIMARY KEY, value INTEGER NOT NULL);
INSERT INTO count VALUES ('alerts', 0), ('begun', 0);
"""

_INDEXED = "id, first, last, size, highest, lang, place, model"
"""Columns of an incident, as the index takes them."""

Positions = Mapping[tuple[str, int], int]
"""The offset of the next record, by topic and partition."""


class Notify(msgspec.Struct, frozen=True):
    """When to notify of an incident.

    Attributes:
        size: the least number of alerts.
        probability: the least highest probability of its alerts; None: any.
    """

    size: int
    probability: float | None


class Store:
    """The desk's data.

    Args:
        path: of the file; its folder is created.
        new_incidents: creates the object that assigns alerts to incidents.
        clock: seconds since 1970.

    Raises:
        UsageError: if another process uses the file, or it cannot be written.
    """

    def __init__(
        self,
        path: Path,
        new_incidents: Callable[[], Incidents] = Incidents,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self._clock = clock
        self._lock = threading.RLock()
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._own = path.with_suffix(".lock").open("w")
            fcntl.flock(self._own, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._own.close()
            raise UsageError(
                f"{path} is in use by another desk; set TRIAGE_CACHE to another folder"
            ) from error
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}") from error
        self._new_incidents = new_incidents
        self._open()

    def _open(self) -> None:
        self._db = sqlite3.connect(
            self.path, timeout=30, isolation_level=None, check_same_thread=False
        )
        try:
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version not in (0, _VERSION):
                raise sqlite3.DatabaseError(f"has schema {version}, not {_VERSION}")
        except sqlite3.DatabaseError as error:
            log.warning("%s is rebuilt from the topics: %s", self.path, error)
            self._db.close()
            for suffix in ("", "-wal", "-shm"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
            self._open()
            return
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")  # lost rows are still in Kafka
        self._db.execute("PRAGMA temp_store = MEMORY")
        self._db.execute("PRAGMA cache_size = -8000")
        if version == 0:
            self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT")
            self._begin()
        self.index = IncidentIndex()
        rows = self._db.execute(f"SELECT {_INDEXED} FROM incident")  # noqa: S608
        while some := rows.fetchmany(10_000):
            self.index.set(some)
        self.incidents = self._new_incidents()
        self._restore()

    def rebuild(self) -> None:
        """Forget everything, so that it is read again from the topics."""
        with self._lock, self._transaction():
            for table in (
                "alert",
                "message",
                "incident",
                "choice",
                "minute",
                "label",
                "review",
                "position",
                "notification",
            ):
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608  # names of ours
            self._db.execute("INSERT INTO alert_words(alert_words) VALUES ('rebuild')")
            self._db.execute("UPDATE count SET value = 0")
            self._begin()
            self.index.clear()
            self.incidents = self._new_incidents()

    def _begin(self) -> None:
        """Store the time of creation: incidents from before it cause no notification."""
        begun = int(self._clock() * 1000)
        self._db.execute("UPDATE count SET value = ? WHERE name = 'begun'", (begun,))

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for reader in self._readers:
                reader.close()
            self._db.close()
            self._own.close()

    def reader(self) -> sqlite3.Connection:
        """Return this thread's connection for reading."""
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is None:
            db = self._local.db = self.reader_of_its_own()
            with self._lock:
                self._readers.append(db)
        return db

    def reader_of_its_own(self) -> sqlite3.Connection:
        """Return a new connection for reading, which threads may pass on."""
        db = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode=ro",
            uri=True,
            timeout=30,
            isolation_level=None,
            check_same_thread=False,
        )
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA query_only = ON")
        return db

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def positions(self) -> dict[tuple[str, int], int]:
        """Return the next offset to read by topic and partition."""
        with self._lock:
            rows = self._db.execute("SELECT topic, partition, next FROM position").fetchall()
        return {(topic, partition): offset for topic, partition, offset in rows}

    def add(
        self,
        alerts: Iterable[tuple[Alert, bytes]] = (),
        labels: Iterable[tuple[int, int, Label]] = (),
        positions: Positions | None = None,
        notify: Notify | None = None,
        reviews: Iterable[tuple[ReviewTweet, bytes]] = (),
    ) -> set[int]:
        """Add alerts and labels in one transaction, except those that the store has already.

        Args:
            alerts: with their values as they were published.
            labels: with the partition and the offset of their records.
            positions: the next offset to read after them.
            reviews: review tweets with their values as they were published.

        Returns:
            The numbers of changed, new and merged incidents.
        """
        with self._lock:
            try:
                with self._transaction():
                    changed: set[int] = set()
                    for alert, value in alerts:
                        changed |= self._add_alert(alert, value)
                    for tweet, value in reviews:
                        changed |= self._add_review(tweet, value)
                    for partition, offset, label in labels:
                        changed |= self._add_label(partition, offset, label)
                    if notify is not None and changed:
                        self._find_news(changed, notify)
                    self._db.executemany(
                        "INSERT INTO position VALUES (?, ?, ?) "
                        "ON CONFLICT DO UPDATE SET next = excluded.next",
                        [(*place, offset) for place, offset in (positions or {}).items()],
                    )
            except BaseException:
                self.incidents = self._new_incidents()  # it may contain what was rolled back
                self._restore()
                raise
            self._update_index(changed)
            return changed

    def _update_index(self, changed: set[int]) -> None:
        numbers = sorted(changed)
        rows = []
        for start in range(0, len(numbers), 500):
            some = numbers[start : start + 500]
            marks = ", ".join("?" * len(some))
            rows += self._db.execute(
                f"SELECT {_INDEXED} FROM incident WHERE id IN ({marks})",  # noqa: S608
                some,
            ).fetchall()
        self.index.set(rows, changed.difference(row[0] for row in rows))

    def _add_alert(self, alert: Alert, value: bytes) -> set[int]:
        db = self._db
        known = db.execute("SELECT 1 FROM alert WHERE alert_id = ?", (alert.alert_id,)).fetchone()
        if known:
            return set()
        moment = int(alert.scored_at.timestamp() * 1000)
        tweet = alert.tweet
        text, author = _storable(tweet.text), _storable(tweet.author)
        model = f"{alert.model.name} {alert.model.version}"
        lang, place = _storable(tweet.lang), _storable(tweet.place)
        placement = self.incidents.add(text, moment / 1000)
        number = placement.incident
        changed = {number}
        for merged in placement.merged:
            self._merge(merged, number)
            changed.add(merged)
        row = (
            alert.alert_id,
            number,
            moment,
            tweet.created_at and int(tweet.created_at.timestamp() * 1000),
            alert.probability,
            alert.threshold,
            model,
            text,
            author,
            _storable(tweet.id),
            lang,
            place,
            tweet.coordinates and tweet.coordinates.latitude,
            tweet.coordinates and tweet.coordinates.longitude,
            _storable(tweet.link),
            placement.representative,
        )
        added = db.execute(
            "INSERT INTO alert(alert_id, incident, time, created, probability, threshold, model, "
            "text, author, tweet_id, lang, place, latitude, longitude, link, "
            "representative) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            row,
        ).lastrowid
        db.execute("INSERT INTO message VALUES (?, ?)", (added, value))
        db.execute(
            "INSERT INTO alert_words(rowid, text, author) VALUES (?, ?, ?)",
            (added, text, author),
        )
        clear = clarity(text, alert.probability)
        shown = text[:_SHOWN_TEXT]
        db.execute(
            "INSERT INTO incident(id, key, first, last, size, highest, clearest, clarity, text, "
            "author, lang, place, model) "
            "VALUES (:number, :key, :time, :time, 1, :probability, :id, :clear, :text, :author, "
            ":lang, :place, :model) ON CONFLICT DO UPDATE SET "
            "first = min(first, :time), last = max(last, :time), size = size + 1, "
            "highest = max(highest, :probability), model = :model, "
            "lang = coalesce(lang, :lang), place = coalesce(place, :place), "
            "clearest = iif(:clear > clarity, :id, clearest), "
            "text = iif(:clear > clarity, :text, text), "
            "author = iif(:clear > clarity, :author, author), clarity = max(clarity, :clear)",
            {
                "number": number,
                "key": alert.alert_id,
                "time": moment,
                "probability": alert.probability,
                "id": added,
                "clear": clear,
                "text": shown,
                "author": author,
                "lang": lang,
                "place": place,
                "model": model,
            },
        )
        db.execute(
            "INSERT INTO minute VALUES (?, 1) ON CONFLICT DO UPDATE SET alerts = alerts + 1",
            (moment // 60_000,),
        )
        db.executemany(
            "INSERT OR IGNORE INTO choice VALUES (?, ?)",
            [
                (field, value)
                for field, value in (("lang", lang), ("place", place), ("model", model))
                if value is not None
            ],
        )
        db.execute("UPDATE count SET value = value + 1 WHERE name = 'alerts'")
        self._settle_label(alert.alert_id)
        return changed

    def _add_review(self, review: ReviewTweet, value: bytes) -> set[int]:
        tweet = review.tweet
        added = self._db.execute(
            "INSERT OR IGNORE INTO review(alert_id, time, probability, threshold, model, queue, "
            "inclusion, text, author, tweet_id, place, link, value) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                review.alert_id,
                int(review.scored_at.timestamp() * 1000),
                review.probability,
                review.threshold,
                f"{review.model.name} {review.model.version}",
                review.reason,
                review.inclusion_probability,
                _storable(tweet.text),
                _storable(tweet.author),
                _storable(tweet.id),
                _storable(tweet.place),
                _storable(tweet.link),
                value,
            ),
        )
        return self._settle_label(review.alert_id) if added.rowcount else set()

    def _merge(self, number: int, into: int) -> None:
        """Merge an incident into another one."""
        db = self._db
        gone = db.execute("SELECT * FROM incident WHERE id = ?", (number,))
        names = [column[0] for column in gone.description]
        row = gone.fetchone()
        if row is None:
            return
        old = dict(zip(names, row, strict=True))
        db.execute("UPDATE alert SET incident = ? WHERE incident = ?", (into, number))
        db.execute("DELETE FROM incident WHERE id = ?", (number,))
        db.execute(
            "UPDATE incident SET key = iif(:first < first, :key, key), first = min(first, :first), "
            "last = max(last, :last), size = size + :size, highest = max(highest, :highest), "
            "labels = labels + :labels, clearest = iif(:clarity > clarity, :clearest, clearest), "
            "text = iif(:clarity > clarity, :text, text), "
            "author = iif(:clarity > clarity, :author, author), "
            "clarity = max(clarity, :clarity) WHERE id = :into",
            old | {"into": into},
        )
        # If one of them was notified of, the merged one is not.
        db.execute(
            "UPDATE OR IGNORE notification SET incident = ? WHERE incident = ?", (into, number)
        )
        db.execute("DELETE FROM notification WHERE incident = ?", (number,))

    def _add_label(self, partition: int, offset: int, label: Label) -> set[int]:
        model = f"{label.model.name} {label.model.version}"
        added = self._db.execute(
            "INSERT OR IGNORE INTO label(partition, offset, alert_id, label, by, at, model, text) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                partition,
                offset,
                label.alert_id,
                label.label,
                _storable(label.by),
                int(label.at.timestamp() * 1000),
                model,
                _storable(label.text[:_SHOWN_TEXT]),
            ),
        )
        if not added.rowcount:
            return set()
        self._db.execute("DELETE FROM lease WHERE alert_id = ?", (label.alert_id,))
        return self._settle_label(label.alert_id)

    def _settle_label(self, alert_id: str) -> set[int]:
        """Set the label of an alert or review tweet: the last of each person's last labels."""
        said = self._db.execute(
            "SELECT by, label FROM label WHERE alert_id = ? ORDER BY offset", (alert_id,)
        ).fetchall()
        if not said:
            return set()
        votes = count_votes(said)
        label, by = votes.label, votes.by
        self._db.execute(
            "UPDATE review SET label = ?, labelled_by = ? WHERE alert_id = ?", (label, by, alert_id)
        )
        row = self._db.execute(
            "SELECT incident, label FROM alert WHERE alert_id = ?", (alert_id,)
        ).fetchone()
        if row is None:  # it is no alert, or the label was read before the alert
            return set()
        incident, before = row
        self._db.execute(
            "UPDATE alert SET label = ?, labelled_by = ? WHERE alert_id = ?", (label, by, alert_id)
        )
        self._db.execute(
            "UPDATE incident SET labels = labels + ? WHERE id = ?",
            ((label is not None) - (before is not None), incident),
        )
        return {incident}

    def _find_news(self, changed: set[int], notify: Notify) -> None:
        """Schedule a notification for incidents that have reached the thresholds, once for each."""
        for number in sorted(changed):
            self._db.execute(
                "INSERT OR IGNORE INTO notification(incident, state, due) "
                "SELECT id, iif(first < value, 'old', 'due'), 0 FROM incident "
                "JOIN count ON name = 'begun' "
                "WHERE id = :number AND size >= :size "
                "AND (:probability IS NULL OR highest >= :probability)",
                {
                    "number": number,
                    "size": notify.size,
                    "probability": notify.probability,
                },
            )

    def lease(self, by: str, now: int, chosen: Sequence[str] = ()) -> sqlite3.Row | None:
        """Reserve the next tweet to label for a person.

        First come tweets for review, then the clearest alert of the newest unlabelled incidents,
        then other alerts. A person gets the same tweet until they label it or the reservation ends.

        Args:
            now: milliseconds.
            chosen: alerts to prefer, if nobody else has reserved them.
        """
        free = (
            "NOT EXISTS (SELECT 1 FROM lease WHERE lease.alert_id = tweet.alert_id "
            "AND until > :now AND by != :by) AND NOT EXISTS (SELECT 1 FROM label "
            "WHERE label.alert_id = tweet.alert_id AND by = :by "
            "AND label.id = (SELECT max(id) FROM label "
            "WHERE label.alert_id = tweet.alert_id AND by = :by) AND label.label = 'skip')"
        )
        alert = "SELECT tweet.*, 'alert' AS queue FROM"
        review = "SELECT tweet.* FROM"
        names = {"now": now, "by": by}
        held = f"WHERE by = :by AND until > :now AND label IS NULL AND {free} LIMIT 1"
        queries = [
            f"{review} lease JOIN review AS tweet USING (alert_id) {held}",
            f"{alert} lease JOIN alert AS tweet USING (alert_id) {held}",
            f"{review} review AS tweet WHERE label IS NULL AND {free} ORDER BY id DESC LIMIT 1",
            f"{alert} incident INDEXED BY incident_unlabelled "
            "CROSS JOIN alert AS tweet ON tweet.id = incident.clearest "
            f"WHERE labels = 0 AND label IS NULL AND {free} ORDER BY incident.last DESC LIMIT 1",
            f"{alert} alert AS tweet WHERE label IS NULL AND {free} ORDER BY id DESC LIMIT 1",
        ]
        if chosen:
            names["chosen"] = chosen[0]
            one = f"WHERE alert_id = :chosen AND {free}"
            queries[:0] = [f"{review} review AS tweet {one}", f"{alert} alert AS tweet {one}"]
        with self._lock:
            cursor = self._db.cursor()
            cursor.row_factory = sqlite3.Row
            with self._transaction():
                for query in queries:
                    row: sqlite3.Row | None = cursor.execute(query, names).fetchone()
                    if row is not None:
                        cursor.execute("DELETE FROM lease WHERE by = ? OR until <= ?", (by, now))
                        cursor.execute(
                            "INSERT INTO lease VALUES (?, ?, ?) ON CONFLICT DO UPDATE "
                            "SET by = excluded.by, until = excluded.until",
                            (row["alert_id"], by, now + 1000 * LEASE_SECONDS),
                        )
                        return row
        return None

    def due_notification(self, now: int) -> sqlite3.Row | None:
        """Return the next due notification, and mark it as being sent. Then call `notified`."""
        with self._lock:
            cursor = self._db.cursor()
            cursor.row_factory = sqlite3.Row
            with self._transaction():
                row: sqlite3.Row | None = cursor.execute(
                    "SELECT incident.*, attempts FROM notification "
                    "JOIN incident ON incident.id = notification.incident "
                    "WHERE state = 'due' AND due <= ? ORDER BY due LIMIT 1",
                    (now,),
                ).fetchone()
                if row is not None:
                    cursor.execute(
                        "UPDATE notification SET state = 'sending', attempts = attempts + 1 "
                        "WHERE incident = ?",
                        (row["id"],),
                    )
                return row

    def notified(self, incident: int, state: str, due: int = 0) -> None:
        """Set the state of a notification: sent, failed, or due (again at that time)."""
        with self._lock, self._transaction():
            self._db.execute(
                "UPDATE notification SET state = ?, due = ? WHERE incident = ?",
                (state, due, incident),
            )

    def interrupted_notifications(self) -> int:
        """Mark notifications that an earlier process was sending as unknown, and count them."""
        with self._lock, self._transaction():
            return self._db.execute(
                "UPDATE notification SET state = 'unknown' WHERE state = 'sending'"
            ).rowcount

    def _restore(self) -> None:
        """Restore the incidents that can still grow."""
        incidents = self.incidents
        newest = self.index.newest
        highest = self._db.execute("SELECT max(incident) FROM alert").fetchone()[0] or 0
        incidents.start_at(highest + 1)
        if newest is None:
            return
        recent = Filter(since=int(newest - 1000 * incidents.window))
        for last, number in reversed(self.index.find(recent, [], incidents.most)):
            texts = self._db.execute(
                "SELECT text FROM alert WHERE incident = ? AND representative ORDER BY id",
                (number,),
            )
            incidents.restore(number, last / 1000, [text for (text,) in texts])


_TRUNCATED = re.compile(r"(…|\.\.\.)(\s*https?:\S*)?\s*$")


def clarity(text: str, probability: float) -> float:
    """Return how well a tweet describes an event: complete, own words, probably relevant."""
    value = probability
    value -= 0.3 * text.startswith("RT @")
    value -= 0.3 * bool(_TRUNCATED.search(text))
    value -= 0.1 * max(0, text.count("http") - 1)
    value -= 0.05 * text.count("@") + 0.05 * max(0, text.count("#") - 2)
    return value - 0.2 * (len(text) < 40)


@overload
def _storable(text: str) -> str: ...
@overload
def _storable(text: None) -> None: ...
def _storable(text: str | None) -> str | None:
    """Replace lone surrogates, which UTF-8 cannot encode."""
    return None if text is None else text.encode("utf-8", "replace").decode()

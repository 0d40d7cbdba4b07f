"""The desk's store: what it keeps, what it counts once, and what a restart and a loss do to it."""

import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shared.errors import UsageError
from tests.desk.alerts import NEWS, NOON, added, new_alert, new_label, reviewed
from tests.desk.test_incidents import QUAKE
from worker.desk import queries
from worker.desk.index import Filter
from worker.desk.store import LEASE_SECONDS, Notify, Store

MILLISECONDS = int(NOON.timestamp() * 1000)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "desk.sqlite3")
    yield store
    store.close()


def found(store: Store, **wanted: object) -> list[str]:
    """Return the texts of the incidents that a filter finds, on all pages."""
    page = queries.find_incidents(store.reader(), store.index, Filter(**wanted))  # type: ignore[arg-type]
    rows = page.incidents
    while page.after is not None:
        page = queries.find_incidents(
            store.reader(),
            store.index,
            Filter(**wanted),  # type: ignore[arg-type]
            page.after,
        )
        rows += page.incidents
    assert len({row["id"] for row in rows}) == len(rows)
    return [row["text"] for row in rows]


def test_copies_are_one_incident_that_shows_its_clearest_tweet(store: Store) -> None:
    store.add(
        added(
            new_alert(f"RT @a: {QUAKE}", probability=0.9),
            new_alert(QUAKE, at=NOON + timedelta(minutes=5), probability=0.8),
            new_alert(f"{QUAKE[:60]}…", at=NOON + timedelta(minutes=9), probability=0.95),
        )
    )
    (incident,) = queries.find_incidents(store.reader(), store.index, Filter()).incidents
    assert (incident["size"], incident["text"], incident["highest"]) == (3, QUAKE, 0.95)
    assert incident["last"] - incident["first"] == 9 * 60_000


def test_an_alert_counts_once_however_often_it_is_read(store: Store) -> None:
    alert = new_alert(QUAKE)
    assert store.add(added(alert, alert))
    assert not store.add(added(alert))
    assert queries.alert_count(store.reader()) == 1


def test_reading_goes_on_where_it_had_got_to(tmp_path: Path) -> None:
    path = tmp_path / "desk.sqlite3"
    before = Store(path)
    before.add(added(new_alert(QUAKE)), positions={("tweets.alerts", 0): 7})
    before.close()
    after = Store(path)
    assert after.positions() == {("tweets.alerts", 0): 7}
    after.add(added(new_alert(f"RT @b: {QUAKE}"), new_alert(NEWS[1])))
    sizes = [
        row["size"]
        for row in queries.find_incidents(after.reader(), after.index, Filter()).incidents
    ]
    assert sorted(sizes) == [1, 2]
    after.close()


def test_a_transaction_that_fails_leaves_nothing_behind(store: Store) -> None:
    with pytest.raises(sqlite3.Error):
        store.add(added(new_alert(QUAKE)), positions={("t", 0): object()})  # type: ignore[dict-item]
    assert found(store) == []
    assert store.positions() == {}
    store.add(added(new_alert(QUAKE)))
    assert found(store) == [QUAKE]


def test_a_damaged_file_or_one_of_another_version_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "desk.sqlite3"
    path.write_bytes(b"this is no database" * 1000)
    store = Store(path)
    assert store.positions() == {}
    store.close()
    other = sqlite3.connect(path)
    other.execute("PRAGMA user_version = 99")
    other.close()
    store = Store(path)
    store.add(added(new_alert(QUAKE)))
    assert found(store) == [QUAKE]
    store.close()


def test_a_store_has_one_desk(store: Store) -> None:
    with pytest.raises(UsageError, match="is in use by another desk"):
        Store(store.path)


def test_a_rebuild_reads_everything_again(store: Store) -> None:
    alert = new_alert(QUAKE)
    store.add(added(alert), labels=[(0, 0, new_label(alert, "relevant"))])
    store.rebuild()
    assert (found(store), store.positions()) == ([], {})
    assert found(store, search="earthquake") == []
    store.add(added(alert), labels=[(0, 0, new_label(alert, "relevant"))])
    assert found(store, search="earthquake") == [QUAKE]


def test_incidents_that_turn_out_to_be_one_are_merged(store: Store) -> None:
    words = [f"word{n}" for n in range(12)]
    first, second = new_alert(" ".join(words[:8])), new_alert(" ".join(words[5:]))
    store.add(added(first, second))
    assert len(found(store)) == 2
    store.add(labels=[(0, 0, new_label(second, "relevant"))])
    store.add(added(new_alert(" ".join(words))))
    (incident,) = queries.find_incidents(store.reader(), store.index, Filter()).incidents
    assert (incident["size"], incident["labels"], incident["key"]) == (3, 1, first.alert_id)
    for alert in (first, second):  # a link to either still leads there
        assert queries.find_incident(store.reader(), alert.alert_id) == incident


def test_filters(store: Store) -> None:
    hour = timedelta(hours=1)
    for place, text in enumerate(NEWS):
        store.add(
            added(
                *(new_alert(text, at=NOON + place * hour) for _ in range(place)),
                new_alert(text, at=NOON + place * hour, probability=0.5 + place / 10),
            )
        )
    newest = list(reversed(NEWS))
    assert found(store) == newest
    assert found(store, sort="largest") == newest
    assert found(store, size=3) == newest[:3]
    assert found(store, probability=0.85) == newest[:1]
    assert found(store, since=MILLISECONDS + 2 * 3_600_000) == newest[:3]
    assert found(store, until=MILLISECONDS + 3_600_000) == newest[4:]
    assert found(store, model="LSTM 1", size=5) == newest[:1]
    assert found(store, model="LSTM 2") == []
    assert found(store, lang="en") == found(store, place="Manila") == []
    store.add(added(new_alert(QUAKE, lang="en", place="Tagbilaran, Bohol 100%")))
    assert found(store, lang="en") == found(store, place="bohol") == [QUAKE]
    assert found(store, place="100%") == [QUAKE]
    assert found(store, place="100_") == found(store, lang="de") == []


@pytest.mark.parametrize(
    ("search", "places"),
    [
        ("flood", [1]),
        ("FLOOD jakarta", [1]),
        ("glasgów", [4]),  # without the accent
        ("heli*", [4]),
        ("heli", []),
        ("near", [1, 0]),
        ("flood OR fire", []),  # no operators
        ('"', []),
        ('near" OR text:"fire', []),
        ("NEAR(a b)", []),
        ("ana", [4, 3, 2, 1, 0]),  # the author
    ],
)
def test_search(store: Store, search: str, places: list[int]) -> None:
    store.add(added(*(new_alert(text, at=NOON) for text in NEWS)))
    if search == '"':  # nothing to look for: everything
        places = [4, 3, 2, 1, 0]
    assert found(store, search=search) == [NEWS[place] for place in places]


@pytest.mark.parametrize("wanted", [{}, {"sort": "largest"}, {"search": "report"}])
def test_pages_have_every_incident_once(store: Store, wanted: dict[str, str]) -> None:
    texts = [f"report{n} of {n}mm rain{n} in town{n} at noon{n}" for n in range(130)]
    texts = [f"report {text}" for text in texts]
    for copies in range(2):
        at = NOON + timedelta(seconds=copies)
        store.add(added(*(new_alert(text, at=at) for text in texts)))
    assert sorted(found(store, **wanted)) == sorted(texts) or wanted == {
        "search": "report",
        "sort": "largest",
    }


def test_the_last_label_of_the_last_person_counts(store: Store) -> None:
    alert = new_alert(QUAKE)
    store.add(added(alert))

    def label_after(offset: int, *said: str) -> tuple[str | None, str | None, int]:
        by, verdict = said
        store.add(labels=[(0, offset, new_label(alert, verdict, by))])  # type: ignore[arg-type]
        incident = queries.find_incident(store.reader(), alert.alert_id)
        assert incident is not None
        (row,), _ = queries.find_alerts(store.reader(), incident["id"])
        return row["label"], row["labelled_by"], incident["labels"]

    assert label_after(0, "mei", "relevant") == ("relevant", "mei", 1)
    assert label_after(1, "jon", "not-relevant") == ("not-relevant", "jon", 1)
    assert label_after(2, "jon", "withdrawn") == ("relevant", "mei", 1)
    assert label_after(3, "mei", "skip") == (None, None, 0)
    assert label_after(4, "mei", "relevant") == ("relevant", "mei", 1)
    assert label_after(4, "mei", "not-relevant") == ("relevant", "mei", 1)  # the same record


def test_a_label_may_come_before_its_alert(store: Store) -> None:
    alert = new_alert(QUAKE)
    store.add(labels=[(0, 0, new_label(alert, "relevant"))])
    store.add(added(alert))
    (precision,) = queries.precision(store.reader(), "model")
    assert (precision.relevant, precision.labelled) == (1, 1)


def test_two_people_are_never_given_the_same_tweet(store: Store) -> None:
    alerts = [new_alert(text) for text in NEWS]
    store.add(added(*alerts))
    given = [store.lease(f"person {n}", MILLISECONDS) for n in range(6)]
    names = [row["alert_id"] for row in given if row is not None]
    assert len(names) == len(set(names)) == 5
    again = store.lease("person 0", MILLISECONDS + 1000)
    assert again is not None
    assert again["alert_id"] == names[0]  # what they had, until they say something
    late = store.lease("person 6", MILLISECONDS + 1000 * LEASE_SECONDS + 2000)
    assert late is not None  # whoever had it has gone


def test_what_one_has_skipped_is_for_others(store: Store) -> None:
    alert = new_alert(QUAKE)
    store.add(added(alert), labels=[(0, 0, new_label(alert, "skip", "mei"))])
    assert store.lease("mei", MILLISECONDS) is None
    assert store.lease("jon", MILLISECONDS) is not None


def test_the_queue_begins_with_reviews_and_then_takes_one_of_each_incident(store: Store) -> None:
    alerts = [new_alert(text, at=NOON) for text in (NEWS[0], NEWS[0], NEWS[1])]
    maybe = new_alert("maybe a fire?", at=NOON, probability=0.3)
    store.add(added(*alerts), reviews=reviewed(maybe, reason="near-threshold"))
    by_id = {alert.alert_id: alert for alert in (*alerts, maybe)}
    texts = []
    for offset in range(4):
        row = store.lease("mei", MILLISECONDS)
        assert row is not None
        assert row["queue"] == ("alert" if offset else "near-threshold")
        texts.append(row["text"])
        label = new_label(by_id[row["alert_id"]], "relevant")
        store.add(labels=[(0, offset, label)])
    assert texts[0] == "maybe a fire?"
    assert set(texts[1:3]) == {NEWS[0], NEWS[1]}
    assert texts[3] == NEWS[0]
    assert store.lease("mei", MILLISECONDS) is None


def test_a_review_tweet_is_no_alert_and_is_given_to_one_person(store: Store) -> None:
    maybe = new_alert("maybe a fire?", probability=0.3)
    assert store.add(reviews=reviewed(maybe)) == set()
    assert store.add(reviews=reviewed(maybe)) == set()  # as after a rebuild of the topic
    assert queries.alert_count(store.reader()) == 0
    assert found(store) == []
    mine = store.lease("mei", MILLISECONDS)
    assert mine is not None
    assert store.lease("jon", MILLISECONDS) is None
    assert store.lease("mei", MILLISECONDS) == mine
    store.add(labels=[(0, 0, new_label(maybe, "skip", "mei"))])
    assert store.lease("mei", MILLISECONDS) is None
    assert store.lease("jon", MILLISECONDS) is not None
    assert store.lease("mei", MILLISECONDS + 10**6, (maybe.alert_id,)) is None


@pytest.mark.parametrize("order", ["alert first", "review first", "label first"])
def test_an_alert_that_is_reviewed_has_one_label(store: Store, order: str) -> None:
    alert = new_alert(NEWS[0])
    steps: list[Callable[[], object]] = [
        lambda: store.add(added(alert)),
        lambda: store.add(reviews=reviewed(alert)),
        lambda: store.add(labels=[(0, 0, new_label(alert, "not-relevant"))]),
    ]
    if order == "review first":
        steps = [steps[1], steps[0], steps[2]]
    if order == "label first":
        steps = [steps[2], steps[0], steps[1]]
    for step in steps:
        step()
    rows = store.reader().execute(
        "SELECT label, labelled_by FROM alert UNION ALL SELECT label, labelled_by FROM review"
    )
    assert [tuple(row) for row in rows] == [("not-relevant", "mei")] * 2
    assert store.lease("jon", MILLISECONDS) is None


def test_precision_by_model_and_day_with_its_interval(store: Store) -> None:
    alerts = [new_alert(f"{NEWS[0]} {n}", at=NOON + timedelta(days=n // 8)) for n in range(10)]
    labels = [new_label(a, "relevant" if n < 8 else "not-relevant") for n, a in enumerate(alerts)]
    store.add(added(*alerts), labels=[(0, n, label) for n, label in enumerate(labels)])
    (model,) = queries.precision(store.reader(), "model")
    assert (model.name, model.relevant, model.labelled) == ("LSTM 1", 8, 10)
    # R: prop.test(8, 10, correct = FALSE)
    assert (model.low, model.high) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert [(d.name, d.relevant, d.labelled) for d in queries.precision(store.reader(), "day")] == [
        ("2026-12-01", 0, 2),
        ("2026-11-30", 8, 8),
    ]
    totals = queries.totals(store.reader(), store.index)
    assert (totals.labelled, totals.waiting, totals.alerts) == (10, 10, 10)


def test_a_time_line_counts_every_alert_in_few_bars(store: Store) -> None:
    hours = (0, 0.1, 5, 47)
    store.add(added(*(new_alert(QUAKE, at=NOON + timedelta(hours=h)) for h in hours)))
    for until in (0, 10 * 60_000, 48 * 3_600_000, 365 * 86_400_000):
        line = queries.time_line(store.reader(), MILLISECONDS, MILLISECONDS + until)
        assert len(line.bars) <= 96
        assert sum(line.bars) == sum(h * 3_600_000 <= until for h in hours)
    incident = queries.find_incidents(store.reader(), store.index, Filter()).incidents[-1]
    line = queries.time_line(store.reader(), incident["first"], incident["last"], incident["id"])
    assert sum(line.bars) == incident["size"]


def test_an_incident_is_notified_of_once(tmp_path: Path) -> None:
    notify = Notify(size=2, probability=None)
    path = tmp_path / "desk.sqlite3"
    before = NOON.timestamp() - 1
    store = Store(path, clock=lambda: before)
    store.add(added(new_alert(QUAKE)), notify=notify)
    assert store.due_notification(MILLISECONDS) is None
    store.add(added(new_alert(QUAKE)), notify=notify)
    due = store.due_notification(MILLISECONDS)
    assert due is not None
    assert due["size"] == 2
    assert store.due_notification(MILLISECONDS) is None
    store.close()

    store = Store(path)  # killed while it was being sent: it may have arrived
    assert store.interrupted_notifications() == 1
    store.add(added(new_alert(QUAKE)), notify=notify)
    assert store.due_notification(MILLISECONDS) is None
    store.add(added(*(new_alert(NEWS[1]) for _ in range(2))), notify=notify)
    assert store.due_notification(MILLISECONDS) is not None  # it came while no desk ran
    store.rebuild()
    store.add(added(*(new_alert(text) for text in NEWS[:2] * 2)), notify=notify)
    assert store.due_notification(MILLISECONDS) is None
    store.close()

    path.unlink()
    store = Store(path, clock=lambda: before + 2)  # the file is lost
    store.add(added(*(new_alert(text) for text in NEWS[:2] * 2)), notify=notify)
    assert store.due_notification(MILLISECONDS) is None
    store.close()


@pytest.mark.parametrize(("probability", "told"), [(None, True), (0.7, True), (0.8, False)])
def test_a_notification_may_need_a_probability(
    store: Store, probability: float | None, told: bool
) -> None:
    notify = Notify(size=1, probability=probability)
    at = datetime.now(UTC) + timedelta(seconds=1)
    store.add(added(new_alert(QUAKE, at=at, probability=0.75)), notify=notify)
    assert (store.due_notification(MILLISECONDS) is not None) == told


def test_texts_that_are_no_utf_8_are_kept(store: Store) -> None:
    store.add([(new_alert("a\ud800b \x00 fire", author="x\udfff"), b"{}")])
    assert found(store, search="fire") == ["a?b \x00 fire"]

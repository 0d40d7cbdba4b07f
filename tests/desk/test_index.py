"""The index finds what a loop over all incidents finds, in the same order, on every page."""

import random
from collections.abc import Iterator

import msgspec
import pytest

from worker.desk.index import Filter, IncidentIndex, IndexRow, Sort

PLACES = ("Manila", "Bohol", "São Paulo", None)


def incidents(count: int, seed: int) -> Iterator[IndexRow]:
    chance = random.Random(seed)
    for number in range(1, count + 1):
        first = 1000 * chance.randrange(50)
        yield (
            number,
            first,
            first + 1000 * chance.randrange(5),
            chance.choice([1, 1, 1, 2, 3, 900]),
            chance.random(),
            chance.choice(["en", "es", None]),
            chance.choice(PLACES),
            chance.choice(["LSTM 1", "LSTM 2"]),
        )


def expected(rows: list[IndexRow], wanted: Filter, places: list[str]) -> list[int]:
    found = [
        (row[2] if wanted.sort == "newest" else row[3], row[0])
        for row in rows
        if (wanted.since is None or row[2] >= wanted.since)
        and (wanted.until is None or row[1] < wanted.until)
        and row[3] >= (wanted.size or 1)
        and row[4] >= (wanted.probability or 0)
        and (wanted.lang is None or row[5] == wanted.lang)
        and (wanted.place is None or row[6] in places)
        and (wanted.model is None or row[7] == wanted.model)
    ]
    return [number for _, number in sorted(found, reverse=True)]


@pytest.mark.parametrize("sort", ["newest", "largest"])
@pytest.mark.parametrize(
    ("wanted", "places"),
    [
        (Filter(), []),
        (Filter(size=2, probability=0.5), []),
        (Filter(since=20_000, until=30_000), []),
        (Filter(lang="es", model="LSTM 2"), []),
        (Filter(lang="de"), []),
        (Filter(place="o"), ["Bohol", "São Paulo"]),
        (Filter(place="x"), []),
    ],
)
@pytest.mark.parametrize("block", [60, 1 << 16])
def test_all_pages_have_what_fits_in_order(
    wanted: Filter, places: list[str], sort: Sort, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.desk.index._BLOCK", block)
    wanted = msgspec.structs.replace(wanted, sort=sort)
    rows = list(incidents(2000, seed=1))
    index = IncidentIndex()
    index.set(rows[:700])
    index.set(list(incidents(700, seed=2)))  # these change below
    index.set(rows)
    index.set([], removed=[*range(100, 200), 10**6])
    left = [row for row in rows if not 100 <= row[0] < 200]
    assert index.count == len(left)
    assert index.newest == max(row[2] for row in rows)
    found: list[int] = []
    after = None
    while page := index.find(wanted, places, 97, after):
        found += [number for _, number in page]
        after = page[-1]
    assert found == expected(left, wanted, places)


def test_an_incident_that_was_removed_may_come_back() -> None:
    row = next(incidents(1, seed=1))
    index = IncidentIndex()
    index.set([row])
    index.set([], removed=[1, 1])
    assert (index.count, index.find(Filter(), [], 9)) == (0, [])
    index.set([row])
    index.set([row])
    assert (index.count, [n for _, n in index.find(Filter(), [], 9)]) == (1, [1])
    index.clear()
    assert (index.count, index.newest, index.find(Filter(), [], 9)) == (0, None, [])

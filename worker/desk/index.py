"""Index: what incidents are filtered and sorted by, as columns in memory.

A filter that few incidents fit makes SQLite read all of them, whatever its indexes. Here it costs
some comparisons of arrays: milliseconds for a million incidents.
"""

import threading
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

Sort = Literal["newest", "largest"]
IndexRow = tuple[int, int, int, int, float, str | None, str | None, str]
"""Number, first, last, size, highest, language, place and model of an incident."""

_TYPES = {
    "first": np.int64,
    "last": np.int64,
    "size": np.int32,
    "highest": np.float64,
    "lang": np.int32,
    "place": np.int32,
    "model": np.int32,
}
"""Each different text has a code, so that a row has 40 bytes whatever it says."""
_UNKNOWN = -1
_GROWTH = 1.25
_BLOCK = 1 << 16
"""Incidents that are compared at once, so that a query takes little memory."""


class Filter(msgspec.Struct, frozen=True):
    """Which incidents are asked for; None is any.

    Attributes:
        search: words that an alert of the incident must have; `word*` is a beginning.
        since, until: milliseconds; the last alert is not before, the first one before.
        probability: the highest of the incident's alerts is at least this.
        place: a part of the place's name.
        size: alerts at least.
    """

    search: str | None = None
    since: int | None = None
    until: int | None = None
    probability: float | None = None
    lang: str | None = None
    place: str | None = None
    size: int | None = None
    model: str | None = None
    sort: Sort = "newest"


class IncidentIndex:
    """Finds the numbers of incidents. One thread changes it, others may ask at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """Forget all incidents."""
        with self._lock:
            self._columns: dict[str, NDArray[Any]] = _new_columns(1024)
            self._codes: dict[str | None, int] = {}
            self._end = 1  # numbers are below it
            self.newest: int | None = None
            """When the newest alert was scored, in milliseconds."""
            self.count = 0

    def set(self, rows: Iterable[IndexRow], removed: Iterable[int] = ()) -> None:
        """Add or replace incidents, and remove others.

        Args:
            removed: their numbers; they may be unknown.
        """
        changed = list(rows)
        with self._lock:
            size = self._columns["size"]
            for number in removed:
                if number < self._end and size[number]:
                    size[number] = 0
                    self.count -= 1
            if not changed:
                return
            numbers, first, last, sizes, highest, *texts = zip(*changed, strict=True)
            self._end = max(self._end, max(numbers) + 1)
            self._grow()
            columns = self._columns
            at = np.array(numbers)
            self.count += int(np.count_nonzero(columns["size"][at] == 0))
            columns["first"][at], columns["last"][at] = first, last
            columns["highest"][at] = highest
            for name, written in zip(("lang", "place", "model"), texts, strict=True):
                columns[name][at] = [
                    self._codes.setdefault(text, len(self._codes)) for text in written
                ]
            columns["size"][at] = sizes
            self.newest = max(self.newest or 0, *last)

    def _grow(self) -> None:
        there = len(self._columns["size"])
        if self._end > there:
            grown = _new_columns(int(max(self._end, there) * _GROWTH))
            for name, column in self._columns.items():
                grown[name][:there] = column
            self._columns = grown

    def fitting(self, wanted: Filter, places: Collection[str] = ()) -> NDArray[np.bool_]:
        """Return, by number, whether an incident fits a filter without its search.

        Args:
            places: the names that `wanted.place` is a part of.
        """
        return _fitting(self._columns, self._codes, wanted, places)[: self._end]

    def find(
        self,
        wanted: Filter,
        places: Collection[str],
        count: int,
        after: tuple[int, int] | None = None,
    ) -> list[tuple[int, int]]:
        """Return what fits a filter as (time or size, number), the newest or the largest first.

        Args:
            places: the names that `wanted.place` is a part of.
            count: how many at most.
            after: the last one of the page before.
        """
        columns, key_column = self._columns, "last" if wanted.sort == "newest" else "size"
        numbers = keys = np.empty(0, np.int64)
        for start in range(0, self._end, _BLOCK):
            block = {name: column[start : start + _BLOCK] for name, column in columns.items()}
            key = block[key_column]
            fits = _fitting(block, self._codes, wanted, places)
            if after is not None:
                value, number = after
                before = key < value
                before[: max(0, number - start)] |= key[: max(0, number - start)] == value
                fits &= before
            found = np.flatnonzero(fits)
            numbers, keys = _largest(
                np.concatenate([numbers, found + start]), np.concatenate([keys, key[found]]), count
            )
        order = np.lexsort((numbers, keys))[::-1]
        return [(int(keys[place]), int(numbers[place])) for place in order]

    def size(self, number: int) -> int:
        """Return how many alerts an incident has."""
        return int(self._columns["size"][number])


def _fitting(
    columns: Mapping[str, NDArray[Any]],
    codes: Mapping[str | None, int],
    wanted: Filter,
    places: Collection[str],
) -> NDArray[np.bool_]:
    fits: NDArray[np.bool_] = columns["size"] >= (wanted.size or 1)
    if wanted.since is not None:
        fits &= columns["last"] >= wanted.since
    if wanted.until is not None:
        fits &= columns["first"] < wanted.until
    if wanted.probability is not None:
        fits &= columns["highest"] >= wanted.probability
    if wanted.lang is not None:
        fits &= columns["lang"] == codes.get(wanted.lang, _UNKNOWN)
    if wanted.model is not None:
        fits &= columns["model"] == codes.get(wanted.model, _UNKNOWN)
    if wanted.place is not None:
        fits &= np.isin(columns["place"], [codes.get(place, _UNKNOWN) for place in places])
    return fits


def _largest(
    numbers: NDArray[np.int64], keys: NDArray[np.int64], count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the `count` largest by key, then number; all are in ascending order of numbers."""
    if len(keys) <= count:
        return numbers, keys
    least = np.partition(keys, len(keys) - count)[len(keys) - count]
    above, same = np.flatnonzero(keys > least), np.flatnonzero(keys == least)
    chosen = np.sort(np.concatenate([above, same[len(same) + len(above) - count :]]))
    return numbers[chosen], keys[chosen]


def _new_columns(capacity: int) -> dict[str, NDArray[Any]]:
    return {name: np.zeros(capacity, kind) for name, kind in _TYPES.items()}

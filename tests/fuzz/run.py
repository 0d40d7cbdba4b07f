"""Run: sends records through the worker's own triage and holds each outcome against the promise."""

import contextlib
import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice

import msgspec

from shared.bundle.load import Bundle
from shared.errors import RecordError
from tests.fuzz.records import inputs
from worker.kafka.records import Message, Record
from worker.messages.alert import Model, decode_alert
from worker.messages.dead_letter import DeadLetter, as_it_came, publishable, read_dead_letter
from worker.messages.decode import Decoder, Item
from worker.messages.languages import Languages
from worker.messages.tweet import Notice, Tweet
from worker.triage import Outcome, Triage

_decode = Decoder()
_ENGLISH = Languages(["en"])
_SCORED = ("alert", "not relevant", "unprocessable")
_BATCH = 200
_LONGEST = 5.0
"""Seconds of processor time that one record may take, on a slow machine too."""
_SUSPECT = 0.3
"""Seconds from which on a batch's records are timed one by one."""


class Fuzzed(msgspec.Struct):
    """The outcome.

    Attributes:
        outcomes: alert, not relevant, other language, notice, or a dead letter's reason → how many.
        consumed: the posts and other messages in the records.
        slowest: seconds of processor time of the slowest record, of those in suspect batches.
        violations: what was promised and did not hold, with the record.
    """

    inputs: int
    seed: int
    seconds: float
    outcomes: Counter[str]
    slowest: float
    violations: list[str]
    consumed: int = 0


def fuzz(bundle: Bundle, count: int, seed: int) -> Fuzzed:
    """Send this many records through a bundle's triage."""
    triage = Triage(
        bundle.scorer,
        Model("fuzzed", 1, bundle.digest),
        bundle.manifest.threshold,
        "alerts",
        "dead",
        lambda: datetime(2026, 1, 1, tzinfo=UTC),
        lambda _: contextlib.nullcontext(),
        languages=_ENGLISH,
    )
    report = Fuzzed(count, seed, 0.0, Counter(), 0.0, [])
    begun = time.monotonic()
    records = islice(inputs(seed), count)
    rest: list[Record] = []
    while batch := rest or list(islice(records, _BATCH)):
        rest = []
        try:
            with _stopwatch() as taken:
                outcome = triage(batch)
        except Exception as error:  # noqa: BLE001  # which is what must not be
            report.violations.append(f"{type(error).__name__}: {error}: in {_shown(batch)}")
            continue
        batch, rest = batch[: outcome.records], batch[outcome.records :]
        report.violations += violations(batch, outcome)
        report.outcomes.update(outcome.dead_letter_reasons)
        report.outcomes["alert"] += len(outcome.alerts)
        report.outcomes["not relevant"] += outcome.not_relevant
        report.outcomes["other language"] += outcome.other_language
        report.outcomes["notice"] += len(outcome.notices)
        report.consumed += outcome.consumed
        if taken[0] > _SUSPECT:
            for record in batch:
                with _stopwatch() as taken:
                    triage([record])
                report.slowest = max(report.slowest, taken[0])
                if taken[0] > _LONGEST:
                    report.violations.append(f"{taken[0]:.1f} s for {_shown([record])}")
    report.seconds = time.monotonic() - begun
    return report


def violations(batch: Sequence[Record], outcome: Outcome) -> Iterator[str]:
    """Yield the promises that a batch's outcome breaks."""
    expected = {place: end for record in batch for place, end in _expected(record)}
    ends: dict[Place, str] = {}
    for message in outcome.messages:
        if message.topic == "alerts":
            source = decode_alert(message.value or b"").source
            place, end = (source.offset, source.index), "alert"
        else:
            headers = dict(message.headers + message.added)
            index = headers.get("triage-source-index")
            place = int(headers["triage-source-offset"]), None if index is None else int(index)
            record = batch[place[0] - batch[0].offset]
            letter = _letter(message)
            end = letter.reason if letter else "no dead letter"
            if letter is None or (letter.whole and not _holds(letter, record, place[1])):
                yield f"the dead letter does not hold its record: {_shown([record])}"
        if place in ends:
            yield f"{ends[place]} and {end}: {_shown([batch[place[0] - batch[0].offset]])}"
        ends[place] = end
    counted = outcome.not_relevant + outcome.other_language + len(outcome.notices)
    if not len(expected) == len(ends) + counted == outcome.consumed:
        there = f"{len(ends)} ends and {counted} counted of {outcome.consumed}"
        yield f"{there} for {len(expected)}: {_shown(batch)}"
    for name, number in (
        ("other language", outcome.other_language),
        ("notice", len(outcome.notices)),
    ):
        if number != (due := sum(end == name for end in expected.values())):
            yield f"{number} × {name}, expected {due}: {_shown(batch)}"
    for place in expected.keys() | ends.keys():
        end, due_end = ends.get(place, "not relevant"), expected.get(place, "nothing")
        if due_end in ("other language", "notice"):
            right = place not in ends
        else:
            right = end in _SCORED if due_end == "a score" else end == due_end
        if not right:
            shown = _shown([batch[place[0] - batch[0].offset]])
            yield f"{end}, expected {due_end}: {shown}"
    if not all(math.isfinite(p) and 0 <= p <= 1 for p in outcome.probabilities.tolist()):
        yield f"a probability that is none: {_shown(batch)}"


Place = tuple[int, int | None]
"""A record's offset, and the index of a post if it holds several."""


def _letter(message: Message) -> DeadLetter | None:
    headers = message.headers + message.added
    return read_dead_letter(Record("dead", 0, 0, 0, message.key, message.value, headers))


def _holds(letter: DeadLetter, record: Record, index: int | None) -> bool:
    """Return whether a dead letter restores its record, or the post in it."""
    value = record.value
    if index is not None:
        items = _decode(value)
        assert isinstance(items, list)
        value = items[index].encode() or value
    kept = [header for header in publishable(record.headers) if header[0] != "triage-replays"]
    return (letter.key, letter.value, as_it_came(letter).headers) == (record.key, value, kept)


def _expected(record: Record) -> list[tuple[Place, str]]:
    """Return how each post of a record must end."""
    try:
        found = _decode(record.value)
    except RecordError as error:
        return [((record.offset, None), error.reason)]
    if isinstance(found, Tweet | Notice):
        return [((record.offset, None), _end(Item(None, found)))]
    return [((record.offset, index), _end(item)) for index, item in enumerate(found)]


def _end(item: Item) -> str:
    if isinstance(item.found, RecordError):
        return item.found.reason
    if isinstance(item.found, Notice):
        return "notice"
    return "a score" if _ENGLISH.accept(item.found) else "other language"


@contextlib.contextmanager
def _stopwatch() -> Iterator[list[float]]:
    taken = [time.process_time()]
    yield taken
    taken[0] = time.process_time() - taken[0]


def _shown(records: Sequence[Record]) -> str:
    first = records[0]
    value = repr(first.value)
    shown = value if len(value) < 300 else f"{value[:300]}… ({len(first.value or b'')} bytes)"
    return f"record {first.offset} and {len(records) - 1} more: {shown}, headers {first.headers!r}"

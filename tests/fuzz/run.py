"""Run: sends records through the worker's own triage and holds each outcome against the promise."""

import contextlib
import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice

import msgspec

from shared.bundle.files import Bundle
from shared.errors import RecordError
from tests.fuzz.records import inputs
from worker.kafka.records import Record
from worker.messages.alert import Model, decode_alert
from worker.messages.dead_letter import as_it_came, publishable, read_dead_letter
from worker.messages.tweet import decode_tweet
from worker.triage import Outcome, Triage

_BATCH = 200
_LONGEST = 5.0
"""Seconds of processor time that one record may take, on a slow machine too."""
_SUSPECT = 0.3
"""Seconds from which on a batch's records are timed one by one."""


class Fuzzed(msgspec.Struct):
    """The outcome.

    Attributes:
        outcomes: alert, not relevant, or a dead letter's reason → how many.
        slowest: seconds of processor time of the slowest record, of those in suspect batches.
        violations: what was promised and did not hold, with the record.
    """

    inputs: int
    seed: int
    seconds: float
    outcomes: Counter[str]
    slowest: float
    violations: list[str]


def fuzz(bundle: Bundle, count: int, seed: int) -> Fuzzed:
    """Sends so many records through a bundle's triage."""
    triage = Triage(
        bundle.scorer,
        Model("fuzzed", 1, bundle.digest),
        bundle.manifest.threshold,
        "alerts",
        "dead",
        lambda: datetime(2026, 1, 1, tzinfo=UTC),
        lambda _: contextlib.nullcontext(),
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
    """What does not hold of a batch's outcome."""
    ends: dict[int, str] = {}
    for message in outcome.messages:
        if message.topic == "alerts":
            offset, end = decode_alert(message.value or b"").source.offset, "alert"
        else:
            headers = message.headers + message.added
            offset = int(dict(headers)["triage-source-offset"])
            letter = read_dead_letter(Record("dead", 0, 0, 0, message.key, message.value, headers))
            record = batch[offset - batch[0].offset]
            end = letter.reason if letter else "no dead letter"
            kept = [h for h in publishable(record.headers) if h[0] != "triage-replays"]
            if letter is None or (
                letter.whole
                and (letter.key, letter.value, as_it_came(letter).headers)
                != (record.key, record.value, kept)
            ):
                yield f"the dead letter does not hold its record: {_shown([record])}"
        if offset in ends:
            yield f"{ends[offset]} and {end}: {_shown([batch[offset - batch[0].offset]])}"
        ends[offset] = end
    if len(batch) != len(ends) + outcome.not_relevant:
        there = f"{len(ends)} ends and {outcome.not_relevant} not relevant"
        yield f"{there} for {len(batch)}: {_shown(batch)}"
    for record in batch:
        end, expected = ends.get(record.offset, "not relevant"), _expected(record)
        scored = end in ("alert", "not relevant", "unprocessable")
        if (end != expected) if expected else not scored:
            yield f"{end}, expected {expected or 'a score'}: {_shown([record])}"
    if not all(math.isfinite(p) and 0 <= p <= 1 for p in outcome.probabilities.tolist()):
        yield f"a probability that is none: {_shown(batch)}"


def _expected(record: Record) -> str | None:
    """The reason for which it cannot be a tweet, or None."""
    try:
        decode_tweet(record.value)
    except RecordError as error:
        return error.reason
    return None


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

"""Oracle: holds what came out of a run against what had to come out, record by record."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from shared.errors import RecordError
from tests.faults.group import Exit
from tests.faults.stream import TRACE, Sent
from tests.faults.traces import Done, Trace, silent
from tests.faults.versions import Versions
from worker.kafka.records import Record
from worker.messages.alert import Alert, decode_alert

TOLERANCE = 1e-4
"""Of a probability: the same tweet is scored in a batch of another size here."""
_EXAMPLES = 3
_FATES = {True: "triaged", False: "unread", None: "triaged or not"}


class Lost(msgspec.Struct, frozen=True):
    """A record that a fault has taken out of the input topic.

    Attributes:
        processed: whether it must have been triaged before that; None if it may have been.
    """

    record: Record
    processed: bool | None


class Found(msgspec.Struct, frozen=True):
    """What lies in Kafka after a run.

    Attributes:
        inputs, alerts, dead_letters: the committed records of the three topics.
        ends: offset behind the last record of each partition of the input topic.
        committed: the group's offset of each.
        settled: no transaction is open; one that is would hide what came after it from readers.
        accounts: what the workers that ran at the end say in their metrics.
        lost: what faults have taken out of the input topic.
        faults: that were done.
        traces: what the workers said in their logs and metrics.
    """

    inputs: Sequence[Record]
    alerts: Sequence[Record]
    dead_letters: Sequence[Record]
    ends: Mapping[int, int]
    committed: Mapping[int, int]
    settled: bool
    accounts: Mapping[str, Mapping[str, int]]
    lost: Sequence[Lost] = ()
    faults: Sequence[Done] = ()
    traces: Sequence[Trace] = ()


class Verdict(msgspec.Struct, frozen=True):
    """The outcome.

    Attributes:
        violations: of the promises, each with some examples; none is expected.
        account: consumed, and the posts by how they ended.
        by_reason: dead letters.
        by_version: alerts.
        taken_out: records that faults have taken out of the input topic, by whether they had to be
            triaged before that.
        latencies: seconds from record to alert, sorted.
    """

    violations: list[str]
    account: dict[str, int]
    by_reason: dict[str, int]
    by_version: dict[int, int]
    taken_out: dict[str, int]
    latencies: list[float]


class _Violations:
    """Collects what is wrong by what kind of wrong it is."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {}

    def note(self, what: str, example: object) -> None:
        self._found.setdefault(what, []).append(str(example))

    def note_all(self, what: str, examples: Iterable[object]) -> None:
        for example in examples:
            self.note(what, example)

    def listed(self) -> list[str]:
        return [
            f"{len(examples)} × {what}: {'; '.join(examples[:_EXAMPLES])}"
            for what, examples in self._found.items()
        ]


def judge(
    sent: Mapping[bytes, Sent],
    confirmed: Mapping[bytes, tuple[int, int]],
    found: Found,
    versions: Versions,
    promoted: Collection[int],
    exits: Iterable[Exit],
) -> Verdict:
    """Compare everything that was sent with everything that was published.

    The truth is what lies in the input topic, or did so until a fault took it out: a send that was
    never confirmed may have succeeded.

    Args:
        sent: all records that were given to the producer, by key.
        confirmed: partition and offset by key, of those sends that were confirmed.
        versions: what each version says of the texts.
        promoted: the versions that were in production at some time.
        exits: how the workers ended.
    """
    wrong = _Violations()
    truth = _truth(sent, confirmed, [*found.inputs, *(lost.record for lost in found.lost)], wrong)
    unread = {_place(lost.record) for lost in found.lost if lost.processed is False}
    unsure = {_place(lost.record) for lost in found.lost if lost.processed is None}
    without = {p for p in truth if _of_record(p) in unread}
    perhaps = {p for p in truth if _of_record(p) in unsure}
    relevant = {
        place for place, s in truth.items() if s.text is not None and versions.relevant[s.text]
    }
    malformed = {place for place, s in truth.items() if s.reason is not None}

    alerts = _alerts(found.alerts, wrong)
    sources = [(_alert_id(alert), record) for alert, record in alerts]
    _compare("alert", sources, relevant - without, perhaps & relevant, wrong)
    for alert, record in alerts:
        if (source := _alert_id(alert)) in relevant:
            _check_alert(alert, record, truth[source], versions, promoted, wrong)

    dead = [(_source(record), record) for record in found.dead_letters]
    _compare("dead letter", dead, malformed - without, perhaps & malformed, wrong)
    for place, record in dead:
        if place in malformed:
            _check_dead_letter(place, record, truth[place], wrong)

    if dict(found.committed) != dict(found.ends):
        wrong.note("offsets", f"expected {dict(found.ends)} committed, got {dict(found.committed)}")
    if not found.settled:
        wrong.note("transaction", "one was never ended")
    wrong.note_all(
        "fault that left no trace in logs and metrics",
        (
            f"{fault.kind} at {datetime.fromtimestamp(fault.at, UTC):%H:%M:%S} UTC"
            for fault in silent(found.faults, found.traces)
        ),
    )
    came = {source for source, _ in sources} | {place for place, _ in dead}
    processed = truth.keys() - without - (perhaps - came)
    skipped = Counter(truth[p].skipped for p in processed if truth[p].skipped is not None)
    account = {
        # A record of several posts counts once for each.
        "consumed": len(processed),
        "alerts": len(found.alerts),
        "not relevant": len(processed - relevant - malformed) - skipped.total(),
        "other language": skipped["other language"],
        "notices": skipped["notice"],
        "dead letters": len(found.dead_letters),
    }
    for whose, counted in {"topics": account, **found.accounts}.items():
        consumed = counted["consumed"]
        if consumed != sum(counted.values()) - consumed:
            wrong.note(
                "conservation",
                f"{whose}: consumed = the sum of the others: {counted}",
            )
    wrong.note_all(
        "worker that ended as none should",
        (f"{end.member}, {end.cause}: {end.code}, {end.log}" for end in exits if not end.expected),
    )
    return Verdict(
        wrong.listed(),
        account,
        dict(Counter(_header(record, "triage-reason") for record in found.dead_letters)),
        dict(sorted(Counter(alert.model.version for alert, _ in alerts).items())),
        dict(Counter(_FATES[lost.processed] for lost in found.lost)),
        sorted(
            record.timestamp / 1000 - alert.source.timestamp.timestamp()
            for alert, record in alerts
            if alert.source.timestamp
        ),
    )


def _truth(
    sent: Mapping[bytes, Sent],
    confirmed: Mapping[bytes, tuple[int, int]],
    inputs: Sequence[Record],
    wrong: _Violations,
) -> dict[str, Sent]:
    """Return what was sent, by its place in the input topic. Check Kafka and the producer, too."""
    truth: dict[str, Sent] = {}
    # Expired records may come back when a broker dies, so that a fault takes them out again.
    places: dict[bytes, set[tuple[int, int, int]]] = {}
    for record in inputs:
        given = sent[record.key or b""]
        if (record.value, record.headers) != (given.value, given.headers):
            wrong.note("input changed by Kafka", _place(record))
        if given.posts:
            for index, post in enumerate(given.posts):
                truth[f"{_place(record)}.{index}"] = post
        else:
            truth[_place(record)] = given
        place = record.partition, record.offset, record.timestamp
        places.setdefault(given.key, set()).add(place)
    wrong.note_all(
        "input in Kafka twice", (key.decode() for key, where in places.items() if len(where) > 1)
    )
    wrong.note_all(
        "confirmed input not where it was confirmed",
        (
            f"{key.decode()} at {at}"
            for key, at in confirmed.items()
            if at not in {place[:2] for place in places.get(key, ())}
        ),
    )
    return truth


def _compare(
    what: str,
    got: Sequence[tuple[str, Record]],
    expected: set[str],
    optional: set[str],
    wrong: _Violations,
) -> None:
    """Compare what exists with what should exist, and report duplicates with their copies."""
    copies: dict[str, list[Record]] = {}
    for place, record in got:
        copies.setdefault(place, []).append(record)
    wrong.note_all(f"{what} missing", sorted(expected - optional - copies.keys()))
    wrong.note_all(f"{what} not expected", sorted(copies.keys() - expected - optional))
    wrong.note_all(
        f"{what} more than once",
        (
            f"{place} as "
            + " and ".join(f"{_place(record)}, {record.timestamp / 1000:.3f}" for record in records)
            for place, records in copies.items()
            if len(records) > 1
        ),
    )


def _alerts(records: Sequence[Record], wrong: _Violations) -> list[tuple[Alert, Record]]:
    alerts = []
    for record in records:
        try:
            alerts.append((decode_alert(record.value or b""), record))
        except RecordError as error:
            wrong.note("not an alert", f"{_place(record)}: {error}")
    return alerts


def _check_alert(
    alert: Alert,
    record: Record,
    given: Sent,
    versions: Versions,
    promoted: Collection[int],
    wrong: _Violations,
) -> None:
    said = (_alert_id(alert), alert.tweet.id, alert.tweet.text, record.key)
    expected = (alert.alert_id, given.identifier, given.text, given.key)
    if said != expected:
        wrong.note("alert of another tweet", f"expected {expected}, got {said}")
    if [h for h in record.headers if h[0] == TRACE] != [h for h in given.headers if h[0] == TRACE]:
        wrong.note("alert without its trace", f"{alert.alert_id}: {record.headers}")
    model = alert.model
    if model.version not in promoted or given.text is None:
        wrong.note("alert by a version that was not promoted", f"{alert.alert_id}: {model}")
        return
    scores = versions.scores[model.version]
    if (model.digest, alert.threshold) != (scores.digest, scores.threshold):
        wrong.note("alert by another bundle than it names", f"{alert.alert_id}: {model}")
    probability = versions.probability(model.version, given.text)
    if abs(alert.probability - probability) > TOLERANCE:
        wrong.note(
            "alert with a probability that its version does not give",
            f"{alert.alert_id}: expected {probability:.6f}, got {alert.probability:.6f}",
        )


def _check_dead_letter(place: str, record: Record, given: Sent, wrong: _Violations) -> None:
    """Check that a dead letter is the record as it was sent, with our headers after its own."""
    own = record.headers[: len(given.headers)]
    if (record.key, record.value, own) != (given.key, given.value, given.headers):
        wrong.note("dead letter changed", place)
    if any(not name.startswith("triage-") for name, _ in record.headers[len(own) :]):
        wrong.note("dead letter with strange headers", f"{place}: {record.headers}")
    reason = _header(record, "triage-reason")
    if reason != given.reason:
        wrong.note("dead letter for another reason", f"{place}: {given.reason}, got {reason}")


def _header(record: Record, name: str) -> str:
    return next(((value or b"").decode() for key, value in record.headers if key == name), "none")


def _alert_id(alert: Alert) -> str:
    """Return the id by its definition: the record's coordinates and timestamp."""
    source = alert.source
    moment = "0" if source.timestamp is None else f"{source.timestamp.timestamp() * 1000:.0f}"
    index = "" if source.index is None else f".{source.index}"
    return f"{source.topic}-{source.partition}-{source.offset}-{moment}{index}"


def _source(record: Record) -> str:
    names = ("topic", "partition", "offset", "timestamp")
    parts = (_header(record, f"triage-source-{name}") for name in names)
    index = _header(record, "triage-source-index")
    return "-".join(parts) + ("" if index == "none" else f".{index}")


def _place(record: Record) -> str:
    """Return where a record lies, and since when: another may take its offset after a fault."""
    return f"{record.topic}-{record.partition}-{record.offset}-{record.timestamp}"


def _of_record(place: str) -> str:
    """Return the place of the record that a post belongs to."""
    return re.sub(r"\.\d+$", "", place)

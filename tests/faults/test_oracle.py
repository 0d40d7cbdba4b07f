"""The oracle notices whatever is wrong; else its silence would mean nothing."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec
import numpy as np
import pytest

from tests.faults.group import Exit
from tests.faults.oracle import Found, Lost, Verdict, judge
from tests.faults.stream import Sent
from tests.faults.traces import TRACES, Done, Trace
from tests.faults.versions import Scores, Versions
from worker.kafka.records import Record
from worker.messages.alert import Alert, Model, Source, encode_alert, make_alert
from worker.messages.tweet import Tweet

TRACE = [("traceparent", b"00-1-2-01")]
VERSIONS = Versions(
    {
        1: Scores("one", 0.5, np.array([0.9, 0.1], np.float32)),
        2: Scores("two", 0.4, np.array([0.8, 0.2], np.float32)),
        3: Scores("three", 0.4, np.array([0.7, 0.2], np.float32)),
    },
    {"fire": True, "lol": False},
    {"fire": 0, "lol": 1},
)
SENT = {
    b"0": Sent(b"0", b"fire", [("n", b"0"), *TRACE], "fire"),
    b"1": Sent(b"1", b"lol", [("n", b"1")], "lol"),
    b"2": Sent(b"2", b"\xff", [("n", b"2")], reason="not_utf8"),
    b"3": Sent(b"3", b"never confirmed, never there", [], "fire"),
}


TIMESTAMP = 1_700_000_001_000
BEFORE = 1_700_000_000_000
NOW = datetime.fromtimestamp(1_700_000_000, UTC)
INPUTS = [
    Record("in", 0, number, BEFORE, sent.key, sent.value, sent.headers)
    for number, sent in enumerate(list(SENT.values())[:3])
]
ALERT = make_alert(
    Tweet("fire"),
    0.8,
    0.4,
    Model("LSTM", 2, "two"),
    Source("in", 0, 0, NOW),
    datetime.now(UTC),
)
ALERTED = Record("alerts", 0, 0, TIMESTAMP, b"0", encode_alert(ALERT), TRACE)
DEAD = Record(
    "dead",
    0,
    0,
    TIMESTAMP,
    b"2",
    b"\xff",
    [
        ("n", b"2"),
        ("triage-reason", b"not_utf8"),
        ("triage-source-topic", b"in"),
        ("triage-source-partition", b"0"),
        ("triage-source-offset", b"2"),
        ("triage-source-timestamp", str(BEFORE).encode()),
    ],
)
RIGHT = Found(INPUTS, [ALERTED], [DEAD], {0: 3}, {0: 3}, True, {})
TOPIC_ID = "0f6e2ed5-ee0c-44ef-b1c9-2b6bd9b1d3b7"
START = "worker-1 2026-11-30T22:48:16.164Z INFO triage-worker 0.1.0, commit unknown"
STOPPED = "worker-1 2026-11-30T22:48:26.106Z INFO stopped"
REBALANCED = "worker-4 triage_rebalances_total 2"
SCORING = "worker-2 2026-11-30T22:49:12.739Z INFO scoring with LSTM, version 2, on the CPU"
SAID = {
    "kill a worker": START,
    "terminate a worker": STOPPED,
    "freeze a worker": REBALANCED,
    "freeze a worker as another joins": REBALANCED,
    "supplant a worker": "worker-1 2026-11-30T22:49:21.401Z CRITICAL Kafka: deliver: Fenced"
    "InstanceIdError; another worker of the group has come with this TRIAGE_INSTANCE_ID",
    "kill brokers": "worker-2 triage_retries_total dependency=kafka, 1",
    "add partitions": "worker-2 triage_consumer_lag_records partition=3, topic=in, 0",
    "join": START,
    "leave": STOPPED,
    "promote": SCORING,
    "roll back": SCORING,
    "lose the registry": "worker-2 2026-11-30T22:48:32.887Z ERROR production: registry file:/x "
    "has no version or alias 'production'; scoring with version 1 meanwhile",
    "expire records": "worker-2 2026-11-30T22:49:10.089Z ERROR in, partition 3: 5 records were "
    "deleted before they were read; continuing at offset 7 instead of 2",
    "truncate a partition": "worker-2 2026-11-30T22:49:10.089Z ERROR in, partition 3: the "
    "partition ends before the position; Kafka has lost records; continuing at offset 688",
    "recreate the topic": "worker-2 2026-11-30T22:49:31.014Z INFO reading in with topic id "
    f"4L6g3nShT-eMCtK--X86sw/{TOPIC_ID}",
    "hang a transaction": "worker-2 triage_held_back_records partition=3, topic=in, 9",
}
"""What workers have said of each kind of fault, with version 2, and partition 3."""
CONFIRMED = {b"0": (0, 0), b"1": (0, 1), b"2": (0, 2)}


def verdict(
    found: Found,
    confirmed: dict[bytes, tuple[int, int]] = CONFIRMED,
    exits: Sequence[Exit] = (),
) -> Verdict:
    return judge(SENT, confirmed, found, VERSIONS, {1, 2}, exits)


def with_alert(change: Callable[[Alert], Alert]) -> Found:
    changed = msgspec.structs.replace(ALERTED, value=encode_alert(change(ALERT)))
    return msgspec.structs.replace(RIGHT, alerts=[changed])


def with_dead(**changes: object) -> Found:
    return msgspec.structs.replace(RIGHT, dead_letters=[msgspec.structs.replace(DEAD, **changes)])


def test_nothing_is_wrong_with_what_is_right() -> None:
    right = verdict(
        RIGHT,
        exits=[Exit("worker-1", "killed", -9, "log"), Exit("worker-1", "missing topic", 6, "log")],
    )
    assert right.violations == []
    assert right.account == {
        "consumed": 3,
        "alerts": 1,
        "not relevant": 1,
        "other language": 0,
        "notices": 0,
        "dead letters": 1,
    }
    assert right.by_reason == {"not_utf8": 1}
    assert right.by_version == {2: 1}
    assert right.latencies == [1.0]


def test_the_posts_of_a_record_end_one_by_one() -> None:
    posts = (
        Sent(b"4", None, [], "fire"),
        Sent(b"4", None, [], skipped="notice"),
        Sent(b"4", b"{}", [], reason="no_text"),
    )
    several = Sent(b"4", b"[]", [], posts=posts)
    foreign = Sent(b"5", b"hola", [], skipped="other language")
    inputs = [
        Record("in", 0, n, BEFORE, s.key, s.value, []) for n, s in enumerate((several, foreign))
    ]
    alert = msgspec.structs.replace(
        ALERT,
        alert_id="in-0-0-1700000000000.0",
        source=msgspec.structs.replace(ALERT.source, index=0),
    )
    dead = msgspec.structs.replace(
        DEAD,
        key=b"4",
        value=b"{}",
        headers=[
            ("triage-reason", b"no_text"),
            ("triage-source-topic", b"in"),
            ("triage-source-partition", b"0"),
            ("triage-source-offset", b"0"),
            ("triage-source-timestamp", str(BEFORE).encode()),
            ("triage-source-index", b"2"),
        ],
    )
    alerted = Record("alerts", 0, 0, TIMESTAMP, b"4", encode_alert(alert))
    found = Found(inputs, [alerted], [dead], {0: 2}, {0: 2}, True, {})
    sent = {b"4": several, b"5": foreign}
    right = judge(sent, {}, found, VERSIONS, {1, 2}, [])
    assert right.violations == []
    assert right.account == {
        "consumed": 4,
        "alerts": 1,
        "not relevant": 0,
        "other language": 1,
        "notices": 1,
        "dead letters": 1,
    }
    lost = msgspec.structs.replace(found, alerts=[])
    violations = judge(sent, {}, lost, VERSIONS, {1, 2}, []).violations
    assert any(f"alert missing: in-0-0-{BEFORE}.0" in violation for violation in violations)


def test_a_send_that_was_not_confirmed_may_have_succeeded() -> None:
    late = Record("in", 0, 3, TIMESTAMP, b"3", SENT[b"3"].value, [])
    found = msgspec.structs.replace(RIGHT, inputs=[*INPUTS, late], ends={0: 4}, committed={0: 4})
    assert [v.split(":")[0] for v in verdict(found).violations] == [
        "1 × alert missing",
        "1 × conservation",
    ]


@pytest.mark.parametrize(
    ("found", "what"),
    [
        (msgspec.structs.replace(RIGHT, alerts=[]), "alert missing: in-0-0"),
        (msgspec.structs.replace(RIGHT, alerts=[ALERTED, ALERTED]), "alert more than once: in-0-0"),
        (
            with_alert(lambda a: msgspec.structs.replace(a, source=Source("in", 0, 1, NOW))),
            "alert not expected: in-0-1",
        ),
        (
            with_alert(lambda a: msgspec.structs.replace(a, alert_id="in-0-0")),
            "alert of another tweet",
        ),
        (
            msgspec.structs.replace(RIGHT, alerts=[msgspec.structs.replace(ALERTED, value=b"{")]),
            "not an alert",
        ),
        (
            msgspec.structs.replace(RIGHT, alerts=[msgspec.structs.replace(ALERTED, key=b"1")]),
            "alert of another tweet",
        ),
        (
            msgspec.structs.replace(RIGHT, alerts=[msgspec.structs.replace(ALERTED, headers=[])]),
            "alert without its trace",
        ),
        (
            with_alert(lambda a: msgspec.structs.replace(a, probability=0.8002)),
            "alert with a probability that its version does not give",
        ),
        (
            with_alert(lambda a: msgspec.structs.replace(a, threshold=0.5)),
            "alert by another bundle than it names",
        ),
        (
            with_alert(lambda a: msgspec.structs.replace(a, model=Model("LSTM", 2, "three"))),
            "alert by another bundle than it names",
        ),
        (
            with_alert(lambda a: msgspec.structs.replace(a, model=Model("LSTM", 3, "three"))),
            "alert by a version that was not promoted",
        ),
        (msgspec.structs.replace(RIGHT, dead_letters=[]), "dead letter missing: in-0-2"),
        (
            msgspec.structs.replace(RIGHT, dead_letters=[DEAD, DEAD]),
            "dead letter more than once: in-0-2",
        ),
        (with_dead(value=b"\xfe"), "dead letter changed: in-0-2"),
        (with_dead(key=None), "dead letter changed: in-0-2"),
        (with_dead(headers=DEAD.headers[1:]), "dead letter changed: in-0-2"),
        (
            with_dead(headers=[*DEAD.headers, ("strange", b"")]),
            "dead letter with strange headers",
        ),
        (
            with_dead(headers=[h for h in DEAD.headers if h[0] != "triage-reason"]),
            "dead letter for another reason",
        ),
        (
            with_dead(headers=[*DEAD.headers[:-2], ("triage-source-offset", b"1")]),
            "dead letter not expected: in-0-1",
        ),
        (msgspec.structs.replace(RIGHT, committed={0: 2}), "offsets"),
        (msgspec.structs.replace(RIGHT, committed={}), "offsets"),
        (msgspec.structs.replace(RIGHT, settled=False), "transaction"),
        (
            msgspec.structs.replace(
                RIGHT, accounts={"worker-1": dict.fromkeys(("consumed", "alerts", "dead"), 1)}
            ),
            "conservation: worker-1",
        ),
        (
            msgspec.structs.replace(
                RIGHT, inputs=[*INPUTS, msgspec.structs.replace(INPUTS[0], offset=3)]
            ),
            "input in Kafka twice: 0",
        ),
        (
            msgspec.structs.replace(
                RIGHT, inputs=[msgspec.structs.replace(INPUTS[0], value=b"fir"), *INPUTS[1:]]
            ),
            "input changed by Kafka: in-0-0",
        ),
    ],
)
def test_what_is_wrong_is_noticed(found: Found, what: str) -> None:
    assert any(what in violation for violation in verdict(found).violations)


@pytest.mark.parametrize(
    ("processed", "alerts", "expected"),
    [
        (True, [ALERTED], []),
        (True, [], ["1 × alert missing", "1 × conservation"]),
        (False, [], []),
        (False, [ALERTED], ["1 × alert not expected", "1 × conservation"]),
        (None, [], []),
        (None, [ALERTED], []),
        (None, [ALERTED, ALERTED], ["1 × alert more than once", "1 × conservation"]),
    ],
)
def test_a_record_that_a_fault_took_out_has_its_fate(
    processed: bool | None, alerts: list[Record], expected: list[str]
) -> None:
    found = msgspec.structs.replace(
        RIGHT, inputs=INPUTS[1:], alerts=alerts, lost=[Lost(INPUTS[0], processed)]
    )
    assert [v.partition(":")[0] for v in verdict(found).violations] == expected


def test_a_record_that_takes_the_offset_of_a_lost_one_is_another() -> None:
    later = msgspec.structs.replace(INPUTS[0], timestamp=TIMESTAMP, key=b"3", value=b"lol")
    sent = SENT | {b"3": Sent(b"3", b"lol", SENT[b"0"].headers, "lol")}
    found = msgspec.structs.replace(
        RIGHT, inputs=[later, *INPUTS[1:]], lost=[Lost(INPUTS[0], processed=True)]
    )
    assert judge(sent, CONFIRMED, found, VERSIONS, {1, 2}, []).violations == []
    unread = msgspec.structs.replace(found, lost=[Lost(INPUTS[0], processed=False)])
    violations = judge(sent, CONFIRMED, unread, VERSIONS, {1, 2}, []).violations
    assert any("alert not expected" in violation for violation in violations)


@pytest.mark.parametrize("kind", TRACES)
def test_a_fault_without_its_trace_is_noticed(kind: str) -> None:
    trace = TRACES[kind].format(who="worker-1", partition=3, version=2, end=7, topic_id=TOPIC_ID)
    text, at = SAID[kind], NOW.timestamp()

    def violations(*traces: Trace, pattern: str | None = trace) -> list[str]:
        found = msgspec.structs.replace(
            RIGHT, faults=[Done(kind, at, at + 60, pattern)], traces=traces
        )
        return verdict(found).violations

    wrong = [f"1 × fault that left no trace in logs and metrics: {kind} at 22:13:20 UTC"]
    others = [Trace(at, other) for name, other in SAID.items() if other != text]
    assert violations() == wrong
    assert violations(*others) == wrong
    assert violations(Trace(at - 1, text), Trace(at + 61, text)) == wrong
    assert violations(*others, Trace(at + 30, text)) == []
    assert violations(pattern=None) == []


def test_a_confirmed_record_that_is_lost_is_noticed() -> None:
    violations = verdict(RIGHT, confirmed={**CONFIRMED, b"3": (0, 3)}).violations
    assert violations == ["1 × confirmed input not where it was confirmed: 3 at (0, 3)"]


@pytest.mark.parametrize(
    "end",
    [
        Exit("worker-1", "itself", 1, "log"),
        Exit("worker-1", "terminated", 6, "log"),
        Exit("worker-1", "terminated in vain", -6, "log"),
        Exit("worker-1", "supplanted", 0, "log"),
        Exit("worker-1", "missing topic", 0, "log"),
    ],
)
def test_a_strange_end_is_noticed(end: Exit) -> None:
    (violation,) = verdict(RIGHT, exits=[end]).violations
    assert "worker that ended as none should: worker-1" in violation

from itertools import islice

import numpy as np

from shared.bundle.load import Bundle
from tests.faults.malformed import MALFORMED
from tests.fuzz.records import inputs
from tests.fuzz.run import fuzz, violations
from worker.kafka.records import Message, Record
from worker.messages.dead_letter import make_dead_letter
from worker.triage import Outcome


def test_a_few_thousand_records_end_in_one_way_each(bundle: Bundle) -> None:
    report = fuzz(bundle, 4000, seed=1)
    assert report.violations == []
    assert report.outcomes.total() == report.consumed > 4000
    assert report.outcomes.keys() >= MALFORMED.keys() | {
        "alert",
        "not relevant",
        "other language",
        "notice",
    }
    assert report.outcomes["alert"] + report.outcomes["not relevant"] > 1000


def test_the_same_seed_gives_the_same_records() -> None:
    first, second = (list(islice(inputs(3), 200)) for _ in range(2))
    assert first == second
    assert first != list(islice(inputs(4), 200))


def input_of(value: bytes, offset: int) -> Record:
    return Record("tweets.raw", 0, offset, value=value)


def outcome(messages: list[Message], not_relevant: int) -> Outcome:
    nothing = np.empty(0, np.float32)
    consumed = len(messages) + not_relevant
    return Outcome(2, consumed, messages, [], not_relevant, 0, [], [], [], [], nothing, 0, 0)


def test_what_does_not_hold_is_told() -> None:
    tweet, broken = input_of(b"fire", 5), input_of(b"{", 6)
    error = ValueError("bad")
    dead = make_dead_letter("dead", broken, "invalid_json", error)
    changed = make_dead_letter("dead", broken, "wrong_type", error)
    both = [tweet, broken]
    assert list(violations(both, outcome([dead], 1))) == []
    for messages, not_relevant, told in (
        ([dead], 0, "1 ends and 0 counted of 1 for 2"),
        ([], 2, "not relevant, expected invalid_json"),
        ([dead, dead], 1, "invalid_json and invalid_json"),
        ([changed], 1, "wrong_type, expected invalid_json"),
        ([dead, make_dead_letter("dead", tweet, "no_text", error)], 0, "expected a score"),
    ):
        assert any(told in said for said in violations(both, outcome(messages, not_relevant)))
    other = make_dead_letter("dead", input_of(b"other", 6), "invalid_json", error)
    (said,) = violations(both, outcome([other], 1))
    assert "does not hold its record" in said

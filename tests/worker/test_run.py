"""The loop goes round, waits, pauses, reloads and stops, with twins of Kafka in memory."""

import itertools
import logging
import threading
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from shared.errors import DependencyError, UnavailableError
from tests.worker.in_memory import TOPIC, InMemorySink, InMemorySource
from worker.kafka.records import Lag, Message, PositionReset, Record
from worker.ops.health import Health
from worker.ops.metrics import Metrics
from worker.run import DeadLetterShare, Loop, Sink, Source, note_position_reset
from worker.settings import Settings
from worker.triage import Outcome

BAD = b"bad"
"""A value that becomes a dead letter."""


class FakeTriage:
    """Every record is published with this name, and those with `BAD` are dead letters.

    Args:
        most: records that it decides about at a time.
        failures: errors that the next calls raise, one each.
    """

    threshold = 0.5

    def __init__(self, name: str = "first", most: int = 1 << 20) -> None:
        self.name, self.most = name, most
        self.failures: list[Exception] = []

    def __call__(self, records: Sequence[Record]) -> Outcome:
        if self.failures:
            raise self.failures.pop(0)
        records = records[: self.most]
        messages = [
            Message("out", None, record.value, [("by", self.name.encode())]) for record in records
        ]
        dead = [record for record in records if record.value == BAD]
        good = len(records) - len(dead)
        texts, probabilities = ["text"] * good, np.zeros(good, np.float32)
        reasons = ["invalid_json"] * len(dead)
        return Outcome(
            *(len(records), len(records), messages, [], good, 0, []),
            *(reasons, [], texts, probabilities, 0, 0),
        )


class Stop(threading.Event):
    """An event that nobody has to wait for; notes for how long it would have been waited for.

    Attributes:
        during: called in each wait.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []
        self.during: Callable[[], None] = lambda: None

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits.append(timeout)
        self.during()
        return self.is_set()


class Worker:
    """A loop with all that it is given; it stops when the source is empty."""

    def __init__(self, values: Sequence[bytes] = (), **settings: object) -> None:
        self.stop = Stop()
        self.source = InMemorySource(values, self.stop.set)
        self.sink = InMemorySink(self.source)
        self.health = Health(60)
        self.metrics = Metrics(self.health)
        self.triage = FakeTriage()
        self.reloads: list[FakeTriage | None] = []
        self.settings = Settings(**settings)  # type: ignore[arg-type]
        self.check_topics: Callable[[], None] = lambda: None

    def run(self) -> None:
        source: Source = self.source  # the twins keep the protocols
        sink: Sink = self.sink
        Loop(
            self.settings,
            source,
            sink,
            lambda: self.triage,
            lambda: self.reloads.pop(0) if self.reloads else None,
            self.metrics,
            self.health,
            self.stop,
            lambda: self.check_topics(),
        ).run()

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"triage_{name}", labels) or 0.0

    def published(self) -> list[bytes | None]:
        return [message.value for message in self.sink.published]

    def published_by(self) -> list[str]:
        """Return the name of the triage that decided each message, without repetitions."""
        by = [message.headers[0][1].decode() for message in self.sink.published]
        return [name for name, _ in itertools.groupby(by)]


def values(count: int) -> list[bytes]:
    return [b"%d" % n for n in range(count)]


def away(text: str = "Kafka is away") -> UnavailableError:
    return UnavailableError(text)


def test_every_record_is_delivered_once_in_batches() -> None:
    worker = Worker(values(2500), batch_size=1000)
    worker.run()
    assert worker.published() == values(2500)
    assert worker.sink.batches == [1000, 1000, 500]
    assert worker.source.committed == 2500
    assert worker.value("tweets_consumed_total") == 2500
    assert worker.value("tweets_not_relevant_total") == 2500
    assert worker.value("transactions_total", result="committed") == 3
    assert worker.health.not_ready() is None


def test_it_is_ready_only_as_a_member() -> None:
    worker = Worker(values(1))
    worker.source.joined = False
    worker.run()
    assert worker.health.not_ready() == "group: it joins tweet-triage"


def test_it_waits_longer_each_time_and_says_for_what() -> None:
    worker = Worker(values(3))
    worker.source.failures = [away() for _ in range(9)]  # while it connects
    seen: list[str | None] = []
    worker.stop.during = lambda: seen.append(worker.health.not_ready())
    worker.run()
    assert worker.published() == values(3)
    assert seen == ["worker: it is starting\nkafka: Kafka is away"] * 9
    assert worker.health.not_healthy() is None
    assert worker.value("retries_total", dependency="kafka") == 9
    nominal = [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0, 10.0]
    for waited, most in zip(worker.stop.waits, nominal, strict=True):
        assert most / 2 <= waited <= most
    assert worker.health.not_ready() is None


def test_topics_are_looked_for_before_the_bundle_is_loaded() -> None:
    worker = Worker()

    def no_topic() -> None:
        raise DependencyError("Kafka has no topic")

    worker.check_topics = no_topic
    worker.triage = None  # type: ignore[assignment]  # it is not asked for
    with pytest.raises(DependencyError, match="no topic"):
        worker.run()
    assert worker.source.calls == []


def test_a_failed_delivery_comes_again_and_nothing_twice() -> None:
    worker = Worker(values(30), batch_size=10)
    worker.sink.failures = [away(), away()]
    worker.run()
    assert worker.published() == values(30)
    assert worker.value("transactions_total", result="aborted") == 2
    assert worker.value("transactions_total", result="committed") == 3
    assert worker.sink.connected == 3  # at the start, and after each failure
    assert worker.source.calls.count("rewind") == 2


def test_a_sink_that_cannot_start_anew_is_waited_for() -> None:
    worker = Worker(values(5))

    def refuse_twice() -> None:
        if len(worker.stop.waits) == 1:
            worker.sink.refused = [away("no broker"), away("no broker")]

    worker.sink.failures = [away()]
    worker.stop.during = refuse_twice
    worker.run()
    assert worker.published() == values(5)
    assert worker.value("retries_total", dependency="kafka") == 3


def test_the_back_off_starts_anew_after_a_delivery() -> None:
    worker = Worker(values(20), batch_size=10)
    worker.sink.failures = [away(), away()]
    worker.run()
    before = len(worker.stop.waits)
    worker.stop.clear()
    worker.source.append(values(10))
    worker.sink.failures = [away()]
    worker.run()
    assert worker.stop.waits[before] <= 0.2


def test_a_failure_that_is_hopeless_ends_it() -> None:
    worker = Worker(values(5))
    worker.sink.failures = [DependencyError("no permission")]
    with pytest.raises(DependencyError, match="no permission"):
        worker.run()
    assert worker.source.committed == 0


def test_a_batch_for_which_there_is_no_memory_comes_again() -> None:
    worker = Worker(values(5))
    worker.triage.failures = [away("no memory")]
    worker.run()
    assert worker.published() == values(5)
    assert worker.value("retries_total", dependency="memory") == 1


def test_a_fault_of_a_step_ends_it_without_a_commit() -> None:
    worker = Worker(values(5))
    worker.triage.failures = [ValueError("a fault")]
    with pytest.raises(ValueError, match="a fault"):
        worker.run()
    assert worker.source.committed == 0


def test_what_a_triage_leaves_comes_with_the_next_batch() -> None:
    worker = Worker(values(10))
    worker.triage.most = 4
    worker.run()
    assert worker.published() == values(10)
    assert worker.sink.batches == [4, 4, 2]


def test_a_bundle_is_taken_between_two_batches() -> None:
    worker = Worker(values(50), batch_size=10)
    second = FakeTriage("second")
    worker.reloads = [None, None, second, None, FakeTriage("third")]
    worker.run()
    assert worker.published() == values(50)
    assert worker.published_by() == ["first", "second", "third"]
    by = [message.headers[0][1] for message in worker.sink.published]
    assert [by.count(name) for name in (b"first", b"second", b"third")] == [20, 20, 10]


def test_a_stop_finishes_the_batch_at_hand() -> None:
    worker = Worker(values(30), batch_size=10)
    triage = worker.triage

    class Stopping(FakeTriage):
        def __call__(self, records: Sequence[Record]) -> Outcome:
            worker.stop.set()
            return triage(records)

    worker.triage = Stopping()
    worker.run()
    assert worker.published() == values(10)
    assert worker.source.committed == 10


def test_a_stop_ends_a_wait() -> None:
    worker = Worker(values(5))
    worker.source.failures = [away() for _ in range(100)]
    worker.stop.during = worker.stop.set
    worker.run()
    assert len(worker.stop.waits) == 1
    assert worker.published() == []


def test_a_topic_of_garbage_is_not_drained() -> None:
    worker = Worker([BAD] * 5000, batch_size=100)
    paused: list[tuple[int, str | None]] = []

    def pause() -> None:
        paused.append((worker.source.committed, worker.health.not_ready()))
        if len(paused) == 3:
            worker.stop.set()

    worker.stop.during = pause
    worker.run()
    assert [committed for committed, _ in paused] == [1000, 1020, 1040]  # 20 at a time
    assert paused[0][1] == (
        "records: 1000 of the last 1000 records were dead letters (invalid_json 100%), "
        "TRIAGE_DEAD_LETTER_LIMIT=0.5"
    )
    assert worker.health.not_healthy() is None
    assert worker.value("dead_letters_total", reason="invalid_json") == 1040


def test_it_goes_on_when_the_garbage_ends() -> None:
    worker = Worker([BAD] * 1000 + values(500), batch_size=100)
    worker.run()
    assert worker.published() == [BAD] * 1000 + values(500)
    assert worker.sink.batches == [100] * 10 + [20] + [100] * 4 + [80]
    assert worker.health.not_ready() is None


def test_the_share_is_judged_batch_by_batch_once_it_is_exceeded() -> None:
    share = DeadLetterShare(0.5)
    for records, dead, exceeded in (
        (999, 999, False),  # too few to judge
        (1, 1, True),
        (20, 11, True),
        (20, 10, False),
        (980, 490, False),
        (20, 20, True),
    ):
        share.add(records, ["invalid_json"] * dead)
        assert share.exceeded == exceeded, (records, dead)


def test_a_pause_names_the_reasons_with_their_shares() -> None:
    share = DeadLetterShare(0.5)
    share.add(600, ["no_text"] * 400 + ["not_utf8"] * 50)
    share.add(400, ["no_text"] * 200)
    assert share.exceeded
    said = "650 of the last 1000 records were dead letters (no_text 60%, not_utf8 5%)"
    assert str(share) == said


def test_lag_is_measured_and_a_broker_that_is_away_is_said() -> None:
    now = itertools.count(0, 6)
    worker = Worker(values(300), batch_size=100)
    loop = Loop(
        *(worker.settings, worker.source, worker.sink, lambda: worker.triage, lambda: None),
        *(worker.metrics, worker.health, worker.stop),
        clock=lambda: next(now),
    )
    lags: list[float] = []
    triage = worker.triage

    class Looking(FakeTriage):
        def __call__(self, records: Sequence[Record]) -> Outcome:
            lag = worker.metrics.registry.get_sample_value(
                "triage_consumer_lag_records", {"topic": TOPIC, "partition": "0"}
            )
            lags.append(-1 if lag is None else lag)
            return triage(records)

    worker.triage = Looking()
    loop.run()
    assert lags == [300, 200, 100]


def test_a_member_in_reserve_does_not_reset_the_back_off() -> None:
    worker = Worker(values(1))
    worker.source.lag = dict  # type: ignore[method-assign]
    worker.sink.failures = [away() for _ in range(4)]
    worker.run()
    assert worker.stop.waits[-1] >= 0.8


def run_with_lag_each_round(worker: Worker) -> None:
    now = itertools.count(0, 6)
    Loop(
        *(worker.settings, worker.source, worker.sink, lambda: worker.triage, lambda: None),
        *(worker.metrics, worker.health, worker.stop),
        clock=lambda: next(now),
    ).run()


@pytest.mark.parametrize("lags", [{}, {(TOPIC, 0): Lag(0)}], ids=["in reserve", "idle"])
def test_an_answer_about_lag_does_not_reset_the_back_off(lags: dict[tuple[str, int], Lag]) -> None:
    worker = Worker()

    def receive(timeout: float, max_records: int) -> None:
        raise away(f"no coordinator within {timeout} s for {max_records}")

    worker.source.receive = receive  # type: ignore[method-assign]
    worker.source.lag = lambda: lags  # type: ignore[method-assign]
    worker.stop.during = lambda: worker.stop.set() if len(worker.stop.waits) == 7 else None
    run_with_lag_each_round(worker)
    assert worker.stop.waits[-1] >= 5
    assert (worker.health.not_ready() or "").startswith("kafka: no coordinator")


def test_a_topic_that_is_gone_is_logged_once_until_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    worker = Worker()
    rounds: list[str | None] = []

    def lag() -> dict[tuple[str, int], Lag]:
        rounds.append(worker.health.not_ready())
        if len(rounds) <= 5:
            raise away("no topic")
        return {}

    def receive(timeout: float, max_records: int) -> None:
        assert timeout + max_records > 0
        if len(rounds) == 8:
            worker.stop.set()

    worker.source.receive = receive  # type: ignore[method-assign]
    worker.source.lag = lag  # type: ignore[method-assign]
    with caplog.at_level(logging.WARNING, "triage"):
        run_with_lag_each_round(worker)
    assert rounds == [None, *["kafka: no topic"] * 5, None, None]
    assert caplog.messages == ["no topic; trying again"]
    assert worker.value("retries_total", dependency="kafka") == 5


def test_what_a_transaction_holds_back_is_measured_and_does_not_wait() -> None:
    worker = Worker()
    worker.source.lag = lambda: {(TOPIC, 1): Lag(111, 111)}  # type: ignore[method-assign]
    worker.run()
    labels = {"topic": TOPIC, "partition": "1"}
    assert worker.value("consumer_lag_records", **labels) == 111
    assert worker.value("held_back_records", **labels) == 111
    assert worker.health.not_ready() is None


@pytest.mark.parametrize(
    ("reset", "skipped", "text"),
    [
        (PositionReset("expired", "t", 3, 10, 60), 50, "50 records were deleted before they were"),
        (PositionReset("truncated", "t", 3, 60, 10), 0, "the partition ends before the position"),
        (PositionReset("recreated", "t", 3, 60, 0), 0, "the topic was deleted and created again"),
        (PositionReset("uncommitted", "t", 3, None, 10), 0, "offsets.retention.minutes has passed"),
    ],
)
def test_a_position_that_kafka_lost_is_counted_and_logged(
    caplog: pytest.LogCaptureFixture, reset: PositionReset, skipped: int, text: str
) -> None:
    worker = Worker()
    with caplog.at_level(logging.WARNING, "triage"):
        note_position_reset(worker.metrics, reset)
    assert worker.value("position_resets_total", cause=reset.cause) == 1
    assert worker.value("skipped_records_total") == skipped
    (message,) = caplog.messages
    assert message.startswith("t, partition 3: ")
    assert text in message
    instead = "" if reset.old is None else f" instead of {reset.old}"
    assert message.endswith(f"; continuing at offset {reset.new}{instead}")

"""Traces: what each kind of fault must leave in the workers' logs or metrics."""

import re
from collections.abc import Iterable, Sequence

import msgspec

TRACES = {
    "kill a worker": r"^{who} \S+ INFO triage-worker ",
    "terminate a worker": r"^{who} \S+ INFO stopped",
    "freeze a worker": r" triage_rebalances_total [1-9]",
    "freeze a worker as another joins": r" triage_rebalances_total [1-9]",
    "supplant a worker": r"^{who} \S+ CRITICAL .* another worker of the group has come",
    "kill brokers": r" triage_retries_total dependency=kafka,| alerts later than ",
    "add partitions": r" triage_consumer_lag_records.*partition={partition},",
    "join": r"^{who} \S+ INFO triage-worker ",
    "leave": r"^{who} \S+ INFO stopped",
    "promote": r" INFO scoring with .*, version {version},",
    "roll back": r" INFO scoring with .*, version {version},",
    "lose the registry": r" ERROR production: .*; scoring with version \d+ meanwhile",
    # A group that has not committed yet cannot know how many records there were.
    "expire records": r", partition {partition}: (\d+ records were deleted before they were read|"
    r"the group has no commit|the topic was deleted and created again)"
    r".*; continuing at offset {end}\b",
    "truncate a partition": r", partition {partition}: the partition ends before the position",
    # A worker that starts while the new topic is empty cannot know that there was another one.
    "recreate the topic": r" reading \S+ with topic id \S+/{topic_id}$",
    "hang a transaction": r" triage_held_back_records.*partition={partition},.* [1-9]",
}
"""The pattern of a trace by kind. A killed worker's trace is the start of its next process."""


class Trace(msgspec.Struct, frozen=True):
    """A line that a worker logged, or a metric of it that changed.

    Attributes:
        at: seconds since 1970.
        text: the worker's name, then the line, or the metric's name, labels and value.
    """

    at: float
    text: str


class Done(msgspec.Struct, frozen=True):
    """A fault that was done.

    Attributes:
        at: when it began, in seconds since 1970.
        until: when it must have left a trace.
        trace: the pattern of a trace; None if it delays and loses nothing, and may leave none.
    """

    kind: str
    at: float
    until: float
    trace: str | None

    def shows_in(self, traces: Iterable[Trace]) -> bool:
        """Return whether one of the traces is of this fault."""
        if self.trace is None:
            return True
        search = re.compile(self.trace).search
        # Times in logs are rounded down to milliseconds.
        return any(self.at - 0.001 <= t.at <= self.until and search(t.text) for t in traces)


def silent(done: Iterable[Done], traces: Sequence[Trace]) -> list[Done]:
    """Return the faults that have left no trace."""
    return [fault for fault in done if not fault.shows_in(traces)]

"""Group: the workers as processes, under an orchestrator that starts anew whoever ends.

It does what Kubernetes would: it restarts who has ended and whose /healthz fails, and kills who
does not end within a time of grace.
"""

import math
import re
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from tests.faults.traces import Trace
from tests.kafka.processes import Worker

_GRACE = 60.0
"""Seconds between SIGTERM and the end by force, as in the Kubernetes manifests of the worker."""
_PROBE_EVERY = 5.0
_TIME = re.compile(r"^(\S+Z) ")
_RESET = re.compile(r"partition (\d+): (.*); continuing at offset (\d+)(?: instead of (\d+))?$")
_OBSERVED = (
    "triage_rebalances_total",
    "triage_retries_total",
    "triage_consumer_lag_records",
    "triage_held_back_records",
    "triage_record_to_alert_seconds_bucket",
)
"""The metrics whose changes are traces."""
_LATE = "2.5"
"""Seconds after which an alert is late, as its histogram's bucket says it."""
_REFUSED = re.compile("Kafka: deliver: .*(UnknownMemberId|IllegalGeneration|Fenced)")

Cause = Literal[
    "killed",
    "terminated",
    "terminated in vain",
    "unhealthy",
    "supplanted",
    "missing topic",
    "itself",
    "run's end",
]


class Exit(msgspec.Struct, frozen=True):
    """How a process ended.

    Attributes:
        cause: what was done to it, or `itself` if nothing was.
        code: the exit code, negative for a signal.
        log: of the process.
    """

    member: str
    cause: Cause
    code: int
    log: str

    @property
    def expected(self) -> bool:
        """Whether a worker should end so."""
        codes = {"killed": {-9}, "unhealthy": {0, -6}, "supplanted": {6}, "run's end": {0}}
        codes["missing topic"] = {6}
        codes["terminated"] = {0, -signal.SIGTERM}  # by the signal, before it had begun
        return self.code in codes.get(self.cause, ())


class Reset(msgspec.Struct, frozen=True):
    """What a worker says of a position that Kafka did not have.

    Attributes:
        at: when, in seconds since 1970.
        old, new: offsets of the next record to read; old is 0 without a commit for this topic.
    """

    at: float
    partition: int
    old: int
    new: int


class _Process:
    """One life of a member."""

    def __init__(self, member: str, log: Path, environment: dict[str, str]) -> None:
        self.member = member
        self.log = log
        self.worker = Worker(environment, log)
        self.state: Literal["runs", "frozen", "ends"] = "runs"
        self.cause: Cause = "itself"
        self.leaves = False
        self.deadline = float("inf")
        self.observed: dict[str, float] = {}

    def consumes(self) -> bool:
        return "consuming" in self.worker.log()

    def signal(self, number: signal.Signals) -> None:
        self.worker.process.send_signal(number)


class Group:
    """The members, named worker-1 and so on. Every other one is a static member, by its name.

    Args:
        environment: of the processes.
        folder: takes a log a process, such as `worker-1.2.log` for the first member's second.
        patience: seconds that a process may need to start.
        say: is told of an end that nothing was done for.

    Attributes:
        exits: of all processes that have ended.
        topic_may_be_missing_until: when workers that start must find the topic, by the monotonic
            clock.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        folder: Path,
        patience: float,
        say: Callable[[str], object],
    ) -> None:
        self._environment = {**environment, "PYTHONFAULTHANDLER": "1"}
        self._folder = folder
        self._patience = patience
        self._say = say
        self._members: dict[str, _Process] = {}
        self._supplanted: list[_Process] = []
        self._lives: dict[str, int] = {}
        self._next_probe = time.monotonic() + _PROBE_EVERY
        self._traces: list[Trace] = []
        self._read: dict[Path, int] = {}  # how much of each log
        self.exits: list[Exit] = []
        self.topic_may_be_missing_until = -math.inf

    def running(self) -> list[str]:
        """Return the members without a fault at present, in order of joining."""
        return [name for name, process in self._members.items() if process.state == "runs"]

    def consumes(self, name: str) -> bool:
        """Return whether a member has started and has no fault at present."""
        return name in self.running() and self._members[name].consumes()

    def settle(self) -> None:
        """Wait until every member has joined the group and no supplanted process is left.

        A static member is told by Kafka that it is supplanted, but kafka-python does not say so
        before it delivers something. So records have to flow meanwhile.

        Raises:
            AssertionError: if it takes too long.
        """
        self._wait_for(lambda: all(process.consumes() for process in self._members.values()))
        for process in self._supplanted:
            self._bound(process)
        self._wait_for(lambda: not self._supplanted)

    def join(self) -> str:
        """Start a new member, and return its name."""
        name = f"worker-{len(self._lives) + 1}"
        self._start(name)
        return name

    def kill(self, name: str) -> None:
        """Kill a member, as a power cut would. It is restarted."""
        process = self._members[name]
        process.state, process.cause = "ends", "killed"
        process.signal(signal.SIGKILL)

    def terminate(self, name: str, cause: Cause = "terminated", *, leave: bool = False) -> None:
        """Ask a member to stop. It is restarted unless it is to leave."""
        process = self._members[name]
        process.state, process.cause, process.leaves = "ends", cause, leave
        self._bound(process)
        process.signal(signal.SIGTERM)

    def freeze(self, name: str) -> None:
        """Suspend a member's process at any point of its work."""
        self._members[name].state = "frozen"
        self._members[name].signal(signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """Resume a frozen member."""
        self._members[name].signal(signal.SIGCONT)
        self._members[name].state = "runs"

    def is_supplanted(self, name: str) -> bool:
        """Return whether a process that was supplanted still runs."""
        return any(process.member == name for process in self._supplanted)

    def has_others_that_read(self) -> bool:
        """Return whether a process reads that is not among `running`.

        It is about to end, or its successor has not joined yet.
        """
        ending = (process.state == "ends" for process in self._members.values())
        return any(ending) or any(process.state != "frozen" for process in self._supplanted)

    def can_be_supplanted(self, name: str) -> bool:
        """Return whether this is a static member that has joined the group."""
        return _is_static(name) and self._members[name].consumes()

    def supplant(self, name: str) -> Callable[[], None]:
        """Freeze a static member and start another process with its instance id.

        Returns:
            What lets the frozen one go on, which is to find out that it is a member no more.
        """
        old = self._members[name]
        old.state, old.cause, old.leaves = "frozen", "supplanted", True
        old.signal(signal.SIGSTOP)
        self._supplanted.append(old)
        self._start(name)

        def wake() -> None:
            old.signal(signal.SIGCONT)
            old.state = "runs"

        return wake

    def tend(self) -> None:
        """Record who has ended, restart members, and abort those past their deadline."""
        for process in [*self._members.values(), *self._supplanted]:
            code = process.worker.process.poll()
            if code is not None:
                self._bury(process, code)
            elif time.monotonic() > process.deadline:
                if process.cause != "unhealthy":
                    process.cause = "terminated in vain"
                process.deadline = float("inf")
                process.signal(signal.SIGABRT)  # its log says then where it stood
        if time.monotonic() > self._next_probe:
            self._probe()
            self._next_probe = time.monotonic() + _PROBE_EVERY

    def accounts(self) -> dict[str, dict[str, int]]:
        """Return each member's own counts: what it consumed and how that ended."""
        accounts = {}
        for name in self.running():
            found = self._members[name].worker.metrics()
            accounts[name] = {
                "consumed": int(found["triage_tweets_consumed_total"]),
                "alerts": int(found["triage_alerts_total"]),
                "not relevant": int(found["triage_tweets_not_relevant_total"]),
                "other language": int(found["triage_other_language_total"]),
                "notices": int(found["triage_skipped_notices_total"]),
                "dead letters": int(found.get("triage_dead_letters_total", 0)),
            }
        return accounts

    def traces(self) -> list[Trace]:
        """Return all that the workers have logged, and how their metrics have changed."""
        for log in sorted(self._folder.glob("worker-*.log")):
            with log.open("rb") as file:
                file.seek(self._read.get(log, 0))
                new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._read[log] = self._read.get(log, 0) + len(whole)
            member = log.name.partition(".")[0]
            for line in whole.decode().split("\n"):
                if (at := _TIME.match(line)) is not None:
                    seconds = datetime.fromisoformat(at[1]).timestamp()
                    self._traces.append(Trace(seconds, f"{member} {line}"))
        return self._traces

    def resets(self) -> list[Reset]:
        """Return all the positions that workers say they have moved."""
        found = [(trace.at, _RESET.search(trace.text)) for trace in self.traces()]
        return [
            Reset(
                at, int(m[1]), int(m[4]) if "created again" not in m[2] and m[4] else 0, int(m[3])
            )
            for at, m in found
            if m is not None
        ]

    def refused(self) -> int:
        """Count how often delivery was refused to a member that had lost its partitions or id."""
        logs = self._folder.glob("worker-*.log")
        return sum(len(_REFUSED.findall(log.read_text())) for log in logs)

    def end(self) -> None:
        """Stop all members, and wait until they have ended."""
        for name, process in self._members.items():
            if process.state != "ends":
                self.terminate(name, "run's end")
            process.leaves = True
        self._wait_for(lambda: not self._members)

    def kill_all(self) -> None:
        """Kill all members after the run itself has failed."""
        for process in [*self._members.values(), *self._supplanted]:
            process.signal(signal.SIGKILL)
            process.worker.process.wait()

    def _wait_for(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + self._patience
        while not condition():
            assert time.monotonic() < deadline, "the group does not do as it is told"
            self.tend()
            time.sleep(0.05)

    def _start(self, name: str) -> None:
        self._lives[name] = life = self._lives.get(name, 0) + 1
        environment = dict(self._environment)
        if _is_static(name):
            environment["TRIAGE_INSTANCE_ID"] = name
        self._members[name] = _Process(name, self._folder / f"{name}.{life}.log", environment)

    def _bound(self, process: _Process) -> None:
        grace = _GRACE if process.consumes() else self._patience  # imports heed no signal
        process.deadline = time.monotonic() + grace

    def _bury(self, process: _Process, code: int) -> None:
        if (
            code == 6
            and time.monotonic() < self.topic_may_be_missing_until
            and process.cause in ("itself", "terminated")
            and "has no topic" in process.worker.log()
        ):
            process.cause = "missing topic"
        end = Exit(process.member, process.cause, code, str(process.log))
        self.exits.append(end)
        if not end.expected:
            self._say(f"{end.member} ended with {code}, {end.cause}: {end.log}")
        if process in self._supplanted:
            self._supplanted.remove(process)
        elif process.leaves:
            del self._members[process.member]
        else:
            self._start(process.member)

    def _probe(self) -> None:
        """Look at the pages of all processes that have started, also of supplanted ones."""
        for process in [*self._members.values(), *self._supplanted]:
            # As with a startup probe: imports keep the loop from turning.
            if process.state != "runs" or not process.consumes():
                continue
            pages = re.findall(r"http://\S+(?=/metrics)", process.worker.log())
            try:
                with urllib.request.urlopen(f"{pages[-1]}/metrics", timeout=2) as page:
                    self._observe(process, page.read().decode())
                urllib.request.urlopen(f"{pages[-1]}/healthz", timeout=2).close()
            except urllib.error.HTTPError as error:
                with error:
                    self._say(f"{process.member} is not healthy: {error.read().decode()}")
                if process not in self._supplanted:
                    self.terminate(process.member, "unhealthy")
            except OSError:  # it has just ended, or has no time
                continue

    def _observe(self, process: _Process, page: str) -> None:
        """Note the metrics that have changed since the last look at this process."""
        now: dict[str, float] = {}
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                if sample.name not in _OBSERVED:
                    continue
                if sample.name == "triage_record_to_alert_seconds_bucket":
                    sign = {_LATE: -1, "+Inf": 1}.get(sample.labels["le"], 0)
                    late = f"alerts later than {_LATE} s:"
                    now[late] = now.get(late, 0) + sign * sample.value
                else:
                    labels = "".join(f" {k}={v}," for k, v in sorted(sample.labels.items()))
                    now[f"{sample.name}{labels}"] = sample.value
        at = time.time()
        for name, value in now.items():
            before = process.observed.get(name, 0 if name.startswith("alerts") else None)
            if value != before:
                self._traces.append(Trace(at, f"{process.member} {name} {value:g}"))
        process.observed = now


def _is_static(name: str) -> bool:
    return int(name.rpartition("-")[2]) % 2 == 0

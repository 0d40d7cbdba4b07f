"""Faults: what is done to a run, when, and for how long; all of it follows from the seed."""

import heapq
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count

import msgspec
from kafka.errors import KafkaError

from shared.registry.folder import FolderRegistry
from tests.faults.cluster import Cluster
from tests.faults.group import Group

KINDS = (
    "kill a worker",
    "terminate a worker",
    "freeze a worker",
    "freeze a worker as another joins",
    "supplant a worker",
    "kill brokers",
    "add partitions",
    "join",
    "leave",
    "promote",
    "roll back",
    "lose the registry",
)
_ZOMBIES = ("freeze a worker", "freeze a worker as another joins", "supplant a worker")
"""Who is met wakes up after its session, and has to find out what has become of its partitions."""
_EVERY = 4.9
"""Seconds from a fault to the next, on average: a round of all kinds takes just under a minute."""
_FEWEST, _MOST = 2, 5
"""Members of the group."""
_REBALANCE = 0.4
"""Seconds that the others may take to join once a new member does."""


class Fault(msgspec.Struct, frozen=True):
    """What is to be done.

    Attributes:
        at: seconds from the beginning.
        pick: from 0 to 1, says whom it meets among those that are there then.
        extent: how many brokers or partitions.
        lasts: seconds until it is mended.
    """

    at: float
    kind: str
    pick: float
    extent: int
    lasts: float


def plan(choose: random.Random, seconds: float, session: float) -> list[Fault]:
    """Return a run's faults by time: rounds of all kinds, each in its own order.

    Args:
        seconds: how long the run is.
        session: of the group's members, in seconds; who is frozen is so for longer.
    """
    faults: list[Fault] = []
    while _EVERY * len(faults) < seconds:
        kinds = list(KINDS)
        choose.shuffle(kinds)
        for kind in kinds:
            at = _EVERY * (len(faults) + choose.uniform(0.1, 0.9))
            extent = choose.choices((1, 2, 3), (6, 3, 1))[0]
            lasts = choose.uniform(0, 10) + (session + 1 if kind in _ZOMBIES else 0)
            faults.append(Fault(at, kind, choose.random(), extent, lasts))
    return [fault for fault in faults if fault.at < seconds]


class Faults:
    """Does what a plan says, and mends each fault when it is over.

    Args:
        say: is told what is done.

    Attributes:
        done: how often each kind was; a fault that met nobody does not count.
    """

    def __init__(
        self,
        cluster: Cluster,
        group: Group,
        registry: FolderRegistry,
        say: Callable[[str], object],
    ) -> None:
        self._kafka = cluster.kafka
        self._cluster = cluster
        self._group = group
        self._registry = registry
        self._registry_is_away = False
        self._say = say
        self._mending: list[tuple[float, int, Callable[[], None]]] = []
        self._joining: list[tuple[str, float, Callable[[], None]]] = []
        self._order = count()
        self.done = dict.fromkeys(KINDS, 0)

    def run(self, faults: Sequence[Fault], seconds: float) -> None:
        """Cause all faults, then undo those that are still in force."""
        begun = time.monotonic()
        coming = list(reversed(faults))
        while time.monotonic() < begun + seconds:
            if coming and time.monotonic() > begun + coming[-1].at:
                self._meet(coming.pop())
            self._look_who_joins()
            self._mend(time.monotonic())
            self._group.tend()
            time.sleep(0.05)
        self._mend(float("inf"))
        while len(self._group.running()) < _FEWEST:
            self._group.tend()
            time.sleep(0.05)

    def _meet(self, fault: Fault) -> None:
        do = {
            "kill a worker": self._kill_worker,
            "terminate a worker": self._terminate_worker,
            "freeze a worker": self._freeze_worker,
            "freeze a worker as another joins": self._freeze_worker_as_another_joins,
            "supplant a worker": self._supplant_worker,
            "kill brokers": self._kill_brokers,
            "add partitions": self._add_partitions,
            "join": self._join,
            "leave": self._leave,
            "promote": self._promote,
            "roll back": self._roll_back,
            "lose the registry": self._lose_registry,
        }[fault.kind]
        met = do(fault)
        self.done[fault.kind] += met is not None
        self._say(f"{fault.kind}: {met or 'nobody is there for it'}")

    def _later(self, seconds: float, mend: Callable[[], None]) -> None:
        heapq.heappush(self._mending, (time.monotonic() + seconds, next(self._order), mend))

    def _mend(self, until: float) -> None:
        while self._mending and self._mending[0][0] <= until:
            heapq.heappop(self._mending)[2]()

    def _some_member(
        self, fault: Fault, at_least: int = 1, fit: Callable[[str], bool] = lambda _: True
    ) -> str | None:
        there = list(filter(fit, self._group.running()))
        return there[int(fault.pick * len(there))] if len(there) >= at_least else None

    def _kill_worker(self, fault: Fault) -> str | None:
        if name := self._some_member(fault):
            self._group.kill(name)
        return name

    def _terminate_worker(self, fault: Fault) -> str | None:
        if name := self._some_member(fault):
            self._group.terminate(name)
        return name

    def _leave(self, fault: Fault) -> str | None:
        if name := self._some_member(
            fault, _FEWEST + 1, lambda n: not self._group.is_supplanted(n)
        ):
            self._group.terminate(name, leave=True)
        return name

    def _join(self, _: Fault) -> str | None:
        return self._group.join() if len(self._group.running()) < _MOST else None

    def _can_be_frozen(self, name: str) -> bool:
        """Return False while a process that the member supplanted may wake up and replace it."""
        return not self._group.is_supplanted(name)

    def _freeze_worker(self, fault: Fault) -> str | None:
        name = self._some_member(fault, fit=self._can_be_frozen)
        if name is None:
            return None
        self._freeze(name, fault)
        return f"{name}, for {fault.lasts:.1f} s"

    def _freeze(self, name: str, fault: Fault) -> None:
        self._group.freeze(name)
        self._later(fault.lasts, partial(self._thaw, name))

    def _freeze_worker_as_another_joins(self, fault: Fault) -> str | None:
        """Freeze a worker while another one joins. It may be one that is killed and restarted."""
        name = self._some_member(fault, fit=self._can_be_frozen)
        if name is None:
            return None
        other = self._join(fault)
        if other is None:
            other = self._some_member(fault, fit=lambda member: member != name)
            if other is None:
                return None
            self._group.kill(other)

        def freeze() -> None:
            if name in self._group.running() and self._can_be_frozen(name):
                self._say(f"{other} joins, and {name} is frozen for {fault.lasts:.1f} s")
                self._freeze(name, fault)

        self._joining.append((other, fault.pick * _REBALANCE, freeze))
        return f"{name}, as {other} does"

    def _look_who_joins(self) -> None:
        for joining in list(self._joining):
            name, seconds, freeze = joining
            if self._group.consumes(name):
                self._joining.remove(joining)
                self._later(seconds, freeze)

    def _thaw(self, name: str) -> None:
        self._say(f"{name} wakes up")
        self._group.thaw(name)

    def _supplant_worker(self, fault: Fault) -> str | None:
        name = self._some_member(fault, fit=self._group.can_be_supplanted)
        if name is None:
            return None
        wake = self._group.supplant(name)
        self._later(fault.lasts, lambda: self._wake(name, wake))
        return f"{name}, for {fault.lasts:.1f} s"

    def _wake(self, name: str, wake: Callable[[], None]) -> None:
        self._say(f"the supplanted {name} wakes up")
        wake()

    def _kill_brokers(self, fault: Fault) -> str | None:
        there = self._kafka.running()
        first = int(fault.pick * len(there))
        chosen = (there[first:] + there[:first])[: fault.extent]
        for number in chosen:
            self._kafka.kill_broker(number)
            self._later(fault.lasts, partial(self._start_broker, number))
        names = " and ".join(map(str, chosen))
        return f"{names}, for {fault.lasts:.1f} s" if chosen else None

    def _start_broker(self, number: int) -> None:
        self._say(f"broker {number} starts again")
        self._kafka.start_broker(number)

    def _add_partitions(self, fault: Fault) -> str | None:
        try:
            return f"{self._cluster.add_partitions(fault.extent)} now"
        except KafkaError as error:
            self._say(f"partitions cannot be added: {error}")
            return None

    def _promote(self, fault: Fault) -> str | None:
        if self._registry_is_away:
            return None
        now = self._registry.aliases()["production"]
        others = [version.number for version in self._registry.versions() if version.number != now]
        chosen = others[int(fault.pick * len(others))]
        self._registry.promote(str(chosen))
        return f"version {chosen}"

    def _roll_back(self, _: Fault) -> str | None:
        return None if self._registry_is_away else f"version {self._registry.rollback().number}"

    def _lose_registry(self, fault: Fault) -> str | None:
        if self._registry_is_away:
            return None
        self._move_registry(away=True)
        self._later(fault.lasts, partial(self._move_registry, away=False))
        return f"for {fault.lasts:.1f} s"

    def _move_registry(self, *, away: bool) -> None:
        here, there = self._registry.folder, self._registry.folder.with_suffix(".away")
        if away:
            here.rename(there)
        else:
            self._say("the registry is back")
            there.rename(here)
        self._registry_is_away = away

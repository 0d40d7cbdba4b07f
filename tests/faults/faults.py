"""Faults: what is done to a run, when, and for how long; all of it follows from the seed."""

import heapq
import math
import random
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import closing, suppress
from functools import partial
from itertools import count

import msgspec
from kafka import KafkaProducer, TopicPartition
from kafka.errors import KafkaError

from shared.errors import DependencyError
from shared.registry.folder import FolderRegistry
from tests.faults.cluster import PATIENCE, Cluster
from tests.faults.group import Group
from tests.faults.oracle import Lost
from tests.faults.stream import Stream
from tests.faults.traces import TRACES, Done, silent
from tests.kafka.processes import cut_off
from worker.kafka.records import Record
from worker.kafka.topics import create_topics

KINDS = tuple(TRACES)
_ZOMBIES = ("freeze a worker", "freeze a worker as another joins", "supplant a worker")
"""Who is met wakes up after its session, and has to find out what has become of its partitions."""
_EVERY = 3.7
"""Seconds from a fault to the next, on average: a round of all kinds takes just under a minute."""
_FEWEST, _MOST = 2, 5
"""Members of the group."""
_NOTICE = PATIENCE
"""Seconds in which a fault must have left a trace, from its end. A worker whose name was taken
learns of it when the other one has joined, and some are killed before they do."""
_PATIENCE = 60.0
"""Seconds that a fault waits for the workers to notice it, before it goes on."""
_CALM = 20.0
"""Seconds that a fault waits for all brokers to run and to have everything."""
_BRIEF = 5.0
"""Seconds for which a registry or brokers may be away without a trace."""
_START = 30.0
"""Seconds in which a worker that starts has looked for the topic."""
_CUT = 40
"""The fewest offsets to cut off, which is more than a producer's batch has."""
_RELOADED = 5.0
"""Seconds in which workers have followed an alias."""
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


class _Expired(msgspec.Struct, frozen=True):
    """Records that were deleted.

    Attributes:
        at: when, in seconds since 1970.
        end: the offset behind them.
        read_on: whether the group has read on from there.
    """

    at: float
    partition: int
    end: int
    records: list[Record]
    read_on: bool


class Faults:
    """Does what a plan says, and mends each fault when it is over.

    Args:
        say: is told what is done.

    Attributes:
        done: the faults that met somebody.
    """

    def __init__(
        self,
        cluster: Cluster,
        group: Group,
        registry: FolderRegistry,
        stream: Stream,
        say: Callable[[str], object],
    ) -> None:
        self._kafka = cluster.kafka
        self._cluster = cluster
        self._group = group
        self._registry = registry
        self._registry_is_away = False
        self._alias_moved = 0.0
        self._stream = stream
        self._transactions = count()
        self._say = say
        self._mending: list[tuple[float, int, Callable[[], None]]] = []
        self._joining: list[tuple[str, float, Callable[[], None]]] = []
        self._order = count()
        self.done: list[Done] = []
        self._lost: list[Lost] = []
        self._expired: list[_Expired] = []
        self._transactional: set[int] = set()  # partitions that hold marks of transactions

    def run(self, faults: Sequence[Fault], seconds: float) -> None:
        """Cause all faults, and wait until the last are over."""
        begun = time.monotonic()
        coming = list(reversed(faults))
        while time.monotonic() < begun + seconds:
            if coming and time.monotonic() > begun + coming[-1].at:
                self._meet(coming.pop())
            self._tend()
            time.sleep(0.05)
        self._wait(lambda: not self._joining and not self._mending, _PATIENCE)
        self._joining.clear()
        self._mend(math.inf)
        while len(self._group.running()) < _FEWEST:
            self._group.tend()
            time.sleep(0.05)

    def wait_for_traces(self) -> None:
        """Wait until each fault has left its trace, or its time for that is over."""
        left = self.done
        while left := silent(left, self._group.traces()):
            left = [fault for fault in left if fault.until > time.time()]
            self._group.tend()
            time.sleep(0.5)

    def _note(
        self,
        fault: Fault,
        at: float | None = None,
        *,
        quiet: bool = False,
        **details: object,
    ) -> Done:
        """Note that a fault was done, with the details of its trace.

        Args:
            at: when, in seconds since 1970, if not now.
            quiet: it may leave no trace.
        """
        at = time.time() if at is None else at
        trace = None if quiet else TRACES[fault.kind].format(**details)
        done = Done(fault.kind, at, time.time() + fault.lasts + _NOTICE, trace)
        self.done.append(done)
        return done

    def _await_trace(self, done: Done) -> None:
        self._wait(lambda: done.shows_in(self._group.traces()), _PATIENCE)

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
            "expire records": self._expire_records,
            "truncate a partition": self._truncate_partition,
            "recreate the topic": self._recreate_topic,
            "hang a transaction": self._hang_transaction,
        }[fault.kind]
        try:
            met = do(fault)
        except KafkaError as error:
            self._say(f"{fault.kind}: {error!r}")
            met = None
        self._say(f"{fault.kind}: {met or 'nobody is there for it'}")

    def _later(self, seconds: float, mend: Callable[[], None]) -> None:
        heapq.heappush(self._mending, (time.monotonic() + seconds, next(self._order), mend))

    def _tend(self) -> None:
        self._look_who_joins()
        self._mend(time.monotonic())
        self._group.tend()

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
            self._note(fault, who=name)
        return name

    def _terminate_worker(self, fault: Fault) -> str | None:
        if name := self._some_member(fault):
            self._terminate(name, fault)
        return name

    def _terminate(self, name: str, fault: Fault, *, leave: bool = False) -> None:
        """Terminate a worker, which says so unless it has not begun."""
        self._note(fault, quiet=not self._group.consumes(name), who=name)
        self._group.terminate(name, leave=leave)

    def _leave(self, fault: Fault) -> str | None:
        def fit(name: str) -> bool:
            return self._group.consumes(name) and not self._group.is_supplanted(name)

        if name := self._some_member(fault, _FEWEST + 1, fit):
            self._terminate(name, fault, leave=True)
        return name

    def _join(self, fault: Fault) -> str | None:
        if len(self._group.running()) >= _MOST:
            return None
        name = self._group.join()
        self._note(fault, who=name)
        return name

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
        self._note(fault)
        self._group.freeze(name)
        self._later(fault.lasts, partial(self._thaw, name))

    def _freeze_worker_as_another_joins(self, fault: Fault) -> str | None:
        """Freeze a worker while another one joins. It may be one that is killed and restarted."""
        name = self._some_member(fault, fit=self._can_be_frozen)
        if name is None:
            return None
        other = self._group.join() if len(self._group.running()) < _MOST else None
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
        self._note(fault, who=name)
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
        if not chosen:
            return None
        self._note(fault, quiet=fault.lasts < _BRIEF)
        names = " and ".join(map(str, chosen))
        return f"{names}, for {fault.lasts:.1f} s"

    def _start_broker(self, number: int) -> None:
        self._say(f"broker {number} starts again")
        self._kafka.start_broker(number)

    def _add_partitions(self, fault: Fault) -> str | None:
        try:
            number = self._cluster.add_partitions(fault.extent)
        except KafkaError as error:
            self._say(f"partitions cannot be added: {error}")
            return None
        self._note(fault, partition=number - 1)
        return f"{number} now"

    def _promote(self, fault: Fault) -> str | None:
        if self._registry_is_away:
            return None
        now = self._registry.aliases()["production"]
        others = [version.number for version in self._registry.versions() if version.number != now]
        chosen = others[int(fault.pick * len(others))]
        self._registry.promote(str(chosen))
        self._note_version(fault, chosen)
        return f"version {chosen}"

    def _roll_back(self, fault: Fault) -> str | None:
        if self._registry_is_away:
            return None
        number = self._registry.rollback().number
        self._note_version(fault, number)
        return f"version {number}"

    def _note_version(self, fault: Fault, number: int) -> None:
        """Note that the alias was moved; if soon again, workers may notice neither."""
        soon = time.time() - self._alias_moved < _RELOADED
        if soon:
            self.done = [
                msgspec.structs.replace(done, trace=None) if done.at == self._alias_moved else done
                for done in self.done
            ]
        self._alias_moved = self._note(fault, quiet=soon, version=number).at

    def _lose_registry(self, fault: Fault) -> str | None:
        if self._registry_is_away:
            return None
        self._move_registry(away=True)
        self._later(fault.lasts, partial(self._move_registry, away=False))
        self._note(fault, quiet=fault.lasts < _BRIEF)
        return f"for {fault.lasts:.1f} s"

    def _move_registry(self, *, away: bool) -> None:
        here, there = self._registry.folder, self._registry.folder.with_suffix(".away")
        if away:
            here.rename(there)
        else:
            self._say("the registry is back")
            there.rename(here)
        self._registry_is_away = away

    def _wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait, mend faults and start workers meanwhile, and return whether it holds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with suppress(KafkaError, DependencyError):
                if condition():
                    return True
            self._tend()
            time.sleep(0.2)
        return False

    def _has(self, topic: str) -> bool:
        with self._cluster.admin() as admin:
            return topic in admin.list_topics()

    def _some_partition(self, fault: Fault, without: Collection[int] = ()) -> int:
        with self._cluster.admin() as admin:
            partitions = self._cluster.partitions(admin, self._cluster.settings.input_topic)
        numbers: list[int] = sorted({each.partition for each in partitions} - set(without))
        return numbers[int(fault.pick * len(numbers))]

    def _committed(self) -> dict[int, int]:
        with self._cluster.admin() as admin:
            return self._cluster.committed(admin)

    def _end(self, partition: int) -> int:
        with self._cluster.admin() as admin:
            topic = self._cluster.settings.input_topic
            return self._cluster.ends(admin, topic, "read_uncommitted").get(partition, 0)

    def _expire_records(self, fault: Fault) -> str | None:
        """Delete a partition's records while the workers are dead, or stand still for a moment."""
        if not self._wait(self._cluster.is_whole, _CALM):
            return None
        topic, partition = self._cluster.settings.input_topic, self._some_partition(fault)
        workers = self._group.running()
        stand_still = fault.extent == 1
        others = self._group.has_others_that_read()
        for name in workers:
            (self._group.freeze if stand_still else self._group.kill)(name)
        try:
            unread = self._end(partition)  # nobody reads the records that come from now on
            time.sleep(fault.extent)
            end, since = self._end(partition), time.time()
            records = [r for r in self._cluster.read(topic, partition) if r.offset < end]
            with self._cluster.admin() as admin:
                admin.delete_records({TopicPartition(topic, partition): end})
        finally:
            for name in workers if stand_still else ():
                self._group.thaw(name)
        # Those that stood still may have had the answer to a last request, and others may read.
        quiet = stand_still or others or not any(record.offset >= unread for record in records)
        self._note(fault, since, quiet=quiet, partition=partition, end=end)
        read_on = self._wait(lambda: self._committed().get(partition, -1) >= end, _PATIENCE)
        self._expired.append(_Expired(since, partition, end, records, read_on))
        return f"{len(records)} of partition {partition}"

    def taken_out(self) -> list[Lost]:
        """Return the records that are no longer in the input topic, once all traces are there.

        A worker moves the group's commit before it says which records it has skipped.
        """
        resets = self._group.resets()
        found = list(self._lost)
        for expired in self._expired:
            skipped = [
                range(reset.old, reset.new)
                for reset in resets
                if expired.at <= reset.at <= expired.at + _NOTICE
                and (reset.partition, reset.new) == (expired.partition, expired.end)
            ]
            for record in expired.records:
                unread = any(record.offset in offsets for offsets in skipped)
                found.append(Lost(record, not unread if expired.read_on else None))
        return found

    def _truncate_partition(self, fault: Fault) -> str | None:
        """Cut the end off a partition's log at each broker, and let others take its place.

        Without its mark, a transaction would hide all later records for ever.
        """
        if not self._wait(self._cluster.is_whole, _CALM):
            return None
        topic = self._cluster.settings.input_topic
        partition = self._some_partition(fault, without=self._transactional)
        with self._stream.held():
            end = self._end(partition)
            if not self._wait(lambda: self._committed().get(partition, 0) >= end, _PATIENCE):
                return None
            records, since = self._cluster.read(topic, partition), time.time()
            for number in self._kafka.running():
                self._kafka.kill_broker(number)
            for folder in self._cluster.folders(partition):
                cut_off(folder, max(0, end - _CUT - int(30 * fault.pick)))
            for number in range(1, self._cluster.brokers + 1):
                self._kafka.start_broker(number)
            assert self._wait(self._cluster.is_whole, PATIENCE), "the brokers do not come back"
            now = self._end(partition)
        gone = [Lost(record, processed=True) for record in records if record.offset >= now]
        self._lost += gone
        if not gone:
            return None
        self._await_trace(self._note(fault, since, partition=partition))
        return f"partition {partition} from {end} to {now}, {len(gone)} records"

    def _recreate_topic(self, fault: Fault) -> str | None:
        """Delete the input topic, in half of the cases with unread records, and create it again."""
        if not self._wait(self._cluster.is_whole, _CALM):
            return None
        topic = self._cluster.settings.input_topic
        with self._stream.held():
            if fault.pick < 0.5:
                self._wait(self._all_is_consumed, _PATIENCE)
            committed, since = self._committed(), time.time()
            records = self._cluster.read(topic)
            self._group.topic_may_be_missing_until = math.inf
            with self._cluster.admin() as admin:
                partitions = len(self._cluster.partitions(admin, topic))
                admin.delete_topics([topic])
            self._lost += [
                Lost(record, True if record.offset < committed.get(record.partition, 0) else None)
                for record in records
            ]
            self._transactional.clear()
            assert self._wait(lambda: not self._has(topic), PATIENCE), "it is not deleted"
            self._wait(lambda: False, fault.lasts)
            assert self._wait(lambda: self._create(topic, partitions), PATIENCE), "not created"
            assert self._wait(self._cluster.is_whole, PATIENCE), "it is not replicated"
        self._group.topic_may_be_missing_until = time.monotonic() + _START
        self._await_trace(self._note(fault, since, topic_id=self._cluster.topic_id()))
        return f"{len(records)} records, away for {fault.lasts:.1f} s"

    def _all_is_consumed(self) -> bool:
        with self._cluster.admin() as admin:
            topic = self._cluster.settings.input_topic
            ends = self._cluster.ends(admin, topic, "read_uncommitted")
            return self._cluster.committed(admin) == ends

    def _create(self, topic: str, partitions: int) -> bool:
        create_topics(self._cluster.settings, {topic: partitions})
        return True

    def _hang_transaction(self, fault: Fault) -> str | None:
        """Open a transaction in the input topic, and end it once a worker has noticed."""
        if not self._wait(self._cluster.is_whole, _CALM):
            return None
        topic, partition = self._cluster.settings.input_topic, self._some_partition(fault)
        since, places = time.time(), {}
        self._transactional.add(partition)
        producer = KafkaProducer(
            bootstrap_servers=self._cluster.settings.kafka_bootstrap_servers.split(","),
            transactional_id=f"hangs-{next(self._transactions)}",
            transaction_timeout_ms=int(2000 * _PATIENCE),
        )
        with closing(producer):
            producer.init_transactions()
            producer.begin_transaction()
            for record in self._stream.more(3 * fault.extent):
                sent = producer.send(
                    topic, record.value, record.key, record.headers, partition=partition
                )
                place = sent.get(timeout=20)
                places[record.key] = (place.partition, place.offset)
            self._await_trace(self._note(fault, since, partition=partition))
            if fault.pick < 0.5:
                producer.abort_transaction()
                return f"{len(places)} records of partition {partition}, aborted"
            producer.commit_transaction()
        self._stream.confirmed |= places
        return f"{len(places)} records of partition {partition}, committed"

"""Run: one of them, from the brokers' start to the verdict."""

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
from kafka.errors import KafkaError

from shared.registry.folder import FolderRegistry
from tests.conftest import Trained
from tests.faults.cluster import PATIENCE, Cluster
from tests.faults.faults import Faults, plan
from tests.faults.group import Exit, Group
from tests.faults.oracle import Found, Verdict, judge
from tests.faults.stream import Stream
from tests.faults.traces import Trace
from tests.faults.versions import register_all, score_all
from tests.kafka.processes import environment_of

_PARTITIONS = 6
_WORKERS = 3
_SESSION = 6.0
"""Seconds; the shortest that a broker grants by default, so that more happens in a run."""
_TEXTS = 3_000
_LAST = 1_000
"""Records after the last fault, so that each partition gets some."""


class Report(msgspec.Struct, frozen=True):
    """What a run did, and what came of it.

    Attributes:
        seconds: how long faults were done; `drained_in`: from then until all was consumed.
        faults: how often each kind was done; `traces`: how many of them had to leave a trace.
        sent, confirmed: records given to the producer, and sends that Kafka confirmed.
        exits: how the workers' processes ended.
        refused_deliveries: to members that had lost their partitions or their name.
    """

    seed: int
    seconds: float
    rate: float
    faults: dict[str, int]
    traces: int
    sent: int
    confirmed: int
    refused: dict[str, int]
    partitions: int
    drained_in: float
    exits: list[Exit]
    refused_deliveries: int
    verdict: Verdict


def run(
    seed: int,
    seconds: float,
    rate: float,
    bundles: Path,
    folder: Path,
    say: Callable[[str], object],
) -> Report:
    """Put brokers and workers through faults, and compare the outcome with the truth.

    Args:
        seed: everything that is chosen follows from it.
        seconds: how long faults are done; starting and draining come on top.
        rate: records per second.
        bundles: a folder of bundles, all of which are promoted in turn.
        folder: takes registry, cache and logs.
        say: is told what goes on.
    """
    begun = time.monotonic()

    def tell(what: str) -> None:
        say(f"{time.monotonic() - begun:7.1f} s  {what}")

    registry = FolderRegistry(folder / "registry")
    register_all(bundles, registry)
    versions = score_all(registry, random.Random(f"{seed} texts"), _TEXTS)
    trained = Trained(registry, bundles, folder, {})
    tell(f"{len(versions.scores)} versions agree on {_TEXTS} texts")
    with Cluster(3, _PARTITIONS, folder / "kafka") as cluster:
        tell("three brokers run")
        environment = environment_of(cluster.settings, trained) | {
            "TRIAGE_SESSION_TIMEOUT_MS": str(int(1000 * _SESSION)),
            "TRIAGE_RELOAD_SECONDS": "1",
        }
        group = Group(environment, folder, PATIENCE, tell)
        try:
            for _ in range(_WORKERS):
                group.join()
            group.settle()
            tell(f"{_WORKERS} workers consume")
            stream = Stream(cluster.settings, versions, random.Random(f"{seed} stream"), rate)
            stream.start()
            faults = Faults(cluster, group, registry, stream, tell)
            try:
                faults.run(plan(random.Random(f"{seed} faults"), seconds, _SESSION), seconds)
                tell("no more faults")
                group.settle()
                faults.wait_for_traces()
                _publish_everywhere(stream)
            finally:
                stream.finish()
            tell(f"no more records; {len(stream.confirmed)} of {len(stream.sent)} sends confirmed")
            drained_in = _drain(cluster, group)
            tell(f"all consumed {drained_in:.1f} s later")
            accounts = group.accounts()
            group.end()
            found = _find(cluster, accounts, faults, group.traces())
        finally:
            group.kill_all()
    promoted = {event.version for event in registry.history() if event.alias == "production"}
    verdict = judge(stream.sent, stream.confirmed, found, versions, promoted, group.exits)
    return Report(
        seed=seed,
        seconds=seconds,
        rate=rate,
        faults=dict(Counter(done.kind for done in faults.done)),
        traces=sum(done.trace is not None for done in faults.done),
        sent=len(stream.sent),
        confirmed=len(stream.confirmed),
        refused=stream.refused,
        partitions=len(found.ends),
        drained_in=drained_in,
        exits=group.exits,
        refused_deliveries=group.refused(),
        verdict=verdict,
    )


def _publish_everywhere(stream: Stream) -> None:
    """Wait until each partition has got a record behind the last mark of a transaction."""
    until, deadline = len(stream.confirmed) + _LAST, time.monotonic() + PATIENCE
    while len(stream.confirmed) < until and time.monotonic() < deadline:
        time.sleep(0.1)


def _drain(cluster: Cluster, group: Group) -> float:
    """Wait until all is consumed or nothing changes for long; return the seconds."""
    for number in cluster.kafka.running():
        cluster.kafka.wait_for_broker(number)
    begun = moved = time.monotonic()
    before: dict[int, int] = {}
    while time.monotonic() < moved + PATIENCE:
        group.tend()
        try:
            with cluster.admin() as admin:
                committed = cluster.committed(admin)
                if committed == cluster.ends(admin, cluster.settings.input_topic, "read_committed"):
                    break
        except KafkaError:  # not all brokers are back yet
            continue
        if committed != before:
            before, moved = committed, time.monotonic()
        time.sleep(0.5)
    return time.monotonic() - begun


def _find(
    cluster: Cluster,
    accounts: Mapping[str, Mapping[str, int]],
    faults: Faults,
    traces: Sequence[Trace],
) -> Found:
    """Read everything, once no transaction of a killed worker is open any more."""
    settings = cluster.settings
    topics = (settings.input_topic, settings.alerts_topic, settings.dead_letters_topic)
    deadline = time.monotonic() + PATIENCE
    with cluster.admin() as admin:
        while True:
            seen, there = (
                [cluster.ends(admin, topic, isolation) for topic in topics]
                for isolation in ("read_committed", "read_uncommitted")
            )
            if seen == there or time.monotonic() > deadline:
                break
            time.sleep(1)
        committed = cluster.committed(admin)
    inputs, alerts, dead_letters = map(cluster.read, topics)
    return Found(
        *(inputs, alerts, dead_letters, there[0], committed, seen == there, accounts),
        lost=faults.taken_out(),
        faults=faults.done,
        traces=traces,
    )

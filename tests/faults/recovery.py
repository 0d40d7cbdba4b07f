"""Recovery: how long it takes from a kill -9 until work goes on, by default settings."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from kafka import KafkaConsumer, TopicPartition

from shared.registry.folder import FolderRegistry
from tests.conftest import Trained
from tests.faults.cluster import PATIENCE, Cluster, patiently
from tests.faults.group import Group
from tests.faults.stream import Stream
from tests.faults.versions import register_all, score_all
from tests.kafka.processes import environment_of, wait_for
from worker.kafka.records import records_of
from worker.messages.alert import decode_alert

_PARTITIONS = 6
_RATE = 200
_STILL = 1.0
"""Seconds within which what the killed worker had sent itself may still become visible."""


class Recovery(msgspec.Struct, frozen=True):
    """Seconds from kill to recovery, one for each time that it was tried.

    Attributes:
        first_moved: from kill -9 of a worker to another member's first commit on one of its
            partitions.
        all_moved: to such commits on all of them.
        broker_back: from kill -9 of the only broker, started again at once, to its listening.
        alerts_flow: to the first alert of a later tweet at a subscriber.
    """

    first_moved: list[float]
    all_moved: list[float]
    broker_back: list[float]
    alerts_flow: list[float]


def measure(times: int, bundles: Path, folder: Path, say: Callable[[str], object]) -> Recovery:
    """Kill a worker of three, then the only broker.

    Args:
        times: that each is done.
        bundles: a folder of bundles.
        folder: takes registry, cache and logs.
        say: is told of each time.
    """
    registry = FolderRegistry(folder / "registry")
    register_all(bundles, registry)
    versions = score_all(registry, random.Random("recovery"), 1_000)
    found = Recovery([], [], [], [])
    with Cluster(1, _PARTITIONS) as cluster:
        environment = environment_of(cluster.settings, Trained(registry, bundles, folder, {}))
        group = Group(environment, folder, PATIENCE, say)
        stream = Stream(cluster.settings, versions, random.Random("recovery"), _RATE)
        stream.start()
        try:
            for _ in range(3):
                group.join()
            for _ in range(times):
                group.settle()
                first, last = _kill_worker(cluster, group)
                say(f"worker killed: its partitions moved after {first:.1f} to {last:.1f} s")
                found.first_moved.append(first)
                found.all_moved.append(last)
            with _subscriber(cluster) as scored:
                for _ in range(times):
                    group.settle()
                    back, flowing = _kill_broker(cluster, scored)
                    say(f"broker killed: back after {back:.1f} s, alerts after {flowing:.1f} s")
                    found.broker_back.append(back)
                    found.alerts_flow.append(flowing)
        finally:
            stream.finish()
            group.kill_all()
    return found


def _kill_worker(cluster: Cluster, group: Group) -> tuple[float, float]:
    """Kill the first worker; return the seconds until its first and last partition moved."""
    with cluster.admin() as admin:
        before = _wait_until_balanced(cluster, admin, len(group.running()))
        offsets = cluster.committed(admin)
        moved: dict[int, float] = {}
        victim = group.running()[0]
        group.kill(victim)
        killed = time.monotonic()
        left: set[int] = set()
        while not left or not left <= moved.keys():
            seconds = time.monotonic() - killed
            assert seconds < PATIENCE, "the partitions did not move"
            now = cluster.committed(admin)
            if seconds < _STILL:
                offsets = now
            moved |= {p: seconds for p in now if p not in moved and now[p] > offsets.get(p, 0)}
            there = _members(cluster, admin)
            left = set().union(*(owned for member, owned in before.items() if member not in there))
            time.sleep(0.05)
        group.tend()
    return min(moved[p] for p in left), max(moved[p] for p in left)


def _wait_until_balanced(cluster: Cluster, admin: Any, members: int) -> dict[str, set[int]]:
    """Wait until the group is stable and balanced, and return each member's partitions."""
    owned: dict[str, set[int]] = {}

    def balanced() -> bool:
        nonlocal owned
        owned = _members(cluster, admin)
        shares = [len(partitions) for partitions in owned.values()]
        return len(shares) == members and sum(shares) == _PARTITIONS and min(shares) > 0

    wait_for(balanced, PATIENCE, every=0.2)
    time.sleep(2)  # all have committed in this generation
    return owned


def _members(cluster: Cluster, admin: Any) -> dict[str, set[int]]:
    """Return the partitions of each member, by Kafka's name for it."""
    (described,) = admin.describe_groups([cluster.settings.group_id]).values()
    return {
        member["member_id"]: {
            number
            for topic in (member["member_assignment"] or {}).get("assigned_partitions", ())
            for number in topic["partitions"]
        }
        for member in described["members"]
    }


def _kill_broker(cluster: Cluster, scored: list[datetime]) -> tuple[float, float]:
    """Kill and restart the only broker; return seconds until it answers and until an alert."""
    killed, moment = time.monotonic(), datetime.now(UTC)
    cluster.kafka.kill_broker(1)
    cluster.kafka.start_broker(1)
    cluster.kafka.wait_for_broker(1)
    back = time.monotonic() - killed
    wait_for(lambda: bool(scored) and scored[-1] > moment, PATIENCE)
    return back, time.monotonic() - killed


@contextmanager
def _subscriber(cluster: Cluster) -> Iterator[list[datetime]]:
    """Follow the alerts, and yield a growing list of the times at which they were scored."""
    scored: list[datetime] = []
    stop = threading.Event()
    topic = cluster.settings.alerts_topic

    def follow() -> None:
        consumer = KafkaConsumer(
            bootstrap_servers=cluster.settings.kafka_bootstrap_servers,
            isolation_level="read_committed",
            reconnect_backoff_max_ms=500,
        )
        with closing(consumer):
            consumer.assign([TopicPartition(topic, number) for number in range(_PARTITIONS)])
            while not stop.is_set():
                records = patiently(lambda: consumer.poll(timeout_ms=100))
                scored.extend(decode_alert(r.value or b"").scored_at for r in records_of(records))

    thread = threading.Thread(target=follow, name="subscriber")
    thread.start()
    try:
        yield scored
    finally:
        stop.set()
        thread.join()

"""Speed and memory of the desk: python -m tests.benchmarks.desk [--alerts N] [--seconds S].

It fills a store with alerts (1,000,000 unless told otherwise), starts `triage-worker desk` on it
with a real Kafka, publishes 500 alerts a second, and lets 50 viewers look at pages and search, each
every two seconds. Each has a live stream open and loads its list anew when something has changed,
as the page does. The page of an incident asks for the words that drove the score. Nine of ten
alerts name a model of the registry, the others a version that it does not have.

Reported: the time of each kind of request, the time until the words were there, the desk's memory
and CPU, and how far it is behind. `--bundle FOLDER` is the model; it is trained on the sample if
none is given. `--store FILE` keeps the filled store for the next time with the same model.
"""

import argparse
import asyncio
import contextlib
import itertools
import random
import re
import shutil
import sqlite3
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import psutil

from shared.registry.base import Version
from shared.registry.folder import FolderRegistry
from tests.conftest import train_on_sample
from tests.desk.alerts import new_alert
from tests.desk.processes import DeskProcess, desk_settings
from worker.demo.local_kafka import LocalKafka
from worker.desk.store import Store
from worker.kafka.publisher import Publisher
from worker.kafka.records import Message
from worker.messages.alert import Alert, Model, decode_alert, encode_alert
from worker.settings import Settings

VIEWERS = 50
EVERY = 2.0
PER_SECOND = 500
UNKNOWN = 0.1
"""The share of alerts that name a version that the registry does not have."""
_SHOWN = (
    "triage_desk_behind", "triage_desk_alerts_read_total ", "triage_desk_explained",
    "triage_desk_models_loaded_total ",
)  # fmt: skip
_PLACES = [a + b for a in ("Bo", "Ka", "Li", "Mar", "Sen", "Tor") for b in ("ma", "ri", "to", "lo")]
_EVENTS = ["earthquake", "flood", "fire", "landslide", "storm", "explosion", "collapse", "crash"]
_PARTS = (["b", "f", "gr", "s", "tr"], "aeiou", ["ck", "mp", "nd", "rk"], "aeiou", ["", "ng", "st"])
_WORDS = ["".join(parts) for parts in itertools.product(*_PARTS)]
_WEIGHTS = [1 / rank for rank in range(1, len(_WORDS) + 1)]  # as Zipf's law has it


def alerts(name: str, start: datetime, per_second: float, version: Version) -> Iterator[Alert]:
    """Yield tweets, a third of which repeat the news of another one, as in a crisis.

    Args:
        name: begins all ids, so that they are not those of other alerts.
        version: scored most of them.
    """
    chance = random.Random(name)
    known = Model(version.manifest.name, version.number, version.digest)
    unknown = Model(version.manifest.name, version.number + 1, "0" * 64)
    recent: list[str] = []
    number = 0
    while True:
        if recent and chance.random() < 0.35:
            text = f"RT @user{chance.randrange(10**5)}: {chance.choice(recent)}"
        else:
            words = chance.choices(_WORDS, _WEIGHTS, k=8)
            text = f"{chance.choice(_EVENTS)} in {chance.choice(_PLACES)}{number % 9973}: "
            text += f"{' '.join(words)} {chance.randrange(10**6)} https://t.co/{number:x}"
            recent.append(text)
            del recent[:-500]
        yield new_alert(
            text,
            alert_id=f"{name}-{number}",
            at=start + timedelta(seconds=number / per_second),
            probability=chance.uniform(0.5, 1),
            author=f"user{chance.randrange(10**5)}",
            lang=chance.choice(["en", "en", "en", "es", "id"]),
            place=chance.choice([None, *_PLACES[:5]]),
            model=unknown if chance.random() < UNKNOWN else known,
        )
        number += 1


def fill(path: Path, count: int, version: Version) -> float:
    """Fill a store as if it had read alerts, in bulk, and return alerts a second.

    A third of the alerts are of incidents that have some already.
    """
    Store(path).close()
    db = sqlite3.connect(path)
    start = datetime.now(UTC) - timedelta(days=2)
    source = alerts("old", start, count / (2 * 86400), version)
    chance = random.Random(3)
    incidents: dict[int, list[Any]] = {}
    started = time.perf_counter()
    for first in range(1, count + 1, 10_000):
        rows, words, values = [], [], []
        for number in range(first, min(first + 10_000, count + 1)):
            alert = next(source)
            tweet, at = alert.tweet, int(alert.scored_at.timestamp() * 1000)
            model = f"{alert.model.name} {alert.model.version}"
            old = incidents.get(max(1, number - chance.randrange(1, 3000)))
            if old is not None and chance.random() < 0.35:
                incident = old[0]
                old[3], old[4], old[5] = at, old[4] + 1, max(old[5], alert.probability)
            else:
                incident = number
                incidents[number] = [
                    number, alert.alert_id, at, at, 1, alert.probability, number, 0.5, tweet.text,
                    tweet.author, tweet.lang, tweet.place, model,
                ]  # fmt: skip
            rows.append(
                (number, alert.alert_id, incident, at, alert.probability, 0.5, model, tweet.text,
                 tweet.author, tweet.lang, tweet.place, 0)
            )  # fmt: skip
            words.append((number, tweet.text, tweet.author))
            values.append((number, encode_alert(alert)))
        db.executemany(
            "INSERT INTO alert(id, alert_id, incident, time, probability, threshold, model, text, "
            "author, lang, place, representative) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
            rows,
        )
        db.executemany("INSERT INTO alert_words(rowid, text, author) VALUES (?,?,?)", words)
        db.executemany("INSERT INTO message VALUES (?,?)", values)
        db.commit()
    db.executemany(
        "INSERT INTO incident(id, key, first, last, size, highest, clearest, clarity, text, "
        "author, lang, place, model) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
        incidents.values(),
    )
    for field in ("lang", "place", "model"):
        db.execute(
            f"INSERT INTO choice SELECT DISTINCT '{field}', {field} FROM alert "  # noqa: S608
            f"WHERE {field} IS NOT NULL"
        )
    db.execute("INSERT INTO minute SELECT time / 60000, count(*) FROM alert GROUP BY 1")
    db.execute("UPDATE count SET value = ? WHERE name = 'alerts'", (count,))
    db.commit()
    db.close()
    return count / (time.perf_counter() - started)


def check_model(store: Path, version: Version) -> None:
    """Exit if the store was filled with alerts of another model."""
    with contextlib.closing(sqlite3.connect(store)) as db:
        values = db.execute("SELECT value FROM message LIMIT 100").fetchall()
    if version.digest not in {decode_alert(value).model.digest for (value,) in values}:
        raise SystemExit(f"{store} was filled with alerts of another model: delete it")


def main(count: int, seconds: float, kept: Path | None, bundle: Path | None) -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as name, LocalKafka() as kafka:
        folder = Path(name)
        registry = FolderRegistry(folder / "registry")
        if bundle is None:
            bundle = next((train_on_sample(folder / "trained") / "bundles").glob("LSTM"))
        version = registry.register(bundle)
        store = folder / "desk.sqlite3"
        if kept is None or not kept.exists():
            rate = fill(kept or store, count, version)
            print(f"filled at {rate:,.0f} alerts/s", flush=True)
        if kept is not None:
            shutil.copyfile(kept, store)
            check_model(store, version)
        print(f"{count:,} alerts, {store.stat().st_size / 1e6:,.0f} MB", flush=True)
        settings = msgspec.structs.replace(
            desk_settings(kafka, "bench", folder), registry=registry.url
        )
        started = time.perf_counter()
        desk = DeskProcess(settings, folder / "desk.log")
        print(f"started in {time.perf_counter() - started:.1f} s", flush=True)
        desk.wait_until_ready()
        stop = threading.Event()
        publishing = threading.Thread(target=publish, args=(settings, stop, version))
        publishing.start()
        process = psutil.Process(desk.process.pid)
        cpu = sum(process.cpu_times()[:2])
        began = time.perf_counter()
        times = asyncio.run(view(desk.url, seconds))
        elapsed = time.perf_counter() - began
        cpu = sum(process.cpu_times()[:2]) - cpu
        metrics = httpx2.get(f"{desk.url}/metrics").text
        stop.set()
        publishing.join()
        (memory,) = re.findall(
            r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text()
        )
        print(f"{VIEWERS} viewers for {elapsed:.0f} s, {PER_SECOND} new alerts/s")
        print(
            f"at most {int(memory) * 1.024e-3:,.0f} MB; CPU {100 * cpu / elapsed:.0f} % of a core"
        )
        for kind, values in sorted(times.items()):
            values.sort()
            p95 = values[int(len(values) * 0.95)]
            median, longest = values[len(values) // 2], values[-1]
            print(
                f"{kind:>10}: {len(values):>6} requests, median {1000 * median:.0f} ms, "
                f"p95 {1000 * p95:.0f} ms, longest {1000 * longest:.0f} ms"
            )
        for line in metrics.splitlines():
            if line.startswith(_SHOWN):
                print(line)
        desk.stop()


def publish(settings: Settings, stop: threading.Event, version: Version) -> None:
    """Publish alerts at a steady rate."""
    publisher = Publisher(settings)
    source = alerts("new", datetime.now(UTC), PER_SECOND, version)
    due = time.monotonic()
    while not stop.is_set():
        publisher.publish(
            Message(settings.alerts_topic, None, encode_alert(next(source)), [])
            for _ in range(PER_SECOND // 5)
        )
        due += 0.2
        stop.wait(max(0, due - time.monotonic()))
    publisher.close()


async def view(url: str, seconds: float) -> dict[str, list[float]]:
    """Let viewers look at pages, and return the seconds of each request by its kind."""
    times: dict[str, list[float]] = defaultdict(list)
    end = time.monotonic() + seconds

    async def viewer(number: int) -> None:
        chance = random.Random(number)
        async with httpx2.AsyncClient(base_url=url, timeout=30) as client:
            page = await client.get("/sign-in")
            csrf = page.text.split('name="csrf" content="')[1].split('"')[0]
            form = {"csrf": csrf, "name": f"viewer {number}"}
            answer = await client.post("/sign-in", data=form)
            assert answer.status_code == 303
            shown = {"list": "/list"}
            live = asyncio.create_task(listen(client, shown, times["update"]))
            links: list[str] = []
            while time.monotonic() < end:
                await asyncio.sleep(chance.uniform(0.5, 1.5) * EVERY)
                kind = chance.choice(
                    ["list", "list", "largest", "search", "filter", "incident", "next"]
                )
                path = {
                    "list": "/",
                    "largest": "/?sort=largest",
                    "search": f"/?q={chance.choice(_EVENTS)}+{chance.choices(_WORDS, _WEIGHTS)[0]}",
                    "filter": f"/?lang=id&probability=0.{chance.randrange(60, 95)}"
                    f"&size={chance.randrange(1, 9)}",
                    "incident": chance.choice(links) if links else "/",
                    "next": "/" + (f"?after={(time.time_ns() // 10**6) - 10**8}-0"),
                }[kind]
                shown["list"] = "" if kind in ("incident", "next") else f"/list{path[1:]}"
                started = time.perf_counter()
                answer = await client.get(path)
                times[kind].append(time.perf_counter() - started)
                answer.raise_for_status()
                if path.startswith("/incidents/"):
                    await wait_for_words(client, answer.text)
                    times["words"].append(time.perf_counter() - started)
                links = [
                    part.split('"')[0] for part in answer.text.split('text"><a href="')[1:]
                ] or links
            live.cancel()

    await asyncio.gather(*map(viewer, range(VIEWERS)))
    return times


async def wait_for_words(client: httpx2.AsyncClient, page: str) -> None:
    """Ask for the words that drove the score until they are there, as the page does."""
    for path in re.findall(r'data-source="([^"]+)"', page):
        while (answer := await client.get(path)).status_code == 202:
            await asyncio.sleep(0.5)
        answer.raise_for_status()


async def listen(client: httpx2.AsyncClient, shown: dict[str, str], times: list[float]) -> None:
    """Load the list that is shown anew when something has changed, every two seconds at most."""
    last = 0.0
    async with client.stream("GET", "/events", timeout=None) as answer:
        async for line in answer.aiter_lines():
            path = shown["list"]
            if line.startswith("data:") and path and time.monotonic() - last > 2:
                last = time.monotonic()
                started = time.perf_counter()
                (await client.get(path)).raise_for_status()
                times.append(time.perf_counter() - started)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alerts", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--bundle", type=Path)
    given = parser.parse_args()
    main(given.alerts, given.seconds, given.store, given.bundle)

"""Soak: whether a worker's memory grows while distinct tweets flow through it."""

import math
import random
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import msgspec
import numpy as np
import psutil
from scipy import stats

from shared.registry.folder import FolderRegistry
from tests.conftest import Trained
from tests.faults.cluster import Cluster
from tests.faults.texts import mixed_texts
from tests.faults.versions import register_all
from tests.kafka.processes import environment_of, running
from worker.kafka.publisher import Publisher
from worker.kafka.records import Message

_CHUNK = 5_000
"""Tweets that are published at a time."""
_AHEAD = 30_000
"""Tweets published and not yet consumed at most, so that Kafka's memory is not the topic."""
_BLOCKS = 24
"""Into which what is after the warm-up is cut; see `slope`."""
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Soak(msgspec.Struct, frozen=True):
    """The outcome.

    Attributes:
        tweets, seconds: through one worker.
        warm_up: tweets left out of the slope.
        samples: (tweets consumed, resident MB) in order.
        slope: MB for a million tweets after the warm-up, and its 95 % interval.
        correlation: of one block's residual with the next one's.
    """

    tweets: int
    seconds: float
    warm_up: int
    samples: list[tuple[int, float]]
    slope: float
    interval: tuple[float, float]
    correlation: float


def soak(tweets: int, bundles: Path, folder: Path, say: Callable[[str], object]) -> Soak:
    """Send distinct tweets through one worker, and sample its resident memory.

    Args:
        tweets: so many; the first quarter of them is the warm-up.
        bundles: a folder of bundles, the first of which scores.
        folder: takes registry, cache and logs.
        say: is told how far it is.
    """
    registry = FolderRegistry(folder / "registry")
    register_all(bundles, registry)
    texts = distinct_texts(random.Random("soak"))
    samples: list[tuple[int, float]] = []
    with Cluster(1, 4) as cluster:
        environment = environment_of(cluster.settings, Trained(registry, bundles, folder, {}))
        publisher = Publisher(cluster.settings)
        with running(environment, folder / "worker.log") as worker:
            process = psutil.Process(worker.process.pid)
            begun = time.monotonic()
            published = consumed = 0
            while consumed < tweets:
                if published < tweets and published - consumed < _AHEAD:
                    chunk = list(islice(texts, min(_CHUNK, tweets - published)))
                    publisher.publish(
                        Message(cluster.settings.input_topic, None, text.encode(), [])
                        for text in chunk
                    )
                    published += len(chunk)
                else:
                    time.sleep(0.5)
                consumed = worker.consumed()
                samples.append((consumed, process.memory_info().rss / 1e6))
                if len(samples) % 50 == 0:
                    say(f"{consumed} tweets, {samples[-1][1]:.0f} MB")
            seconds = time.monotonic() - begun
        publisher.close()
    warm_up = tweets // 4
    found, interval, correlation = slope([s for s in samples if s[0] >= warm_up])
    return Soak(tweets, seconds, warm_up, samples, found, interval, correlation)


def distinct_texts(choose: random.Random) -> Iterator[str]:
    """Yield distinct texts without end, with as many new chunks as a live stream.

    To the sample's words come what is new all the time in one: in every text a URL, in half of them
    a mention, a number in a third, and a misspelling in a fifth.
    """
    for number, text in enumerate(mixed_texts(choose)):
        words = [*text.split(), f"http://t.co/{number:x}{choose.choice(_LETTERS)}"]
        if choose.random() < 1 / 2:
            words.insert(0, f"@{_word(choose, 9)}")
        if choose.random() < 1 / 3:
            words.insert(choose.randrange(len(words)), str(choose.randrange(10**6)))
        if choose.random() < 1 / 5:
            words.insert(choose.randrange(len(words)), _word(choose, 7))
        yield " ".join(words)


def _word(choose: random.Random, length: int) -> str:
    return "".join(choose.choices(_LETTERS, k=length))


def slope(samples: list[tuple[int, float]]) -> tuple[float, tuple[float, float], float]:
    """Return MB per million tweets by least squares, with its 95 % interval and autocorrelation.

    Samples that follow each other are almost the same, so that the usual interval of all of them
    would be far too narrow. The samples are therefore averaged over blocks of as many tweets, which
    makes them nearly independent; what correlation is left between the residuals of neighbouring
    blocks, r, widens the standard error by √((1 + r) / (1 − r)), as for an autoregressive process
    of order 1 (Wilks, Statistical Methods in the Atmospheric Sciences, "effective sample size").
    """
    tweets, memory = np.array(samples, dtype=np.float64).T / np.array([[1e6], [1.0]])
    edges = np.linspace(tweets[0], tweets[-1], _BLOCKS + 1)
    block = np.clip(np.searchsorted(edges, tweets, side="right") - 1, 0, _BLOCKS - 1)
    filled = np.unique(block)
    x = np.array([tweets[block == b].mean() for b in filled])
    y = np.array([memory[block == b].mean() for b in filled])
    fit = stats.linregress(x, y)
    residuals = y - fit.intercept - fit.slope * x
    spread = float((residuals**2).sum())
    correlation = float((residuals[1:] * residuals[:-1]).sum()) / spread if spread else 0.0
    r = min(max(correlation, 0.0), 0.99)
    error = float(fit.stderr) * math.sqrt((1 + r) / (1 - r))
    half = float(stats.t.ppf(0.975, len(x) - 2)) * error
    return float(fit.slope), (float(fit.slope) - half, float(fit.slope) + half), correlation

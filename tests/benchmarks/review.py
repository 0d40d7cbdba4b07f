"""Cost of choosing review tweets: python -m tests.benchmarks.review BUNDLE…

Batches are triaged in one process, without Kafka. Printed is review's share of the CPU time; of the
worker's whole work, with Kafka, it is a smaller one.
"""

import itertools
import random
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from shared.bundle.load import load_bundle
from tests.benchmarks.tweets import MIXES, values
from tests.conftest import SAMPLE
from trainer.data.read import read_dataset
from worker.kafka.records import Record
from worker.messages.alert import Model
from worker.review import Review
from worker.triage import Triage

_BATCH = 1024
_BATCHES = 16
_ROUNDS = 9
_PER_MINUTE = 10


class Spent:
    """CPU seconds of the step `review`."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        start = time.process_time()
        yield
        if name == "review":
            self.seconds += time.process_time() - start


def main(folders: list[str]) -> None:
    """Measure each bundle with each mix of texts, and print the figures."""
    texts = read_dataset(SAMPLE).texts
    for folder, mix in itertools.product(folders, MIXES):
        bundle = load_bundle(Path(folder))
        spent = Spent()
        triage = Triage(
            bundle.scorer,
            Model(bundle.manifest.name, 1, ""),
            bundle.manifest.threshold,
            "alerts",
            "dead",
            lambda: datetime.now(UTC),
            spent.step,
            review=Review("review", _PER_MINUTE, time.monotonic, random.Random(1).random),
        )
        costs, shares = [], []
        for turn in range(_ROUNDS):
            count = _BATCHES * _BATCH
            records = [
                Record("tweets.raw", 0, n, 0, None, value, ())
                for n, value in enumerate(values(texts, mix, count, turn * count))
            ]
            spent.seconds = 0.0
            start = time.process_time()
            for first in range(0, count, _BATCH):
                triage(records[first : first + _BATCH])
            whole = time.process_time() - start
            costs.append(1e6 * spent.seconds / count)
            shares.append(spent.seconds / whole)
        print(
            f"{bundle.manifest.name}, {mix}: {statistics.median(costs[1:]):.2f} µs a tweet, "
            f"{statistics.median(shares[1:]):.2%} of the triage's CPU time"
        )


if __name__ == "__main__":
    main(sys.argv[1:])

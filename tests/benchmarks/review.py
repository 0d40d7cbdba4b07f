"""Cost of choosing review tweets: python -m tests.benchmarks.review BUNDLE…

Batches are triaged in one process, without Kafka, with and without a review topic by turns. Printed
are medians over the turns, with their quartiles. A worker does more for a tweet than to triage it,
so review's share of its time is smaller.
"""

import gc
import itertools
import random
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
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
_TURNS = 16
_WARM_UP = 2
_PER_MINUTE = 10


class Measured:
    """A triage with a bundle of its own, so that neither is faster for what the other has read.

    Attributes:
        figures: of each turn: microseconds of CPU time a tweet, those of the step `review`, and
            tweets/s.
    """

    def __init__(self, folder: str, review: Review | None) -> None:
        bundle = load_bundle(Path(folder))
        self.name = bundle.manifest.name
        self.figures: dict[str, list[float]] = defaultdict(list)
        self._review_seconds = 0.0
        self._triage = Triage(
            bundle.scorer,
            Model(self.name, 1, ""),
            bundle.manifest.threshold,
            "alerts",
            "dead",
            lambda: datetime.now(UTC),
            self._step,
            review=review,
        )

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        start = time.process_time()
        yield
        if name == "review":
            self._review_seconds += time.process_time() - start

    def take_turn(self, records: Sequence[Record]) -> None:
        """Triage some records, and keep the figures."""
        self._review_seconds = 0.0
        begin, start = time.perf_counter(), time.process_time()
        for first in range(0, len(records), _BATCH):
            self._triage(records[first : first + _BATCH])
        cpu, seconds = time.process_time() - start, time.perf_counter() - begin
        self.figures["cpu"].append(1e6 * cpu / len(records))
        self.figures["review"].append(1e6 * self._review_seconds / len(records))
        self.figures["rate"].append(len(records) / seconds)


def main(folders: list[str]) -> None:
    """Measure each bundle with each mix of texts, and print the figures."""
    texts = read_dataset(SAMPLE).texts
    for folder, mix in itertools.product(folders, MIXES):
        review = Review("review", _PER_MINUTE, time.monotonic, random.Random(1).random)
        chosen, without = Measured(folder, review), Measured(folder, None)
        gc.freeze()
        for turn in range(_WARM_UP + _TURNS):
            count = _BATCHES * _BATCH
            records = [
                Record("tweets.raw", 0, n, 0, None, value, ())
                for n, value in enumerate(values(texts, mix, count, turn * count))
            ]
            for one in (chosen, without) if turn % 2 else (without, chosen):
                one.take_turn(records)
        with_review, plain = (
            {name: some[_WARM_UP:] for name, some in one.figures.items()}
            for one in (chosen, without)
        )
        ratios = [
            100 * (one / other - 1)
            for one, other in zip(with_review["cpu"], plain["cpu"], strict=True)
        ]
        shares = [
            100 * one / other
            for one, other in zip(with_review["review"], plain["cpu"], strict=True)
        ]
        print(
            f"{chosen.name}, {mix} texts\n"
            f"  without review: {_spread(plain['cpu'])} µs a tweet, "
            f"{_spread(plain['rate'], 0)} tweets/s\n"
            f"  with review:    {_spread(with_review['cpu'])} µs a tweet, "
            f"{_spread(with_review['rate'], 0)} tweets/s\n"
            f"  difference of a pair of turns: {_spread(ratios)} %\n"
            f"  the step itself: {_spread(with_review['review'])} µs a tweet, {_spread(shares)} %",
            flush=True,
        )


def _spread(figures: Sequence[float], digits: int = 2) -> str:
    """Return median and quartiles."""
    low, middle, high = statistics.quantiles(figures, n=4)
    return f"{middle:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


if __name__ == "__main__":
    main(sys.argv[1:])

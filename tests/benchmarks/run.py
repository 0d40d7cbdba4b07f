"""Run: what a run of a contender showed, measured in its own process or from the worker's page."""

import sys
import time

import msgspec
import psutil


class Run(msgspec.Struct, frozen=True):
    """Figures of one run, after its warm-up.

    Attributes:
        rate: tweets/s of wall time.
        cpu: CPU seconds per million tweets, of the contender's process alone.
        resident: MB at the end.
        start_up: seconds from the process' start to the first alert.
        alerts: share of the tweets.
        steps: microseconds per tweet, by the worker's steps; of the worker only.
    """

    rate: float
    cpu: float
    resident: float
    start_up: float
    alerts: float
    steps: dict[str, float] = {}


class Stopwatch:
    """Counts a contender's tweets, in its own process, from the end of the warm-up to the last.

    Args:
        warm_up: tweets that are not measured.
        tweets: tweets that are.

    Attributes:
        seen: tweets so far.
    """

    def __init__(self, warm_up: int, tweets: int) -> None:
        self._warm_up, self._tweets = warm_up, tweets
        self._process = psutil.Process()
        self.seen = self._alerts = self._first = 0
        self._first_alert = self._start = self._cpu = 0.0

    def add(self, tweets: int, alerts: int) -> bool:
        """Count finished tweets, and return whether there are enough."""
        self.seen += tweets
        self._alerts += alerts
        if alerts and not self._first_alert:
            self._first_alert = time.time()
        if not self._first and self.seen >= self._warm_up:
            self._first, self._start = self.seen, time.perf_counter()
            self._cpu = time.process_time()
        return self.seen >= self._warm_up + self._tweets

    def tell(self) -> None:
        """Write the figures to standard output."""
        seconds, cpu = time.perf_counter() - self._start, time.process_time() - self._cpu
        tweets = self.seen - self._first
        run = Run(
            rate=tweets / seconds,
            cpu=cpu / tweets * 1e6,
            resident=self._process.memory_info().rss / 1e6,
            start_up=self._first_alert - self._process.create_time(),
            alerts=self._alerts / self.seen,
        )
        sys.stdout.write(msgspec.json.encode(run).decode() + "\n")
        sys.stdout.flush()

"""Parts: text → ids and predict alone, on one core, without Kafka.

python -m tests.benchmarks.parts TEXTS BUNDLE
"""

import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from shared.bundle.load import load_bundle
from shared.model.scorer import Scorer
from tests.benchmarks.bench import Bench
from tests.benchmarks.tweets import mixed

_BATCH_SIZES = (256, 1024, 4096)
_TWEETS = 16_384
_REPEATS = 5


def measure(bench: Bench, tell: Callable[[str], None]) -> dict[str, dict[str, float]]:
    """Return tweets/s by model and part. Each model runs in a process of its own."""
    found = {}
    for model, bundle in bench.models.items():
        tell(f"parts of {model}")
        command = [sys.executable, "-m", "tests.benchmarks.parts", str(bench.texts), str(bundle)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        found[model] = json.loads(done.stdout)
    return found


def tables(found: dict[str, dict[str, float]]) -> list[Table]:
    """Return the results as tables."""
    table = Table("part, tweets/s on one core", *found, box=box.SIMPLE_HEAD, title="Parts")
    for part in next(iter(found.values())):
        table.add_row(part, *(f"{figures[part]:,.0f}" for figures in found.values()))
    return [table]


def main() -> None:
    """Measure one bundle on one core."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    texts, bundle = sys.argv[1:]
    scorer = load_bundle(Path(bundle)).scorer
    labelled = json.loads(Path(texts).read_text())
    seen = list(itertools.islice(mixed(labelled, "repeating"), _TWEETS))
    new = list(itertools.islice(mixed(labelled, "distinct"), (_REPEATS + 1) * _TWEETS))
    scorer.encode(labelled)
    found = {"encode, chunks seen before": _rate([seen] * (_REPEATS + 1), _encode(scorer))}
    rounds = [new[start : start + _TWEETS] for start in range(0, len(new), _TWEETS)]
    found["encode, one new chunk a tweet"] = _rate(rounds, _encode(scorer))
    for size in _BATCH_SIZES:
        batches = [scorer.encode(some) for some in _batches(seen, size)]

        def predict(_: Any, batches: Sequence[Any] = batches) -> None:
            for batch in batches:
                scorer.predict(scorer.pad(batch))

        found[f"pad and predict, {size:,} at a time"] = _rate([seen] * (_REPEATS + 1), predict)
    sys.stdout.write(json.dumps(found))


def _encode(scorer: Scorer) -> Callable[[Sequence[str]], None]:
    def encode(texts: Sequence[str]) -> None:
        for batch in _batches(texts, 1024):
            scorer.encode(batch)

    return encode


def _batches(texts: Sequence[str], size: int) -> list[Sequence[str]]:
    return [texts[start : start + size] for start in range(0, len(texts), size)]


def _rate(rounds: Sequence[Sequence[str]], work: Callable[[Sequence[str]], None]) -> float:
    """Return the median of tweets per second of CPU-bound work. The first round warms up."""
    rates = []
    for texts in rounds:
        start = time.process_time()
        work(texts)
        rates.append(len(texts) / (time.process_time() - start))
    return statistics.median(rates[1:])


if __name__ == "__main__":
    main()

"""What labels of a crisis are worth: ROC AUC by event after 0, 50, 100 and 200 labels.

    python -m tests.benchmarks.adaptation --bundle FOLDER --events FOLDER [--published FILE]

The protocol: a crisis' tweets are shuffled, by three seeds; the first 500 are the pool from which
labels are asked, the rest is the test. Labels are chosen as `--choose` says: `random`, or
`uncertain`: of each round (to 50, 100, 200) two fifths at random and the others nearest to the
threshold of the model as adapted so far. Where `adapt` refuses labels, the base's figure counts.

Intervals are of the mean over seeds: 95 %, by bootstrap of the crises' test tweets (for an event)
or of the events (for the mean).
"""

import argparse
import csv
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from shared.bundle.load import load_bundle
from shared.errors import DataError
from shared.model.scorer import Scorer
from trainer.adapt.learn import adapt
from trainer.adapt.network import Network
from trainer.data.dataset import Dataset
from trainer.data.read import read_dataset
from trainer.data.split import cut_test

SIZES = (50, 100, 200)
POOL = 500
SEEDS = 3
RESAMPLES = 500
_RANDOM_SHARE = 0.4
_INFORMATIVE = "Related and informative"
_LEFT_OUT = "Not applicable"


class Event(msgspec.Struct, frozen=True):
    """A crisis: its tweets, and which of them are informative."""

    name: str
    texts: list[str]
    labels: npt.NDArray[np.int8]


class Row(msgspec.Struct):
    """The figures of one event, each a list over seeds.

    Attributes:
        auc: number of labels → ROC AUC on the test.
        low: number of labels → lower end of its interval.
        high: number of labels → upper end.
        accuracy: number of labels → accuracy at the threshold.
        error: number of labels → expected calibration error.
        lost: ROC AUC that the published test part loses with the most labels.
        seconds: CPU time of an adaptation.
        refused: number of labels that were refused.
    """

    auc: dict[int, list[float]] = msgspec.field(default_factory=lambda: defaultdict(list))
    low: dict[int, list[float]] = msgspec.field(default_factory=lambda: defaultdict(list))
    high: dict[int, list[float]] = msgspec.field(default_factory=lambda: defaultdict(list))
    accuracy: dict[int, list[float]] = msgspec.field(default_factory=lambda: defaultdict(list))
    error: dict[int, list[float]] = msgspec.field(default_factory=lambda: defaultdict(list))
    lost: list[float] = []
    seconds: list[float] = []
    refused: list[int] = []


def read_events(folder: Path) -> Iterator[Event]:
    """Read the crises of CrisisLexT26, by name."""
    for path in sorted(folder.glob("*.csv")):
        texts, labels = [], []
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            for row in csv.DictReader(file, skipinitialspace=True):
                cells = {(key or "").strip(): (value or "").strip() for key, value in row.items()}
                if cells["Informativeness"] != _LEFT_OUT:
                    texts.append(cells["Tweet Text"])
                    labels.append(cells["Informativeness"] == _INFORMATIVE)
        yield Event(path.stem, texts, np.array(labels, np.int8))


def measure_event(
    event: Event,
    folder: Path,
    choose: str,
    published: tuple[list[str], npt.NDArray[np.int8]] | None,
) -> Row:
    """Adapt the bundle to an event, by every seed and number of labels."""
    base = load_bundle(folder)
    sizes = (0, *SIZES)
    row = Row()
    for seed in range(SEEDS):
        order = np.random.default_rng(seed).permutation(len(event.texts))
        pool, test = order[:POOL], order[POOL:]
        if not 0.03 <= event.labels[test].mean() <= 0.97:
            continue
        scorer, chosen = base.scorer, np.empty(0, np.intp)
        for size in sizes:
            if size:
                more = _choose(
                    event, pool, chosen, size, scorer, choose, base.manifest.threshold, seed
                )
                chosen = np.concatenate([chosen, more])
                start = time.process_time()
                try:
                    scorer = adapt(Network(folder), _dataset(event, chosen)).scorer
                    row.seconds.append(time.process_time() - start)
                except DataError:
                    row.refused.append(size)
            probabilities = scorer.score([event.texts[place] for place in test])
            _add(row, size, event.labels[test], probabilities, base.manifest.threshold, seed)
        if published:
            before, after = (
                roc_auc_score(published[1], one.score(published[0]))
                for one in (base.scorer, scorer)
            )
            row.lost.append(float(before - after))
    return row


def _dataset(event: Event, rows: npt.NDArray[np.intp]) -> Dataset:
    texts = [event.texts[row] for row in rows]
    return Dataset(event.name, texts, event.labels[rows], np.ones(len(rows), np.float32), "")


def _choose(
    event: Event,
    pool: npt.NDArray[np.intp],
    chosen: npt.NDArray[np.intp],
    size: int,
    scorer: Scorer,
    how: str,
    threshold: float,
    seed: int,
) -> npt.NDArray[np.intp]:
    """Choose the tweets of the pool that are labelled next."""
    left = pool[~np.isin(pool, chosen)]  # in random order
    count = size - len(chosen)
    if how == "random":
        return left[:count]
    drawn = np.random.default_rng(seed).choice(left, round(_RANDOM_SHARE * count), replace=False)
    left = left[~np.isin(left, drawn)]
    distance = np.abs(scorer.score([event.texts[place] for place in left]) - threshold)
    nearest = left[np.argsort(distance, kind="stable")[: count - len(drawn)]]
    return np.concatenate([drawn, nearest])


def _add(
    row: Row,
    size: int,
    labels: npt.NDArray[np.int8],
    probabilities: npt.NDArray[np.float32],
    threshold: float,
    seed: int,
) -> None:
    draw = np.random.default_rng(seed)
    areas = []
    for _ in range(RESAMPLES):
        rows = draw.integers(len(labels), size=len(labels))
        if 0 < labels[rows].sum() < len(rows):
            areas.append(roc_auc_score(labels[rows], probabilities[rows]))
    low, high = np.quantile(areas, [0.025, 0.975])
    bins = np.minimum((10 * probabilities).astype(int), 9)
    surplus = [float((probabilities - labels)[bins == one].sum()) for one in range(10)]
    for values, value in (
        (row.auc, float(roc_auc_score(labels, probabilities))),
        (row.low, float(low)),
        (row.high, float(high)),
        (row.accuracy, float(np.mean((probabilities >= threshold) == labels))),
        (row.error, float(np.abs(surplus).sum() / len(labels))),
    ):
        values[size].append(value)


def _mean_of_events(rows: list[Row], size: int) -> str:
    values = np.array([np.mean(row.auc[size]) for row in rows])
    draw = np.random.default_rng(0)
    means = values[draw.integers(len(values), size=(2000, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return f"**{values.mean():.3f}** ({low:.3f}–{high:.3f})"


def main() -> None:
    """Print the table, in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--events", type=Path, required=True)
    parser.add_argument("--published", type=Path)
    parser.add_argument("--choose", choices=("random", "uncertain"), default="random")
    arguments = parser.parse_args()
    published = None
    if arguments.published:
        dataset = read_dataset(arguments.published)
        test = cut_test(dataset)[1]
        published = dataset.texts_of(test), dataset.labels[test]
    sizes = (0, *SIZES)
    print("| event | " + " | ".join(map(str, sizes)) + " | lost on published | refused |")
    print("| --- |" + " --- |" * (len(sizes) + 2))
    rows = []
    for event in read_events(arguments.events):
        row = measure_event(event, arguments.bundle, arguments.choose, published)
        if not row.auc[0]:
            continue
        rows.append(row)
        cells = [
            "{:.3f} ({:.3f}–{:.3f})".format(
                *(np.mean(v[size]) for v in (row.auc, row.low, row.high))
            )
            for size in sizes
        ]
        lost = f"{np.mean(row.lost):.4f}" if row.lost else ""
        refused = ", ".join(map(str, row.refused))
        print(f"| {event.name} | {' | '.join(cells)} | {lost} | {refused} |", flush=True)
    means = " | ".join(_mean_of_events(rows, size) for size in sizes)
    lost = f"{np.mean([one for row in rows for one in row.lost]):.4f}" if published else ""
    print(f"| mean | {means} | {lost} | |")
    for name in ("accuracy", "error"):
        values = [np.mean([np.mean(getattr(row, name)[size]) for row in rows]) for size in sizes]
        print(f"| {name} | {' | '.join(f'{value:.3f}' for value in values)} | | |")
    seconds = [one for row in rows for one in row.seconds]
    print(f"\nCPU seconds of an adaptation: {np.mean(seconds):.1f}, at most {max(seconds):.1f}")


if __name__ == "__main__":
    main()

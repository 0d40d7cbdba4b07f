"""Quality and speed of incidents: python -m tests.benchmarks.incidents [FOLDER OF CRISISLEX].

Nine crises of CrisisLexT26 are mixed into one stream, in three orders. Reported are, of all pairs
of alerts in one incident, the share that belongs to one crisis; the incidents; alerts per second of
one core. Then 3,000 variants of one tweet with five others.
"""

import csv
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.conftest import ROOT
from tests.desk.test_incidents import OTHERS, QUAKE, variants
from worker.desk.incidents import Incidents

FOLDER = ROOT.parent / "shared" / "data" / "crisislex"


def read_crises(folder: Path) -> list[tuple[str, str]]:
    """Return the crisis and the text of each tweet that a label calls on-topic or off-topic."""
    tweets = []
    for path in sorted(folder.glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file, skipinitialspace=True):
                fields = {name.strip(): value.strip() for name, value in row.items()}
                if fields["Informativeness"] != "Not applicable":
                    tweets.append((path.stem, fields["Tweet Text"]))
    return tweets


def place(texts: Iterable[str], likeness: float) -> tuple[list[int], float]:
    """Return the incident of each text after all merges, and the CPU seconds it took."""
    incidents = Incidents(likeness=likeness)
    numbers: list[int] = []
    into: dict[int, int] = {}
    started = time.process_time()
    for text in texts:
        placement = incidents.add(text, 0)
        numbers.append(placement.incident)
        into |= dict.fromkeys(placement.merged, placement.incident)
    seconds = time.process_time() - started
    for position, number in enumerate(numbers):
        while number in into:
            number = into[number]
        numbers[position] = number
    return numbers, seconds


def purity(events: Sequence[str], numbers: Sequence[int]) -> tuple[float, int]:
    """Return the share of pairs within an incident of one event, and the number of pairs."""
    members: dict[int, Counter[str]] = defaultdict(Counter)
    for event, number in zip(events, numbers, strict=True):
        members[number][event] += 1
    every = sum(n * (n - 1) // 2 for n in (c.total() for c in members.values()))
    same = sum(n * (n - 1) // 2 for c in members.values() for n in c.values())
    return same / max(1, every), every


def main(folder: Path = FOLDER, likeness: float = 0.5) -> None:
    """Print the figures."""
    tweets = read_crises(folder)
    for seed in range(3):
        random.Random(seed).shuffle(tweets)
        numbers, seconds = place([text for _, text in tweets], likeness)
        share, pairs = purity([event for event, _ in tweets], numbers)
        print(
            f"order {seed}: {share:.4f} of {pairs:,} pairs belong to one event; {len(tweets):,} "
            f"alerts in {len(set(numbers)):,} incidents; {len(tweets) / seconds:,.0f} alerts/s"
        )
    chance = random.Random(0)
    texts = variants(QUAKE, 3000, chance)
    for other in OTHERS:
        texts.insert(chance.randrange(len(texts)), other)
    numbers, seconds = place(texts, likeness)
    sizes = Counter(numbers)
    alone = sum(sizes[numbers[texts.index(other)]] == 1 for other in OTHERS)
    print(
        f"3,000 variants and 5 others: {len(sizes)} incidents, {alone} of the 5 stand alone; "
        f"{len(texts) / seconds:,.0f} alerts/s"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)

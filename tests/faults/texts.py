"""Texts: tweets made of the sample's words, as many distinct ones as are wanted."""

import csv
import random
from collections.abc import Iterator

from tests.conftest import SAMPLE


def mixed_texts(choose: random.Random) -> Iterator[str]:
    """Yield texts without end: the start of one sample tweet and the start of another.

    Many of them lie near the threshold, which no tweet of the sample does by itself.
    """
    with SAMPLE.open(newline="", encoding="utf-8") as file:
        sample = [row["text"].split() for row in csv.DictReader(file)]
    while True:
        first, second = choose.choice(sample), choose.choice(sample)
        mixed = first[: choose.randint(1, len(first))] + second[: choose.randint(0, len(second))]
        yield " ".join(mixed)

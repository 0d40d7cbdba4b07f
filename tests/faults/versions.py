"""Versions: the bundles that a run promotes, and the texts on which all of them agree."""

import random
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import msgspec
import numpy as np

from shared.arrays import Floats
from shared.bundle.files import MANIFEST
from shared.bundle.load import load_bundle
from shared.registry.folder import FolderRegistry
from tests.faults.texts import mixed_texts

_MARGIN = 0.05
"""Between a text's probability and the threshold, by every version: 500 times what a probability
may differ by from one batch to another, so that no rounding turns a decision."""


class Scores(msgspec.Struct, frozen=True):
    """One version of the registry, and what it says of the texts.

    Attributes:
        digest: the SHA-256 of its manifest.
        probabilities: of each text, in order.
    """

    digest: str
    threshold: float
    probabilities: Floats


class Versions(msgspec.Struct, frozen=True):
    """What the versions say of the texts.

    Attributes:
        scores: by version number.
        relevant: by text; by every version, with a margin.
        place: of each text in `Scores.probabilities`.
    """

    scores: Mapping[int, Scores]
    relevant: Mapping[str, bool]
    place: Mapping[str, int]

    def probability(self, version: int, text: str) -> float:
        """Return a version's probability of a text."""
        return float(self.scores[version].probabilities[self.place[text]])


def register_all(bundles: Path, registry: FolderRegistry) -> None:
    """Register all bundles below a folder. Put the first in production, the last before it."""
    numbers = [
        registry.register(path.parent).number for path in sorted(bundles.glob(f"*/{MANIFEST}"))
    ]
    for number in (numbers[-1], numbers[0]):  # so that there is something to roll back to
        registry.promote(str(number))


def score_all(registry: FolderRegistry, choose: random.Random, count: int) -> Versions:
    """Score texts with every version, and keep `count` of those on which all versions agree."""
    bundles = {
        version.number: load_bundle(registry.folder / "versions" / str(version.number))
        for version in registry.versions()
    }
    texts = list(dict.fromkeys(islice(mixed_texts(choose), 3 * count)))
    found = {number: bundle.scorer.score(texts) for number, bundle in bundles.items()}
    over = np.stack(
        [found[number] - bundle.manifest.threshold for number, bundle in bundles.items()]
    )
    agreed = (over >= _MARGIN).all(axis=0) | (over <= -_MARGIN).all(axis=0)
    kept = np.flatnonzero(agreed)[:count]
    if len(kept) < count:
        raise ValueError(f"expected {count} texts on which the versions agree, got {len(kept)}")
    relevant = {texts[i]: bool(over[0, i] > 0) for i in kept}
    return Versions(
        {
            number: Scores(bundle.digest, bundle.manifest.threshold, found[number][kept])
            for number, bundle in bundles.items()
        },
        relevant,
        {text: place for place, text in enumerate(relevant)},
    )

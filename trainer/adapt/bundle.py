"""The bundle of an adapted network: what `trainer.adapt.learn` returns → files and figures."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np

from shared.bundle.files import read_trained_on, write_bundle
from shared.bundle.load import load_bundle
from shared.bundle.manifest import Adaptation, Manifest
from shared.bundle.quality import Figure, OperatingPoint
from shared.errors import DataError
from shared.registry.base import Version
from trainer.adapt.learn import FEWEST_OF_A_CLASS, Adapted
from trainer.data.dataset import Dataset
from trainer.data.duplicates import near_duplicates
from trainer.data.same_text import normalized_hashes, word_hashes
from trainer.evaluate.bootstrap import Scores, draw, measure, measure_difference
from trainer.evaluate.metrics import decisions, evaluate
from trainer.report.model_card import model_card

PART = "labels"
"""The part of the data that the figures of an adapted bundle are of."""


class Comparison(msgspec.Struct, frozen=True):
    """How an adapted network compares with another version; fields as in `Adaptation`."""

    compared: int
    before: dict[str, Figure]
    after: dict[str, Figure]
    difference: dict[str, Figure]
    curve: dict[int, dict[str, Figure]]


def compare(
    dataset: Dataset, adapted: Adapted, other: Version, folder: Path, relearned: bool
) -> Comparison:
    """Compare an adapted network with another version, on labels that the other did not learn.

    Args:
        other: with its own threshold, which the adapted one takes over from its base.
        folder: of the other version's bundle.
        relearned: whether the other may have learned some of the labels.

    Raises:
        BundleError: if the other version's bundle cannot be loaded.
        DataError: if the other version has learned nearly all of them.
    """
    rows = np.arange(len(dataset.texts))
    if relearned:
        seen = near_duplicates(dataset, rows, other.manifest, folder)
        rows = rows if seen is None else rows[~seen]
    labels = dataset.labels[rows]
    if relearned and np.bincount(labels, minlength=2).min() < FEWEST_OF_A_CLASS:
        raise DataError(
            f"{dataset.name}: version {other.number} has learned all but {len(rows)} of "
            f"the labelled tweets: expected {FEWEST_OF_A_CLASS} new ones or more of each label to "
            "compare with it"
        )
    threshold = other.manifest.threshold
    first = Scores(adapted.probabilities[rows], threshold)
    second = Scores(load_bundle(folder).scorer.score(dataset.texts_of(rows)), threshold)
    counts = draw(len(rows))
    return Comparison(
        len(rows),
        before=measure(labels, second, counts),
        after=measure(labels, first, counts),
        difference=measure_difference(labels, first, second, counts),
        curve={
            count: measure(labels, Scores(probabilities[rows], threshold), counts)
            for count, probabilities in adapted.curve.items()
        },
    )


def write_adapted(
    folder: Path,
    base: Version,
    other: Version,
    other_folder: Path,
    adapted: Adapted,
    dataset: Dataset,
    source: Path,
) -> Manifest:
    """Write the bundle of an adapted network.

    Thresholds stay those of the base: they cut calibrated probabilities, and labels that were
    chosen to be learned from would say little about them.

    Args:
        folder: of the new bundle.
        base: the version that learned.
        other: the version to compare with, which may be the base.
        other_folder: of its bundle.
        dataset: the labels that it learned.
        source: folder of the base's bundle.

    Raises:
        BundleError: if the bundle cannot be written.
        DataError: as `compare` does.
    """
    before, labels, network = base.manifest, dataset.labels, adapted.network
    comparison = compare(
        dataset, adapted, other, other_folder, relearned=other.digest != base.digest
    )
    adaptation = Adaptation(
        base=base.digest,
        version=base.number,
        name=dataset.name,
        sha256=dataset.sha256,
        labels=len(labels),
        relevant=int(labels.sum()),
        keywords=adapted.keywords,
        coverage=adapted.coverage,
        compared_with=other.digest,
        **msgspec.structs.asdict(comparison),
    )
    manifest = msgspec.structs.replace(
        network.manifest,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        calibration=adapted.scorer.calibration,
        metrics={PART: evaluate(labels, adapted.probabilities, before.threshold)},
        files={},
        operating_points={
            name: OperatingPoint(
                point.threshold,
                {PART: decisions(labels, adapted.probabilities, point.threshold)},
            )
            for name, point in before.operating_points.items()
        },
        quality=None,
        adaptation=adaptation,
    )
    learned = [normalized_hashes(dataset.texts), word_hashes(dataset.texts)]
    trained_on = read_trained_on(source)
    return write_bundle(
        folder,
        manifest,
        adapted.weights,
        network.vocabulary,
        network.pipeline,
        adapted.scorer,
        np.unique(np.concatenate([*learned, *([] if trained_on is None else [trained_on])])),
        model_card(manifest),
        network.vectors,
    )

"""Gate before promotion: compares a candidate with production on tweets that neither has seen.

The candidate is worse beyond chance if the 95 % interval of a difference, candidate minus
production, lies below zero: of the area under the ROC curve, which judges how a model ranks, or of
accuracy, which judges what it decides. One that is as good as production seems worse by either in
2.5 % of cases, and is refused by chance in 5 % of them at most.
"""

from pathlib import Path

import msgspec
import numpy as np
from rich.table import Table

from shared.bundle.load import Bundle
from shared.bundle.manifest import Manifest
from shared.bundle.quality import Figure
from shared.registry.base import Version
from trainer.data.dataset import Dataset
from trainer.data.duplicates import (
    OVERLAP,
    held_out_rows,
    near_duplicates,
    trained_on,
    without_repeats,
)
from trainer.evaluate.bootstrap import (
    Scores,
    draw,
    mcnemar,
    measure,
    measure_difference,
    share,
    share_difference,
)
from trainer.evaluate.metrics import figures_table

_JUDGED = {"roc_auc": "ROC AUC", "accuracy": "accuracy"}
_FEWEST = 10
"""Tweets of each label that a comparison takes."""


class LoadedVersion(msgspec.Struct, frozen=True):
    """A version of the registry, and its bundle: the folder it was fetched to, and loaded."""

    version: Version
    folder: Path
    bundle: Bundle


class Verdict(msgspec.Struct, frozen=True):
    """What the gate found.

    Attributes:
        table: both versions' figures and the difference; None if they could not be compared.
        notes: what else is to be known about the comparison.
        refusals: why the candidate should not be promoted; none if it passes.
    """

    table: Table | None
    notes: list[str]
    refusals: list[str]


def judge(candidate: LoadedVersion, production: LoadedVersion, dataset: Dataset) -> Verdict:
    """Compares both versions on labelled tweets that are held out and new to both.

    Held out is the test part if one of them was trained on this data, or else every tweet. Those
    that are near-duplicates of a text that either was trained on are left out, and counted in the
    notes: a few are there in honest data too, where people repeat each other. A candidate that was
    trained on more than `OVERLAP` of the tweets is refused. Of tweets that repeat each other one is
    judged, and the others are counted in the notes.

    Raises:
        BundleError: if a bundle's hashes of its training texts cannot be read.
    """
    contenders = (candidate, production)
    manifests = [contender.version.manifest for contender in contenders]
    rows, test_part = held_out_rows(dataset, manifests)
    part = f"{len(rows)} tweets of {dataset.name}" + (" (the test part)" if test_part else "")
    new = np.ones(len(rows), np.bool_)
    notes: list[str] = []
    refusals: list[str] = []
    for contender, manifest in zip(contenders, manifests, strict=True):
        seen = near_duplicates(dataset, rows, manifest, contender.folder)
        called = _called(contender.version)
        if seen is None:
            said = f"{called} does not say which texts it was trained on"
            (refusals if contender is candidate else notes).append(said)
            continue
        new &= ~seen
        own = trained_on(manifest, dataset)
        said = f"{called} was trained on near-duplicates of {int(seen.sum())} of the {part}"
        if contender is candidate and not own and seen.mean() > OVERLAP:
            refusals.append(f"{said}, more than {OVERLAP:.0%}: they are not held out from it")
        elif seen.any():
            notes.append(f"{said}: they are left out")
    rows = without_repeats(dataset, rows[new])
    if repeats := int(new.sum()) - len(rows):
        notes.append(f"{repeats} of the {part} repeat the words of another: they are left out")
    if np.bincount(dataset.labels[rows], minlength=2).min() < _FEWEST:
        refusals.append(
            f"{len(rows)} of the {part} are new to both versions and repeat none: a comparison "
            f"takes {_FEWEST} of each label at least"
        )
        return Verdict(None, notes, refusals)
    texts, labels = dataset.texts_of(rows), dataset.labels[rows]
    first, second = (
        Scores(contender.bundle.scorer.score(texts), contender.bundle.manifest.threshold)
        for contender in contenders
    )
    counts = draw(len(rows))
    differences = measure_difference(labels, first, second, counts)
    test = mcnemar(labels, first, second)
    notes.append(
        f"{test.only_first} tweets are decided rightly by {_called(candidate.version)} alone, "
        f"{test.only_second} by {_called(production.version)} alone "
        f"(McNemar's exact test: p = {test.p:.3f})"
    )
    figures = [measure(labels, first, counts), measure(labels, second, counts), differences]
    title = f"{len(rows)} tweets that are new to both"
    return Verdict(
        _table(candidate.version, production.version, figures, title),
        notes,
        refusals + _worse(candidate.version, production.version, differences),
    )


def judge_recorded(candidate: Version, production: Version) -> Verdict:
    """Compares what training said of both versions, which takes no data but says less.

    They must have been tested on the same test part. Of their accuracies each is a share of its own
    then, and the difference has a wider interval than one of paired rows. So has that of the areas
    under the ROC curve, where both manifests hold them: their bootstrap intervals are combined as
    those of the shares are (`share_difference`).
    """
    manifests = [candidate.manifest, production.manifest]
    data = [manifest.data for manifest in manifests]
    if (data[0]["sha256"], data[0]["test"]) != (data[1]["sha256"], data[1]["test"]):
        told = (
            f"{_called(candidate)} was tested on {data[0]['name']}, {_called(production)} on other "
            f"tweets, of {data[1]['name']}: compare them on labelled tweets, with --data FILE"
        )
        return Verdict(None, [], [told])
    tests = int(data[0]["test"])
    first, second = (_recorded(manifest, tests) for manifest in manifests)
    differences = {
        metric: share_difference(first[metric], second[metric])
        for metric in _JUDGED
        if metric in first and metric in second
    }
    table = _table(
        candidate,
        production,
        [first, second, differences],
        f"the {tests} tweets of their test part, as training measured them",
    )
    return Verdict(table, [], _worse(candidate, production, differences))


def _recorded(manifest: Manifest, tests: int) -> dict[str, Figure]:
    """What training measured on the test part, of so many tweets, with intervals."""
    accuracy = manifest.metrics["test"]["accuracy"]
    figures = {"accuracy": share(round(accuracy * tests), tests)}
    if manifest.quality and "roc_auc" in manifest.quality.test:
        figures["roc_auc"] = manifest.quality.test["roc_auc"]
    return figures


def _called(version: Version) -> str:
    return f"version {version.number} ({version.manifest.name})"


def _worse(candidate: Version, production: Version, differences: dict[str, Figure]) -> list[str]:
    said = f"{_called(candidate)} is worse than {_called(production)} beyond chance"
    return [
        f"{said}: {name} {differences[metric]:+}"
        for metric, name in _JUDGED.items()
        if metric in differences and differences[metric].high < 0
    ]


def _table(
    candidate: Version, production: Version, figures: list[dict[str, Figure]], rows: str
) -> Table:
    """Both versions' figures and their difference; 80 columns wide for the recipes' names."""
    title = f"{_called(candidate)} against {_called(production)} in production, on {rows}"
    table = figures_table(title, "version")
    shown = [metric for metric in _JUDGED if all(metric in values for values in figures)]
    for metric in shown:
        table.add_column(_JUDGED[metric], no_wrap=True)
    names = [f"{version.number} {version.manifest.name}" for version in (candidate, production)]
    for name, values, sign in zip([*names, "difference"], figures, ("", "", "+"), strict=True):
        table.add_row(name, *(f"{values[metric]:{sign}}" for metric in shown))
    return table

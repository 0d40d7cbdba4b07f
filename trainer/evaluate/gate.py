"""Gate before promotion: compares a candidate with production on tweets that neither has seen.

The candidate is significantly worse if the 95 % interval of a difference, candidate minus
production, is below zero: of the area under the ROC curve, which measures how a model ranks, or of
accuracy, which measures what it decides. A candidate that is as good as production fails each test
in 2.5 % of cases, so it is refused by chance in 5 % of cases at most.
"""

import msgspec
import numpy as np
from rich.table import Table

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
from trainer.evaluate.loaded_model import LoadedModel
from trainer.evaluate.metrics import figures_table

_JUDGED = {"roc_auc": "ROC AUC", "accuracy": "accuracy"}
_FEWEST = 10
"""The least number of tweets of each label in a comparison."""


class Verdict(msgspec.Struct, frozen=True):
    """The result of a comparison.

    Attributes:
        table: the figures of both and their difference; None if they could not be compared.
        notes: what else a user should know about the comparison.
        refusals: why the candidate must not be promoted; none if it passes.
    """

    table: Table | None
    notes: list[str]
    refusals: list[str]


def judge(candidate: LoadedModel, production: LoadedModel, dataset: Dataset) -> Verdict:
    """Compare both models on labelled tweets that neither was trained on.

    If one of them was trained on this data, they are compared on its test part, otherwise on all
    tweets. Near-duplicates of training texts of either model are left out, and so are repeats. The
    notes count both: a few are normal, because people repeat each other. A candidate that was
    trained on more than `OVERLAP` of the tweets is refused.

    Raises:
        BundleError: if a bundle's hashes of its training texts cannot be read.
    """
    models = (candidate, production)
    rows, test_part = held_out_rows(dataset, [model.bundle.manifest for model in models])
    part = f"{len(rows)} tweets of {dataset.name}" + (" (the test part)" if test_part else "")
    new = np.ones(len(rows), np.bool_)
    notes: list[str] = []
    refusals: list[str] = []
    for model in models:
        manifest = model.bundle.manifest
        seen = near_duplicates(dataset, rows, manifest, model.folder)
        if seen is None:
            problem = f"{model.name} does not say which texts it was trained on"
            (refusals if model is candidate else notes).append(problem)
            continue
        new &= ~seen
        overlap = f"{model.name} was trained on near-duplicates of {int(seen.sum())} of the {part}"
        own = trained_on(manifest, dataset)
        if model is candidate and not own and seen.mean() > OVERLAP:
            refusals.append(f"{overlap}, more than {OVERLAP:.0%}: they are not held-out tweets")
        elif seen.any():
            notes.append(f"{overlap}: they are left out")
    rows = without_repeats(dataset, rows[new])
    if repeats := int(new.sum()) - len(rows):
        notes.append(f"{repeats} of the {part} repeat the words of another: they are left out")
    if np.bincount(dataset.labels[rows], minlength=2).min() < _FEWEST:
        refusals.append(
            f"{len(rows)} of the {part} are new to both versions and repeat none: a comparison "
            f"needs {_FEWEST} of each label"
        )
        return Verdict(None, notes, refusals)
    texts, labels = dataset.texts_of(rows), dataset.labels[rows]
    first, second = (
        Scores(model.bundle.scorer.score(texts), model.bundle.manifest.threshold)
        for model in models
    )
    counts = draw(len(rows))
    differences = measure_difference(labels, first, second, counts)
    test = mcnemar(labels, first, second)
    notes.append(
        f"{candidate.name} alone is right on {test.only_first} tweets, {production.name} alone on "
        f"{test.only_second} (McNemar's exact test: p = {test.p:.3f})"
    )
    figures = [measure(labels, first, counts), measure(labels, second, counts), differences]
    title = f"{len(rows)} tweets that are new to both"
    return Verdict(
        _table(candidate.name, production.name, figures, title),
        notes,
        refusals + _worse(candidate.name, production.name, differences),
    )


def judge_recorded(candidate: Version, production: Version) -> Verdict:
    """Compare the figures of both versions' trainings, which needs no data but says less.

    Both must have been measured on the same test part. Their rows are not paired, so the interval
    of the difference is wider: intervals of the accuracies, and of the areas under the ROC curve
    where both manifests have them, are combined by `share_difference`.
    """
    names = version_name(candidate), version_name(production)
    manifests = [candidate.manifest, production.manifest]
    for name, manifest in zip(names, manifests, strict=True):
        if "test" not in manifest.metrics:
            refusal = (
                f"{name} has learned labels since its test part was measured: "
                "compare them on labelled tweets, with --data FILE"
            )
            return Verdict(None, [], [refusal])
    data = [manifest.data for manifest in manifests]
    if (data[0]["sha256"], data[0]["test"]) != (data[1]["sha256"], data[1]["test"]):
        refusal = (
            f"{names[0]} was tested on {data[0]['name']}, {names[1]} on other tweets, of "
            f"{data[1]['name']}: compare them on labelled tweets, with --data FILE"
        )
        return Verdict(None, [], [refusal])
    tests = int(data[0]["test"])
    first, second = (_recorded(manifest, tests) for manifest in manifests)
    differences = {
        metric: share_difference(first[metric], second[metric])
        for metric in _JUDGED
        if metric in first and metric in second
    }
    title = f"the {tests} tweets of their test part, as training measured them"
    table = _table(*names, [first, second, differences], title)
    return Verdict(table, [], _worse(*names, differences))


def judge_adapted(candidate: Version, production: Version) -> Verdict:
    """Compare an adapted candidate with production, by labels that neither learned.

    Each label was predicted by an adaptation that did not learn it (cross-fitting), so that the
    differences are of paired rows, and as good as those of tweets that nobody learned.

    Raises:
        ValueError: if the candidate was not compared with this version.
    """
    names = version_name(candidate), version_name(production)
    adaptation = candidate.manifest.adaptation
    if adaptation is None or adaptation.compared_with != production.digest:
        raise ValueError(f"{names[0]} was not compared with {names[1]}")
    figures = [adaptation.after, adaptation.before, adaptation.difference]
    rows = f"{adaptation.compared} labelled tweets of {adaptation.name}"
    notes = ["each label is predicted by an adaptation that did not learn it"]
    return Verdict(
        _table(*names, figures, rows),
        notes,
        _worse(*names, adaptation.difference),
    )


def version_name(version: Version) -> str:
    """Return what a version is called: its number, and its model in brackets."""
    return f"version {version.number} ({version.manifest.name})"


def _recorded(manifest: Manifest, tests: int) -> dict[str, Figure]:
    """Return the figures with intervals that training measured on a test part of this size."""
    accuracy = manifest.metrics["test"]["accuracy"]
    figures = {"accuracy": share(round(accuracy * tests), tests)}
    if manifest.quality and "roc_auc" in manifest.quality.test:
        figures["roc_auc"] = manifest.quality.test["roc_auc"]
    return figures


def _worse(candidate: str, production: str, differences: dict[str, Figure]) -> list[str]:
    return [
        f"{candidate} is significantly worse than {production}: {name} {differences[metric]:+}"
        for metric, name in _JUDGED.items()
        if metric in differences and differences[metric].high < 0
    ]


def _table(candidate: str, production: str, figures: list[dict[str, Figure]], rows: str) -> Table:
    """Show both models' figures and their difference, 80 columns wide."""
    table = figures_table(f"{candidate} against {production} in production, on {rows}", "version")
    shown = [metric for metric in _JUDGED if all(metric in values for values in figures)]
    for metric in shown:
        table.add_column(_JUDGED[metric], no_wrap=True)
    names = ("candidate", "production", "difference")
    for name, values, sign in zip(names, figures, ("", "", "+"), strict=True):
        table.add_row(name, *(f"{values[metric]:{sign}}" for metric in shown))
    return table

"""The contents of a report: every figure of every model, and how the models compare."""

from collections.abc import Sequence
from itertools import combinations

import msgspec
import numpy as np

from shared.bundle.load import Bundle
from shared.bundle.quality import Behaviour, Bin, Figure, Subset
from shared.model.occlusion import Word, driving, occlude
from trainer.data.dataset import Dataset, Indices
from trainer.data.duplicates import Mask, near_duplicates, similar_to_any, trained_on
from trainer.data.slices import Slice, slices
from trainer.data.split import cut_test
from trainer.evaluate.baseline import score_baseline
from trainer.evaluate.bootstrap import (
    CONFIDENCE,
    RESAMPLES,
    SEED,
    McNemar,
    Scores,
    draw,
    mcnemar,
    measure,
    measure_decisions,
    measure_difference,
    reliability,
    share,
)
from trainer.evaluate.loaded_model import LoadedModel
from trainer.evaluate.metrics import Counts, Labels

MISTAKES = 8
"""The number of mistakes of each kind in the report."""

DRIVERS = 3
"""The number of words that are named for a mistake."""

_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

Figures = dict[str, Figure]


class Threshold(msgspec.Struct, frozen=True):
    """A model's figures at a threshold.

    Attributes:
        names: the operating points at this threshold.
    """

    threshold: float
    names: list[str]
    figures: Figures


class Mistake(msgspec.Struct, frozen=True):
    """A tweet that is decided wrongly, and the words that drove the decision, strongest first."""

    text: str
    probability: float
    agreement: float
    drivers: list[Word]


class Confusion(msgspec.Struct, frozen=True):
    """Tweets by label and decision, with recall (`relevant_found`) and specificity."""

    true_positives: int
    false_negatives: int
    false_positives: int
    true_negatives: int
    relevant_found: Figure
    others_left: Figure


class Share(msgspec.Struct, frozen=True):
    """Texts of one kind, and the share that is right, or keeps its decision when changed."""

    group: str
    kind: str
    texts: int
    share: Figure


class ModelReport(msgspec.Struct, frozen=True, kw_only=True):
    """A model's part of the report.

    Attributes:
        name: its name in the report.
        model: its name in the recipe.
        trained_here: whether it was trained on the training part of this data.
        near_duplicates: rows that are near-duplicates of its training texts; None if unknown.
        figures: metric → figure with its interval.
        chosen_on: the part that it was calibrated on; `calibration_chosen_on` has that part's bins.
            None or empty for bundles of version 0.1, as is all that training measured.
        validation_accuracy: after each of the epochs.
    """

    name: str
    bundle: str
    digest: str
    model: str
    recipe: str
    seed: int
    created: str
    threshold: float
    trained_here: bool
    near_duplicates: int | None
    figures: Figures
    confusion: Confusion
    epochs: list[dict[str, float]]
    validation_accuracy: list[Figure]
    calibration: list[Bin]
    chosen_on: str | None
    calibration_chosen_on: list[Bin]
    behaviour: list[Share]
    groups: list[Subset]
    thresholds: list[Threshold]
    false_alarms: list[Mistake]
    misses: list[Mistake]


class Comparison(msgspec.Struct, frozen=True):
    """Two models on the same rows: metric → first minus second."""

    first: str
    second: str
    differences: Figures
    mcnemar: McNemar


class BaselineFigures(msgspec.Struct, frozen=True):
    """The linear baseline, trained on this data's training part.

    Attributes:
        differences: by a model's name: metric → the model minus the baseline.
    """

    figures: Figures
    differences: dict[str, Figures]


class SliceFigures(msgspec.Struct, frozen=True):
    """A slice, and the figures of each model on it, by the model's name."""

    group: str
    name: str
    rows: int
    relevant: int
    models: dict[str, Figures]


class Data(msgspec.Struct, frozen=True):
    """The rows that the models are measured on.

    Attributes:
        repeats: rows of other data that are left out because they repeat the words of another.
    """

    name: str
    sha256: str
    part: str
    rows: int
    relevant: int
    repeats: int = 0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The whole report.

    Attributes:
        baseline: None on data that the models were not trained on.
    """

    created: str
    data: Data
    confidence: float = CONFIDENCE
    resamples: int = RESAMPLES
    seed: int = SEED
    models: list[ModelReport]
    comparisons: list[Comparison]
    slices: list[SliceFigures]
    baseline: BaselineFigures | None = None


class Measured(msgspec.Struct, frozen=True):
    """The data of the curves.

    Attributes:
        labels: int8, shape (rows,).
        scores: by the model's name.
        counts: the resamples of the rows.
    """

    labels: Labels
    scores: dict[str, Scores]
    counts: Counts


def contents(
    models: Sequence[LoadedModel],
    dataset: Dataset,
    rows: Indices,
    *,
    test_part: bool,
    created: str,
) -> tuple[Report, Measured]:
    """Measure every model on the rows.

    Raises:
        BundleError: if a bundle's hashes of its training texts cannot be read.
    """
    texts = dataset.texts_of(rows)
    labels = dataset.labels[rows]
    counts = draw(len(rows))
    scores = {
        model.name: Scores(model.bundle.scorer.score(texts), model.bundle.manifest.threshold)
        for model in models
    }
    repeated = [
        near_duplicates(dataset, rows, model.bundle.manifest, model.folder) for model in models
    ]
    report = Report(
        created=created,
        data=Data(
            dataset.name,
            dataset.sha256,
            "test part" if test_part else "all rows",
            len(rows),
            int(labels.sum()),
            0 if test_part else len(dataset.texts) - len(rows),
        ),
        models=[
            _model(model, scores[model.name], seen, dataset, rows, counts)
            for model, seen in zip(models, repeated, strict=True)
        ],
        comparisons=[
            Comparison(
                first,
                second,
                measure_difference(labels, scores[first], scores[second], counts),
                mcnemar(labels, scores[first], scores[second]),
            )
            for first, second in combinations(scores, 2)
        ],
        slices=_slices(
            dataset,
            slices(dataset, rows, _any(repeated), _similar(models, dataset, rows)),
            rows,
            scores,
            counts,
        ),
        baseline=_baseline(dataset, rows, scores, counts) if test_part else None,
    )
    return report, Measured(labels, scores, counts)


def _baseline(
    dataset: Dataset, rows: Indices, scores: dict[str, Scores], counts: Counts
) -> BaselineFigures:
    labels = dataset.labels[rows]
    baseline = score_baseline(dataset, cut_test(dataset)[0], rows)
    return BaselineFigures(
        measure(labels, baseline, counts),
        {
            name: measure_difference(labels, of_model, baseline, counts)
            for name, of_model in scores.items()
        },
    )


def _any(masks: Sequence[Mask | None]) -> Mask | None:
    known = [mask for mask in masks if mask is not None]
    return np.any(known, axis=0) if known else None


def _similar(models: Sequence[LoadedModel], dataset: Dataset, rows: Indices) -> Mask | None:
    """Return a mask of near-duplicates of training texts; None if no model knows this data."""
    if not any(trained_on(model.bundle.manifest, dataset) for model in models):
        return None
    seen, _ = cut_test(dataset)
    return similar_to_any(dataset.texts_of(rows), dataset.texts_of(seen))


def _model(
    model: LoadedModel,
    scores: Scores,
    repeated: Mask | None,
    dataset: Dataset,
    rows: Indices,
    counts: Counts,
) -> ModelReport:
    manifest = model.bundle.manifest
    quality = manifest.quality
    labels = dataset.labels[rows]
    points = {name: point.threshold for name, point in manifest.operating_points.items()}
    relevant = scores.probabilities >= scores.threshold
    false_alarms = np.flatnonzero(relevant & (labels == 0))
    misses = np.flatnonzero(~relevant & (labels == 1))
    by_confidence = scores.probabilities.argsort(kind="stable")
    false_alarms = by_confidence[::-1][np.isin(by_confidence[::-1], false_alarms)][:MISTAKES]
    misses = by_confidence[np.isin(by_confidence, misses)][:MISTAKES]
    return ModelReport(
        name=model.name,
        bundle=str(model.folder),
        digest=model.bundle.digest,
        model=manifest.name,
        recipe=manifest.recipe,
        seed=manifest.seed,
        created=manifest.created,
        threshold=scores.threshold,
        trained_here=trained_on(manifest, dataset),
        near_duplicates=None if repeated is None else int(repeated.sum()),
        figures=measure(labels, scores, counts),
        confusion=_confusion(labels, scores),
        epochs=manifest.epochs,
        validation_accuracy=[
            _share(epoch["val_accuracy"], int(manifest.data["validation"]))
            for epoch in manifest.epochs
        ],
        calibration=reliability(labels, scores.probabilities),
        chosen_on=quality.chosen_on if quality else None,
        calibration_chosen_on=quality.reliability[quality.chosen_on] if quality else [],
        behaviour=_behaviour(quality.behaviour) if quality else [],
        groups=quality.groups if quality else [],
        thresholds=[
            Threshold(
                threshold,
                [name for name, value in points.items() if value == threshold],
                measure_decisions(labels, Scores(scores.probabilities, threshold), counts),
            )
            for threshold in sorted({*_THRESHOLDS, scores.threshold, *points.values()})
        ],
        false_alarms=_mistakes(model.bundle, scores, dataset, rows, false_alarms),
        misses=_mistakes(model.bundle, scores, dataset, rows, misses),
    )


def _share(value: float, rows: int) -> Figure:
    """Return a share of this many rows, with its interval."""
    return share(round(value * rows), rows)


def _behaviour(found: Behaviour) -> list[Share]:
    pairs, changes = "pairs, decided correctly", "edited texts, decision unchanged"
    return [
        *(Share(pairs, p.kind, 2 * p.pairs, _share(p.accuracy, 2 * p.pairs)) for p in found.pairs),
        *(Share(changes, c.kind, c.texts, _share(c.unchanged, c.texts)) for c in found.invariance),
    ]


def _confusion(labels: Labels, scores: Scores) -> Confusion:
    relevant = scores.probabilities >= scores.threshold
    found, missed, alarms, left = (
        int(((labels == label) & (relevant == decision)).sum())
        for label, decision in ((1, True), (1, False), (0, True), (0, False))
    )
    return Confusion(
        found, missed, alarms, left, share(found, found + missed), share(left, left + alarms)
    )


def _mistakes(
    bundle: Bundle, scores: Scores, dataset: Dataset, rows: Indices, wrong: Indices
) -> list[Mistake]:
    texts = dataset.texts_of(rows[wrong])
    mistakes = []
    for place, text, words in zip(wrong, texts, occlude(bundle.scorer, texts), strict=True):
        probability = float(scores.probabilities[place])
        drivers = driving(words, probability >= scores.threshold, DRIVERS)
        agreement = float(dataset.agreement[rows[place]])
        mistakes.append(Mistake(text, probability, agreement, drivers))
    return mistakes


def _slices(
    dataset: Dataset,
    members: Sequence[Slice],
    rows: Indices,
    scores: dict[str, Scores],
    counts: Counts,
) -> list[SliceFigures]:
    labels = dataset.labels[rows]
    found = []
    for slice_ in members:
        inside = slice_.rows
        figures = {
            name: measure(
                labels[inside],
                Scores(score.probabilities[inside], score.threshold),
                counts[:, inside],
            )
            for name, score in scores.items()
        }
        found.append(
            SliceFigures(
                slice_.group,
                slice_.name,
                int(inside.sum()),
                int(labels[inside].sum()),
                figures,
            )
        )
    return found

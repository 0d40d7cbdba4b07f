"""Training: the models of a recipe, one after the other, each measured and made a bundle."""

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from shared.bundle.files import write_bundle
from shared.bundle.manifest import FORMAT, Manifest
from shared.bundle.quality import BALANCED, Subset
from shared.model.architecture import Calibration, Floats, count_parameters
from shared.text.lemmas import Ids, pipeline_to_bytes
from trainer.data.dataset import Dataset, Indices
from trainer.data.same_text import normalized_hashes, word_hashes
from trainer.data.split import (
    Parts,
    cut_test,
    cut_validation,
    expect_both_labels,
    grouped_folds,
    split,
)
from trainer.distill.soft_labels import FOLDS, Teaching
from trainer.evaluate.bootstrap import Scores
from trainer.evaluate.groups import Group, groups_to_leave_out, leave_groups_out
from trainer.evaluate.metrics import Metrics, evaluate
from trainer.evaluate.quality import HeldOutPart, Scored, measure_quality
from trainer.evaluate.thresholds import operating_points
from trainer.fit.corpus import Corpus
from trainer.fit.loop import Fitted, Step, TokenFitter, WordFitter, new_fitter
from trainer.fit.recipes import Recipe
from trainer.report.model_card import model_card

if TYPE_CHECKING:
    from trainer.tracking.tracker import Tracker

FEWEST_TO_CROSS_VALIDATE = 1000
"""Tweets of the training part; a model of fewer is compiled longer than fitted."""

Progress = Callable[[str, int, int, Metrics], None]
"""Called with the model's name, training steps done and to do, and the latest epoch's figures."""


class Trained(msgspec.Struct, frozen=True):
    """A trained model: its bundle's folder and manifest, and the number of its parameters."""

    name: str
    bundle: Path
    manifest: Manifest
    parameters: int


class Folds(msgspec.Struct, frozen=True):
    """The training part and the fold of each of its rows, int32, shape (rows,)."""

    rows: Indices
    numbers: Ids

    def outside(self, fold: int) -> Indices:
        """The rows of the other folds."""
        rows: Indices = self.rows[self.numbers != fold]
        return rows

    def inside(self, fold: int) -> Indices:
        """The rows of a fold."""
        rows: Indices = self.rows[self.numbers == fold]
        return rows


def train(
    recipe_name: str,
    recipe: Recipe,
    dataset: Dataset,
    folder: Path,
    seed: int,
    progress: Progress,
    tracker: "Tracker | None" = None,
    teaching: Teaching | None = None,
    *,
    leave_out_by: str | None = None,
) -> tuple[list[Trained], Parts]:
    """Trains every model of a recipe and writes a bundle of each to `folder/NAME`.

    The figures of the validation part are those of the out-of-fold predictions, of the whole
    training part, where the recipe cross-validates.

    Args:
        seed: of everything random; the same seed gives the same models on the same machine.
        teaching: what a teacher says of the data, if it was asked.
        leave_out_by: the column that `dataset.keywords` are from, if each model is to be trained
            without each group of them too.

    Returns:
        The models in the recipe's order, and the parts the data was divided into.

    Raises:
        DataError: if the rows, or those that a group leaves, are too few or too much alike.
    """
    parts, folds = divide(recipe, dataset, seed, teaching)
    to_leave_out = groups_to_leave_out(dataset, parts, leave_out_by) if leave_out_by else []
    corpus = Corpus(recipe, dataset, teaching)
    fitters = {name: new_fitter(name, recipe, corpus) for name in recipe.models}
    counters = {
        name: _Counter(name, _steps(fitter, parts, folds), progress)
        for name, fitter in fitters.items()
    }
    origin = describe_origin(recipe_name, seed, dataset, parts)
    seen = np.concatenate([parts.train, parts.validation])
    texts = dataset.texts_of(seen)
    trained_on = np.concatenate([normalized_hashes(texts), word_hashes(texts)])
    held_out = HeldOutPart(dataset, parts)
    untaught = corpus  # by a teacher, who would know of the tweets that are left out
    if to_leave_out and teaching is not None:
        untaught = Corpus(recipe, dataset)
    trained = []
    for name, architecture in recipe.models.items():
        if tracker:
            tracker.begin(name, {**origin, **recipe.settings_of(name)}, parts)
        fitter, step = fitters[name], counters[name]
        if folds is None:
            fitted = fit_once(fitter, parts, seed, step, tracker)
            history, scored = fitted.history, {}
        else:
            fitted, history, judged = cross_fit(fitter, parts, folds, seed, step, tracker)
            scored = {"validation": judged}
        step.end(history[-1])
        rows_of = {
            "train": seen if folds else parts.train,
            "validation": parts.validation,
            "test": parts.test,
        }
        for part, rows in rows_of.items():
            if part not in scored:
                scored[part] = dataset.labels[rows], fitted.scorer.score(dataset.texts_of(rows))
        chosen_on = "out-of-fold" if folds else "validation"
        judged_by = {chosen_on: scored["validation"], "test": scored["test"]}
        points = operating_points(chosen_on, judged_by, calibrated=fitter.training.calibrate)
        threshold = points[BALANCED].threshold
        metrics = {part: evaluate(*scored[part], threshold) for part in rows_of}
        groups = []
        if to_leave_out:
            groups = _left_out(
                name, recipe, untaught, parts, to_leave_out, seed, threshold, progress
            )
        manifest = Manifest(
            format=FORMAT,
            name=name,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            **origin,
            text=recipe.text,
            architecture=architecture,
            calibration=fitted.scorer.calibration,
            threshold=threshold,
            metrics=metrics,
            files={},
            labelling=dataset.labelling,
            languages=dataset.languages,
            epochs=history,
            operating_points=points,
            quality=measure_quality(
                fitted.scorer, threshold, held_out, chosen_on, judged_by, groups
            ),
        )
        manifest = write_bundle(
            folder / name,
            manifest,
            fitted.weights,
            fitted.vocabulary,
            pipeline_to_bytes(corpus.pipeline),
            fitted.scorer,
            trained_on,
            model_card(manifest),
            corpus.vectors if architecture.vectors else None,
        )
        parameters = count_parameters(architecture)
        if tracker:
            tracker.end(metrics, parameters, Scores(scored["test"][1], threshold), folder / name)
        trained.append(Trained(name, folder / name, manifest, parameters))
    return trained, parts


def divide(
    recipe: Recipe, dataset: Dataset, seed: int, teaching: Teaching | None
) -> tuple[Parts, Folds | None]:
    """The parts of the data, and the folds of the training part where the recipe cross-validates.

    Raises:
        DataError: if the rows are too few, or too much alike, for both labels in every part.
    """
    rows, test = cut_test(dataset)
    few = teaching is None and len(rows) < FEWEST_TO_CROSS_VALIDATE
    if few or not recipe.cross_validate:
        return split(dataset, recipe.validation_size, seed), None
    numbers = teaching.folds if teaching else grouped_folds(dataset, rows, FOLDS)
    folds = Folds(rows, numbers)
    parts = Parts(folds.outside(0), folds.inside(0), test)
    expect_both_labels(dataset, parts)
    return parts, folds


def fit_once(
    fitter: WordFitter | TokenFitter,
    parts: Parts,
    seed: int,
    step: Step,
    tracker: "Tracker | None" = None,
    held_out: int | None = None,
) -> Fitted:
    """Fits a model on the training part, calibrated on the validation part if it is to be."""
    fitted = _fit_watched(fitter, parts, seed, step, tracker, held_out)
    if fitter.training.calibrate:
        dataset, rows = fitter.corpus.dataset, parts.validation
        logits = fitted.scorer.logits(dataset.texts_of(rows))
        fitted.scorer.calibration = calibrate(logits, dataset.labels[rows])
    return fitted


def cross_fit(
    fitter: WordFitter | TokenFitter,
    parts: Parts,
    folds: Folds,
    seed: int,
    step: Step,
    tracker: "Tracker | None" = None,
) -> tuple[Fitted, list[Metrics], Scored]:
    """Fits a model without each of the folds, and then on all of them.

    Returns:
        The last model, calibrated by what the others say of the folds that they did not see, if it
        is to be; the figures of the first one's epochs; and labels and calibrated probabilities of
        the others, in the order of `folds.rows`.
    """
    dataset = fitter.corpus.dataset
    logits = np.empty(len(folds.rows), np.float32)
    history: list[Metrics] = []
    for fold in range(FOLDS):
        if fold:
            fitted = fitter.fit(folds.outside(fold), seed, held_out=fold, step=step)
        else:
            fitted = _fit_watched(fitter, parts, seed, step, tracker, held_out=0)
            history = fitted.history
        texts = dataset.texts_of(folds.inside(fold))
        logits[folds.numbers == fold] = fitted.scorer.logits(texts)
    labels = dataset.labels[folds.rows]
    fitted = fitter.fit(folds.rows, seed, step=step)
    if fitter.training.calibrate:
        fitted.scorer.calibration = calibrate(logits, labels)
    return fitted, history, (labels, fitted.scorer.calibration.probabilities(logits))


def _fit_watched(
    fitter: WordFitter | TokenFitter,
    parts: Parts,
    seed: int,
    step: Step,
    tracker: "Tracker | None",
    held_out: int | None = None,
) -> Fitted:
    """Fits a model on the training part, and tells each epoch's figures on both."""
    return fitter.fit(
        parts.train,
        seed,
        held_out=held_out,
        validation=parts.validation,
        step=step,
        after_epoch=tracker.epoch if tracker else lambda _, __: None,
    )


def _left_out(
    name: str,
    recipe: Recipe,
    corpus: Corpus,
    parts: Parts,
    groups: list[Group],
    seed: int,
    threshold: float,
    progress: Progress,
) -> list[Subset]:
    """What models of this kind come to on groups of search words that they do not know."""
    dataset, fitter = corpus.dataset, new_fitter(name, recipe, corpus)

    def fit_on(rows: Indices) -> Callable[[list[str]], Floats]:
        train, validation = cut_validation(dataset, rows, recipe.validation_size, seed)
        others = Parts(train, validation, parts.test)
        return fit_once(fitter, others, seed, lambda _: None).scorer.score

    def tell(done: int, count: int) -> None:
        progress(f"{name}, groups"[:22], done, count, {})

    return leave_groups_out(dataset, groups, threshold, fit_on, tell)


def describe_origin(recipe_name: str, seed: int, dataset: Dataset, parts: Parts) -> dict[str, Any]:
    """What a manifest says of where a model comes from, by the manifest's fields."""
    return {
        "recipe": recipe_name,
        "seed": seed,
        "git_commit": _git_commit(),
        "packages": {p: metadata.version(p) for p in ("keras", "numpy", "spacy", "tensorflow")},
        "data": {
            "name": dataset.name,
            "sha256": dataset.sha256,
            **{part: len(rows) for part, rows in msgspec.structs.asdict(parts).items()},
        },
    }


def best(trained: list[Trained]) -> Trained:
    """The model with the highest ROC AUC on validation data.

    Accuracy on some hundred validation tweets moves in steps of its own noise; the area under the
    curve ranks every pair of tweets and is the steadier judge.
    """
    return max(trained, key=lambda model: model.manifest.metrics["validation"]["roc_auc"])


def calibrate(logits: Floats, labels: npt.NDArray[np.int8]) -> Calibration:
    """Fits scale and offset of the logits to the labels by logistic regression.

    As in Platt, "Probabilistic outputs for support vector machines", 1999, with his targets
    (n₊ + 1) / (n₊ + 2) and 1 / (n₋ + 2), which keep the scale finite where few rows are separable.
    A row of target t is given as a relevant one of weight t and another of weight 1 - t.
    """
    positives, negatives = int(labels.sum()), int((1 - labels).sum())
    targets = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    fitted = LogisticRegression(C=np.inf).fit(
        np.concatenate([logits, logits]).reshape(-1, 1),
        np.repeat([1, 0], len(logits)),
        sample_weight=np.concatenate([targets, 1 - targets]),
    )
    return Calibration(float(fitted.coef_[0, 0]), float(fitted.intercept_[0]))


class _Counter:
    """Counts the batches of all fits of a model, and tells them."""

    def __init__(self, name: str, steps: int, progress: Progress) -> None:
        self._name, self._steps, self._progress = name, steps, progress
        self._done = 0
        progress(name, 0, steps, {})

    def __call__(self, figures: Metrics) -> None:
        self._done += 1
        self._progress(self._name, self._done, self._steps, figures)

    def end(self, figures: Metrics) -> None:
        self._progress(self._name, self._steps, self._steps, figures)


def _steps(fitter: WordFitter | TokenFitter, parts: Parts, folds: Folds | None) -> int:
    """Batches of all fits of a model."""
    if folds is None:
        return fitter.steps(parts.train)
    return fitter.steps(folds.rows) + sum(fitter.steps(folds.outside(f)) for f in range(FOLDS))


def _git_commit() -> str | None:
    """The commit of the checkout that this code lies in, or None where there is no such thing."""
    command = ["git", "rev-parse", "HEAD"]
    try:
        found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return found.stdout.strip() or None

"""Training: labelled tweets → candidates.

    divide ─▶ corpus ─▶ fit ─▶ calibrate ─▶ evaluate ─▶ bundle

Each stage takes values and returns one. Whoever watches is passed in as one listener.
"""

from functools import partial
from pathlib import Path

import msgspec

from trainer.candidate import Candidate, write_candidate
from trainer.data.dataset import Dataset
from trainer.data.groups import groups_to_leave_out
from trainer.data.split import Parts
from trainer.distill.soft_labels import SoftLabels
from trainer.evaluate.leave_one_group_out import leave_groups_out
from trainer.evaluate.quality import HeldOutPart, evaluate_model
from trainer.fit.calibration import calibrate, fit_on_rows
from trainer.fit.corpus import Corpus
from trainer.fit.cross_validation import fit_validated
from trainer.fit.folds import divide
from trainer.fit.loop import Fitter
from trainer.fit.recipes import Recipe
from trainer.fit.start import Start
from trainer.listener import Listener
from trainer.origin import describe_origin, describe_settings


class Training(msgspec.Struct, frozen=True):
    """What a training returns: a candidate for each model, and the parts of the data."""

    candidates: list[Candidate]
    parts: Parts


def train(
    recipe: Recipe,
    dataset: Dataset,
    folder: Path,
    *,
    soft_labels: SoftLabels | None = None,
    leave_out_by: str | None = None,
    start: Start | None = None,
    listener: Listener = Listener(),  # noqa: B008  # it has no state
) -> Training:
    """Train every model of a recipe and write its bundle to `folder/NAME`.

    The same seed gives the same models on the same machine. Where the recipe cross-validates, the
    figures of the validation part are those of the out-of-fold predictions of the training part.

    Args:
        soft_labels: a teacher's probabilities for the data, if there are any.
        leave_out_by: the column that `dataset.keywords` are from, to train each model without each
            group of them too, and measure it on that group.
        start: a bundle to start from, for a recipe of `starting_from`. It should have learned none
            of the tweets.

    Returns:
        The candidates in the recipe's order.

    Raises:
        DataError: if the rows, or those that a group leaves, are too few or too much alike.
        BundleError: if a bundle cannot be written.
    """
    split = divide(recipe, dataset, soft_labels)
    groups = groups_to_leave_out(dataset, split.parts, leave_out_by) if leave_out_by else []
    corpus = Corpus(recipe, dataset, soft_labels, start)
    # Soft labels would tell of the tweets that are left out.
    without_teacher = Corpus(recipe, dataset, start=start) if groups and soft_labels else corpus
    held_out = HeldOutPart(dataset, split.parts)
    origin = describe_origin(recipe, dataset, split.parts)
    started_from = {"started_from": start.base.digest} if start else {}
    candidates = []
    for name in recipe.models:
        settings = {**origin, **started_from, **describe_settings(recipe, name)}
        listener.on_model_begin(name, settings, split.parts)
        fitter = Fitter(name, recipe, corpus)
        validated = fit_validated(fitter, split, recipe.seed, listener)
        calibrated = calibrate(fitter, validated, split)
        evaluation = evaluate_model(
            calibrated.model.scorer,
            calibrated.scored,
            held_out,
            chosen_on=calibrated.chosen_on,
            calibrated=fitter.training.calibrate,
        )
        left_out = leave_groups_out(
            dataset,
            groups,
            evaluation.threshold,
            partial(fit_on_rows, Fitter(name, recipe, without_teacher), recipe),
            listener.on_group_end,
        )
        candidate = write_candidate(
            folder / name,
            recipe,
            corpus,
            split.seen,
            origin,
            calibrated.model,
            evaluation,
            left_out,
        )
        listener.on_model_end(
            evaluation.metrics, candidate.parameters, evaluation.test, candidate.bundle
        )
        candidates.append(candidate)
    return Training(candidates, split.parts)

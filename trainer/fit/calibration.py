"""Calibration: makes probabilities of logits that agree with how often tweets are relevant."""

from collections.abc import Callable

import msgspec
import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from shared.arrays import Floats
from shared.model.calibration import Calibration
from trainer.data.dataset import Indices
from trainer.data.split import Parts, cut_validation
from trainer.evaluate.metrics import Scored
from trainer.fit.cross_validation import ValidatedModel, fit_validated
from trainer.fit.folds import Split
from trainer.fit.loop import FittedModel, Fitter
from trainer.fit.recipes import Recipe
from trainer.listener import Listener


class CalibratedModel(msgspec.Struct, frozen=True):
    """A model with calibrated probabilities, and its scores of each part.

    Attributes:
        chosen_on: the part that it is calibrated on: `validation`, or `out-of-fold`.
        scored: part (`train`, `validation`, `test`) → labels and probabilities.
    """

    model: FittedModel
    chosen_on: str
    scored: dict[str, Scored]


def calibrate(fitter: Fitter, validated: ValidatedModel, split: Split) -> CalibratedModel:
    """Calibrate a model on the rows that it did not see, and score all parts with it.

    It is not calibrated if the recipe says so. The scores of the validation part are those of
    `ValidatedModel.unseen`.
    """
    dataset, model, unseen = fitter.corpus.dataset, validated.model, validated.unseen
    if fitter.training.calibrate:
        model.scorer.calibration = fit_calibration(validated.logits, dataset.labels[unseen])
    rows = {"train": split.seen if split.folds else split.parts.train, "test": split.parts.test}
    scored = {
        part: (dataset.labels[of_part], model.scorer.score(dataset.texts_of(of_part)))
        for part, of_part in rows.items()
    }
    predicted = model.scorer.calibration.probabilities(validated.logits)
    return CalibratedModel(
        model,
        "out-of-fold" if split.folds else "validation",
        {
            "train": scored["train"],
            "validation": (dataset.labels[unseen], predicted),
            "test": scored["test"],
        },
    )


def fit_on_rows(fitter: Fitter, recipe: Recipe, rows: Indices) -> Callable[[list[str]], Floats]:
    """Fit and calibrate a model on some rows, of which a share validates it.

    Returns:
        A function of texts that scores them: float32, shape (texts,).
    """
    dataset = fitter.corpus.dataset
    train, validation = cut_validation(dataset, rows, recipe.validation_size, recipe.seed)
    split = Split(Parts(train, validation, rows[:0]))
    validated = fit_validated(fitter, split, recipe.seed, Listener())
    return calibrate(fitter, validated, split).model.scorer.score


def fit_calibration(logits: Floats, labels: npt.NDArray[np.int8]) -> Calibration:
    """Fit scale and offset of the logits to the labels by logistic regression.

    As in Platt, "Probabilistic outputs for support vector machines", 1999, with his targets
    (n₊ + 1) / (n₊ + 2) and 1 / (n₋ + 2), which keep the scale finite where few rows are separable.
    A row with target t counts as a relevant one of weight t and another of weight 1 - t.
    """
    positives, negatives = int(labels.sum()), int((1 - labels).sum())
    targets = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    fitted = LogisticRegression(C=np.inf).fit(
        np.concatenate([logits, logits]).reshape(-1, 1),
        np.repeat([1, 0], len(logits)),
        sample_weight=np.concatenate([targets, 1 - targets]),
    )
    return Calibration(float(fitted.coef_[0, 0]), float(fitted.intercept_[0]))

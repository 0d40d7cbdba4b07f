"""Fits without some rows, to measure and calibrate a model on unseen rows."""

import msgspec
import numpy as np

from shared.arrays import Floats
from trainer.data.dataset import Indices
from trainer.distill.soft_labels import FOLDS
from trainer.evaluate.metrics import Metrics
from trainer.fit.folds import Split
from trainer.fit.loop import FittedModel, Fitter
from trainer.listener import Listener


class ValidatedModel(msgspec.Struct, frozen=True):
    """A fitted model, and what was predicted for rows by a fit that did not see them.

    Attributes:
        unseen: the validation part; or the whole training part, each row predicted by a fit without
            its fold ("out of fold").
        logits: of these rows, float32, shape (unseen rows,).
    """

    model: FittedModel
    unseen: Indices
    logits: Floats


def fit_validated(fitter: Fitter, split: Split, seed: int, listener: Listener) -> ValidatedModel:
    """Fit a model, and predict rows that a fit did not see.

    Without folds, the model is fitted on the training part and predicts the validation part. With
    folds, it is fitted without each of them, predicts that fold, and is then fitted on all of them.

    Args:
        listener: receives the events of each fit and its batches, and of the first fit's epochs.
    """
    fits = [_Fit(split.parts.train, split.held_out, split.parts.validation)]
    if folds := split.folds:
        rows, numbers = folds.rows, folds.numbers
        fits = [_Fit(rows[numbers != n], n, rows[numbers == n]) for n in range(FOLDS)]
        fits.append(_Fit(rows, None, rows[:0]))
    history: list[Metrics] = []
    texts_of = fitter.corpus.dataset.texts_of
    logits = np.empty(len(fitter.corpus.dataset.texts), np.float32)
    for number, fit in enumerate(fits, 1):
        listener.on_fit_begin(number, len(fits))
        fitted = fitter.fit(
            fit.rows,
            seed,
            held_out=fit.held_out,
            validation=split.parts.validation if number == 1 else None,
            listener=listener,
        )
        history = history or fitted.history
        logits[fit.unseen] = fitted.scorer.logits(texts_of(fit.unseen))
    fitted = msgspec.structs.replace(fitted, history=history)
    unseen = folds.rows if folds else split.parts.validation
    return ValidatedModel(fitted, unseen, logits[unseen])


class _Fit(msgspec.Struct, frozen=True):
    """One fit.

    Attributes:
        rows: to fit on.
        held_out: the fold that the teacher must not have seen.
        unseen: rows to predict.
    """

    rows: Indices
    held_out: int | None
    unseen: Indices

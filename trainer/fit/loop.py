"""The training loop: fits a model of a recipe on some rows of a data set."""

import math
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from shared.arrays import Floats
from shared.bundle.load import new_scorer
from shared.model.architecture import Weights
from shared.model.keras_model import get_weights
from shared.model.scorer import Scorer
from trainer.data.dataset import Indices
from trainer.distill.augment import UNCHANGED, VARIANTS
from trainer.distill.soft_labels import SoftLabels
from trainer.evaluate.metrics import Metrics
from trainer.fit.corpus import Corpus
from trainer.fit.fresh_model import fresh_model
from trainer.fit.inputs import new_inputs
from trainer.fit.recipes import Recipe, Training
from trainer.listener import Listener


class FittedModel(msgspec.Struct, frozen=True):
    """A model and what its bundle needs of it.

    Attributes:
        scorer: not calibrated.
        history: the figures of each epoch; none if there was no validation part.
    """

    scorer: Scorer
    weights: Weights
    vocabulary: list[str]
    history: list[Metrics]


class Examples(msgspec.Struct, frozen=True):
    """What a model is trained on: indices of the corpus' texts, and their targets."""

    texts: Indices
    targets: Floats


@dataclass
class Fitter:
    """Fits one model of a recipe on any rows of a corpus.

    Attributes:
        name: of the model.
        corpus: whose rows the model is fitted on.
    """

    name: str
    recipe: Recipe
    corpus: Corpus
    _model: Any = field(default=None, init=False)

    @property
    def training(self) -> Training:
        """How the recipe trains the model."""
        return self.recipe.training_of(self.name)

    @property
    def _soft_labels(self) -> SoftLabels | None:
        return self.corpus.soft_labels if self.training.teacher_share else None

    def fit(
        self,
        rows: Indices,
        seed: int,
        *,
        held_out: int | None = None,
        validation: Indices | None = None,
        listener: Listener = Listener(),  # noqa: B008  # it has no state
    ) -> FittedModel:
        """Fit the model on some rows of the data set.

        Args:
            seed: of weights, batches and dropout.
            held_out: the fold that the teacher must not have seen either; None for the mean of all
                teachers that did not see a row's own fold.
            validation: rows that are measured after each epoch.
            listener: receives `on_batch_end` and, with a validation part, `on_epoch_end`.
        """
        corpus, training, spec = self.corpus, self.training, self.recipe.models[self.name]
        examples = self._examples(rows, held_out)
        count = len(examples.texts)
        epochs, steps = self._epochs(count)
        draw = np.random.default_rng(seed)
        vocabulary = corpus.vocabulary(rows)
        inputs = new_inputs(spec, corpus, vocabulary)
        start = corpus.start.weights if corpus.start else None
        self._model = model = fresh_model(spec, training, seed, self._model, start)
        done = 0
        history: list[Metrics] = []
        best: Any = None

        def scorer() -> Scorer:
            return new_scorer(
                spec,
                corpus.settings,
                get_weights(model),
                vocabulary,
                corpus.pipeline,
                corpus.vectors,
            )

        for _ in range(epochs):
            sums: Metrics = {}
            for batch in inputs.batches(examples.texts, training.batch_size, draw):
                model.optimizer.learning_rate = _rate(training, done, epochs * steps)
                logs = model.train_on_batch(
                    inputs.batch(examples.texts[batch], draw),
                    examples.targets[batch],
                    return_dict=True,
                )
                for metric, value in logs.items():  # of this batch alone
                    sums[metric] = sums.get(metric, 0.0) + float(value) * len(batch)
                done += 1
                listener.on_batch_end(done, epochs * steps)
            if validation is not None:
                current = scorer()
                logits = current.logits(corpus.dataset.texts_of(validation))
                loss = _loss(logits, corpus.targets(validation, soft=training.soft_targets))
                accuracy = float(np.mean((logits >= 0) == corpus.dataset.labels[validation]))
                if training.keep_best_epoch and loss < min(
                    (epoch["val_loss"] for epoch in history), default=np.inf
                ):
                    best = model.get_weights()
                figures = {metric: value / count for metric, value in sums.items()}
                history.append({**figures, "val_loss": loss, "val_accuracy": accuracy})
                listener.on_epoch_end(current, history[-1])
        if best is not None:
            model.set_weights(best)
        return FittedModel(scorer(), get_weights(model), vocabulary, history)

    def _examples(self, rows: Indices, held_out: int | None) -> Examples:
        """Return the texts of some rows, and the variants that are made of these rows alone.

        Variants that keep the meaning have their text's target, the others the teacher's.
        """
        targets = self.corpus.targets(rows, soft=self.training.soft_targets)
        soft_labels = self._soft_labels
        if soft_labels is None:
            return Examples(rows, targets)
        numbers = np.full(len(self.corpus.dataset.texts), -1)
        numbers[soft_labels.rows] = np.arange(len(soft_labels.rows))
        own = numbers[rows]
        if own.min() < 0:
            raise ValueError("soft labels are of the training part alone")
        folds = soft_labels.folds[own] if held_out is None else np.full(len(own), held_out)
        of_teacher = soft_labels.probabilities[folds, own]
        share = self.training.teacher_share
        targets = share * of_teacher[:, 0] + (1 - share) * targets
        of_variants = np.column_stack(
            [of_teacher[:, 1:], np.repeat(targets[:, None], UNCHANGED, axis=1)]
        )
        variants = (VARIANTS * own[:, None] + np.arange(VARIANTS)).ravel()
        allowed = np.isin(soft_labels.variants.others[variants], own)
        texts = len(self.corpus.dataset.texts) + variants[allowed]
        return Examples(
            np.concatenate([rows, texts]),
            np.concatenate([targets, of_variants.ravel()[allowed]]),
        )

    def _epochs(self, examples: int) -> tuple[int, int]:
        """Return the number of epochs, and of batches in each."""
        training = self.training
        steps = -(-examples // training.batch_size)
        epochs = training.epochs
        if self._soft_labels is None:
            epochs = training.epochs_without_teacher or epochs
        return max(epochs, -(-training.least_steps // steps)), steps


def _loss(logits: Floats, targets: Floats) -> float:
    """Return the mean binary cross-entropy of logits against targets between 0 and 1."""
    return float(np.mean(np.logaddexp(0, logits) - targets * logits))


def _rate(training: Training, step: int, steps: int) -> float:
    """Return the learning rate. AdamW's rises for a tenth of the steps, then falls as a cosine.

    Schedule: Loshchilov and Hutter, "SGDR", 2017, without restarts.
    """
    if training.optimizer == "adam":
        return training.learning_rate
    warm_up = max(1, steps // 10)
    if step < warm_up:
        return training.learning_rate * (step + 1) / warm_up
    progress = (step - warm_up) / max(1, steps - warm_up)
    return training.learning_rate * (1 + math.cos(math.pi * progress)) / 2

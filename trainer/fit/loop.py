"""Fitting: one model of a recipe on some rows of a data set.

    Corpus (texts as tokens, a teacher's probabilities) ─▶ fitter (a compiled model) ─▶ Fitted

A fitter of tokens compiles its model once and begins each fit from fresh weights, so that a
cross-validation does not wait for a compiler in each of its folds.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np

from shared.bundle.files import new_scorer
from shared.model.architecture import (
    Calibration,
    Floats,
    Weights,
    build_model,
    get_weights,
    import_keras,
)
from shared.model.scorer import KerasModel, Scorer
from shared.text.encoder import EncodedTexts, TextEncoder, pad
from shared.text.lemmas import Ids, lemma_table
from shared.text.tokens import Features, Featurizer
from trainer.data.dataset import Indices
from trainer.distill.augment import SAME, VARIANTS
from trainer.distill.places import SWAPPED
from trainer.evaluate.metrics import Metrics
from trainer.fit.corpus import Corpus
from trainer.fit.recipes import Recipe, Training

Step = Callable[[Metrics], None]
"""Called after each batch with the latest epoch's figures."""

AfterEpoch = Callable[[Scorer, Metrics], None]
"""Called after each epoch with the model as it is, and the figures so far."""

_SWAPPED = 0.9
"""Share of the places in a batch that stand under another's name."""

_PORTION = 32
"""Batches whose texts are sorted by length together."""


class Fitted(msgspec.Struct, frozen=True):
    """A model and what its bundle needs of it; the scorer is not calibrated."""

    scorer: Scorer
    weights: Weights
    vocabulary: list[str]
    history: list[Metrics]


class Examples(msgspec.Struct, frozen=True):
    """What a model of tokens is trained on: places of texts in the corpus, and their targets."""

    places: Indices
    targets: Floats


class WordFitter:
    """Fits a model that is fed word ids, by Keras' own loop.

    Attributes:
        corpus: whose rows the model is fitted on.
        training: how the recipe has it trained.
    """

    def __init__(self, name: str, recipe: Recipe, corpus: Corpus) -> None:
        self.corpus, self.training = corpus, recipe.training_of(name)
        self._spec = recipe.models[name]

    def steps(self, rows: Indices) -> int:
        """Batches of a fit."""
        epochs, steps = _epochs(self.training, len(rows))
        return epochs * steps

    def fit(
        self,
        rows: Indices,
        seed: int,
        *,
        held_out: int | None = None,  # noqa: ARG002  # has no teacher
        validation: Indices | None = None,
        step: Step = lambda _: None,
        after_epoch: AfterEpoch = lambda _, __: None,
    ) -> Fitted:
        """Fits the model, as `TokenFitter.fit` does."""
        keras = import_keras()
        corpus, training = self.corpus, self.training
        vocabulary = corpus.vocabulary(rows)
        encoder = TextEncoder(corpus.pipeline, vocabulary, corpus.settings)
        keras.utils.set_random_seed(seed)
        model = build_model(self._spec)
        scorer = Scorer(encoder, KerasModel(self._spec, model), Calibration())
        epochs, steps = _epochs(training, len(rows))
        optimizer = keras.optimizers.Adam(training.learning_rate)
        if training.optimizer == "adamw":
            optimizer = _adamw(training, epochs * steps)
        _compile(model, optimizer)
        history = History(corpus, training, validation)

        def end_batch(batch: int, logs: Metrics) -> None:  # noqa: ARG001  # Keras names them
            step(history.latest)

        def end_epoch(epoch: int, logs: Metrics) -> None:  # noqa: ARG001
            history.add(scorer, logs, model)
            after_epoch(scorer, history.latest)

        model.fit(
            scorer.pad(scorer.encode(corpus.dataset.texts_of(rows))),
            corpus.targets(rows, soft=training.soft_targets),
            batch_size=training.batch_size,
            epochs=epochs,
            callbacks=[
                keras.callbacks.LambdaCallback(on_train_batch_end=end_batch, on_epoch_end=end_epoch)
            ],
            verbose=0,
        )
        if history.best is not None:
            model.set_weights(history.best)
        return Fitted(scorer, get_weights(model), vocabulary, history.epochs)


class TokenFitter:
    """Fits a model that is fed tokens; on variants of the texts too, if a teacher labelled them.

    Attributes:
        corpus, training: as of `WordFitter`.
    """

    def __init__(self, name: str, recipe: Recipe, corpus: Corpus) -> None:
        self.corpus, self.training = corpus, recipe.training_of(name)
        self._spec = recipe.models[name]
        self._teaching = corpus.teaching if self.training.teacher_share else None
        self._tokens = corpus.tokens
        self._starts = np.cumsum(self._tokens.lengths, dtype=np.int64) - self._tokens.lengths
        self._lengths = np.minimum(self._tokens.lengths, self._spec.length)
        forms = ["", *(form for _, form in self._tokens.table.tokens)]  # by number
        self._places = [
            np.array([number for number, form in enumerate(forms) if form in kind], np.int32)
            for kind in SWAPPED
        ]
        self._model: Any = None

    def steps(self, rows: Indices) -> int:
        """Batches of a fit."""
        count = len(self._examples(rows, None).places)
        epochs, steps = _epochs(self.training, count, taught=self._teaching is not None)
        return epochs * steps

    def fit(
        self,
        rows: Indices,
        seed: int,
        *,
        held_out: int | None = None,
        validation: Indices | None = None,
        step: Step = lambda _: None,
        after_epoch: AfterEpoch = lambda _, __: None,
    ) -> Fitted:
        """Fits the model on some rows of the data set.

        Args:
            seed: of weights, batches and dropout.
            held_out: the fold that the teacher may not have seen either; None for the mean of all
                teachers that did not see a row's own fold.
            validation: rows whose figures are told after each epoch.
        """
        corpus, training = self.corpus, self.training
        vocabulary = corpus.vocabulary(rows)
        features = self._features(vocabulary)
        examples = self._examples(rows, held_out)
        count = len(examples.places)
        epochs, steps = _epochs(training, count, taught=self._teaching is not None)
        model = self._fresh_model(seed)
        history = History(corpus, training, validation)
        draw = np.random.default_rng(seed)
        done = 0

        def scorer() -> Scorer:
            return new_scorer(
                self._spec,
                corpus.settings,
                get_weights(model),
                vocabulary,
                corpus.pipeline,
                corpus.vectors,
            )

        for _ in range(epochs):
            sums: Metrics = {}
            for batch in self._batches(examples, draw):
                model.optimizer.learning_rate = _rate(training, done, epochs * steps)
                logs = model.train_on_batch(
                    self._inputs(features, examples.places[batch], draw),
                    examples.targets[batch],
                    return_dict=True,
                )
                for metric, value in logs.items():  # of this batch alone
                    sums[metric] = sums.get(metric, 0.0) + float(value) * len(batch)
                done += 1
                step(history.latest)
            if validation is not None:
                current = scorer()
                means = {metric: value / count for metric, value in sums.items()}
                history.add(current, means, model)
                after_epoch(current, history.latest)
        if history.best is not None:
            model.set_weights(history.best)
        return Fitted(scorer(), get_weights(model), vocabulary, history.epochs)

    def _examples(self, rows: Indices, held_out: int | None) -> Examples:
        """The texts of some rows, and the variants that are made of these rows alone.

        Variants that say the same have their text's target, the others what the teacher says.
        """
        targets = self.corpus.targets(rows, soft=self.training.soft_targets)
        teaching = self._teaching
        if teaching is None:
            return Examples(rows, targets)
        numbers = np.full(len(self.corpus.dataset.texts), -1)
        numbers[teaching.rows] = np.arange(len(teaching.rows))
        own = numbers[rows]
        if own.min() < 0:
            raise ValueError("a teacher was asked about the training part alone")
        folds = teaching.folds[own] if held_out is None else np.full(len(own), held_out)
        taught = teaching.probabilities[folds, own]
        share = self.training.teacher_share
        targets = share * taught[:, 0] + (1 - share) * targets
        of_variants = np.column_stack([taught[:, 1:], np.repeat(targets[:, None], SAME, axis=1)])
        variants = (VARIANTS * own[:, None] + np.arange(VARIANTS)).ravel()
        allowed = np.isin(teaching.variants.others[variants], own)
        places = len(self.corpus.dataset.texts) + variants[allowed]
        return Examples(
            np.concatenate([rows, places]),
            np.concatenate([targets, of_variants.ravel()[allowed]]),
        )

    def _features(self, vocabulary: list[str]) -> Features:
        """Of all tokens of the corpus, by their number; padding's are 0."""
        corpus = self.corpus
        lemmas = lemma_table(corpus.pipeline) if corpus.settings.respell else None
        found = Featurizer(vocabulary, corpus.vectors, lemmas)(self._tokens.table.tokens)
        columns = (found.words, found.ngrams, found.vectors)
        return Features(*(np.concatenate([np.zeros_like(c[:1]), c]) for c in columns))

    def _inputs(self, features: Features, places: Indices, draw: np.random.Generator) -> list[Any]:
        lengths = self._lengths[places]
        flat = np.repeat(self._starts[places] - np.cumsum(lengths) + lengths, lengths)
        ids = self._elsewhere(self._tokens.ids[flat + np.arange(lengths.sum())], draw)
        padded = pad(EncodedTexts(ids, lengths), int(lengths.max()), left=False)
        return [features.words[padded], features.ngrams[padded], features.vectors[padded]]

    def _elsewhere(self, ids: Ids, draw: np.random.Generator) -> Ids:
        """The token numbers, with another's of its kind for `_SWAPPED` of the places."""
        for kind in self._places:
            if len(kind):
                swapped = np.isin(ids, kind) & (draw.random(len(ids)) < _SWAPPED)
                ids[swapped] = draw.choice(kind, np.count_nonzero(swapped))
        return ids

    def _batches(self, examples: Examples, draw: np.random.Generator) -> Iterator[Indices]:
        """Examples of about the same length, in random order."""
        size = self.training.batch_size
        order = draw.permutation(len(examples.places))
        portions = []
        for start in range(0, len(order), _PORTION * size):
            some = order[start : start + _PORTION * size]
            some = some[np.argsort(self._lengths[examples.places[some]], kind="stable")]
            portions += [some[at : at + size] for at in range(0, len(some), size)]
        return (portions[number] for number in draw.permutation(len(portions)))

    def _fresh_model(self, seed: int) -> Any:
        """The compiled model as it was before any training, with the seed's weights."""
        keras = import_keras()
        keras.utils.set_random_seed(seed)
        fresh = build_model(self._spec)
        if self._model is None:
            training = self.training
            optimizer = keras.optimizers.Adam()
            if training.optimizer == "adamw":
                optimizer = keras.optimizers.AdamW(
                    weight_decay=training.weight_decay, global_clipnorm=training.clip_norm
                )
            # XLA would compile for each length of a batch.
            _compile(fresh, optimizer, jit_compile=False)
            fresh.optimizer.build(fresh.trainable_variables)
            self._model = fresh
            return fresh
        for variable in self._model.optimizer.variables:
            variable.assign(np.zeros(variable.shape))
        for variable, first in zip(self._model.variables, fresh.variables, strict=True):
            variable.assign(first.value)
        return self._model


class History:
    """The figures of each epoch, and the weights of the best one where these are kept."""

    def __init__(self, corpus: Corpus, training: Training, validation: Indices | None) -> None:
        self._corpus, self._training, self._validation = corpus, training, validation
        self._least = np.inf
        self.epochs: list[Metrics] = []
        self.best: Any = None

    @property
    def latest(self) -> Metrics:
        """The figures of the last epoch that ended."""
        return self.epochs[-1] if self.epochs else {}

    def add(self, scorer: Scorer, logs: Metrics, model: Any) -> None:
        """Measures the model on the validation rows, if there are any."""
        rows = self._validation
        if rows is None:
            self.epochs.append(dict(logs))
            return
        logits = scorer.logits(self._corpus.dataset.texts_of(rows))
        loss = _loss(logits, self._corpus.targets(rows, soft=self._training.soft_targets))
        accuracy = float(np.mean((logits >= 0) == self._corpus.dataset.labels[rows]))
        self.epochs.append({**logs, "val_loss": loss, "val_accuracy": accuracy})
        if self._training.keep_best_epoch and loss < self._least:
            self._least, self.best = loss, model.get_weights()


def new_fitter(name: str, recipe: Recipe, corpus: Corpus) -> WordFitter | TokenFitter:
    """What fits the recipe's model of this name."""
    kind = TokenFitter if recipe.models[name].ngrams else WordFitter
    return kind(name, recipe, corpus)


def _compile(model: Any, optimizer: Any, **settings: bool) -> None:
    keras = import_keras()
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        # A lambda, because TensorFlow leaves a file of its translation of a named function behind.
        metrics=[
            keras.metrics.MeanMetricWrapper(
                lambda targets, logits: keras.ops.equal(targets >= 0.5, logits >= 0),
                name="accuracy",
            )
        ],
        **settings,
    )


def _epochs(training: Training, examples: int, *, taught: bool = False) -> tuple[int, int]:
    """Epochs, and batches in one of them."""
    steps = -(-examples // training.batch_size)
    epochs = training.epochs if taught else training.untaught_epochs or training.epochs
    return max(epochs, -(-training.least_steps // steps)), steps


def _loss(logits: Floats, targets: Floats) -> float:
    """Mean binary cross-entropy, of logits against targets between 0 and 1."""
    return float(np.mean(np.logaddexp(0, logits) - targets * logits))


def _rate(training: Training, step: int, steps: int) -> float:
    """The learning rate; AdamW's goes up over a tenth of the steps, and down along a cosine.

    Schedule: Loshchilov and Hutter, "SGDR", 2017, without restarts.
    """
    if training.optimizer == "adam":
        return training.learning_rate
    warm_up = max(1, steps // 10)
    if step < warm_up:
        return training.learning_rate * (step + 1) / warm_up
    progress = (step - warm_up) / max(1, steps - warm_up)
    return training.learning_rate * (1 + math.cos(math.pi * progress)) / 2


def _adamw(training: Training, steps: int) -> Any:
    """AdamW with the rates of `_rate`."""
    keras = import_keras()
    warm_up = max(1, steps // 10)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, steps - warm_up, warmup_target=training.learning_rate, warmup_steps=warm_up
    )
    return keras.optimizers.AdamW(
        schedule, weight_decay=training.weight_decay, global_clipnorm=training.clip_norm
    )

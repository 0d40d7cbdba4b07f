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

from shared.bundle import FORMAT, Manifest, write_bundle
from shared.models import (
    Calibration,
    Floats,
    build_model,
    get_weights,
    import_keras,
)
from shared.scorer import Scorer
from shared.text import TextEncoder, fit_vocabulary, new_pipeline, pipeline_to_bytes
from trainer.dataset import Dataset, Indices, Parts, normalized_hashes, split
from trainer.evaluation import Metrics, evaluate
from trainer.operating_points import THRESHOLD, operating_points
from trainer.quality import measure_quality
from trainer.recipes import Recipe, Training

if TYPE_CHECKING:
    from spacy.language import Language

    from trainer.tracking.tracker import Tracker

Progress = Callable[[str, int, int, Metrics], None]
"""Called with the model's name, training steps done and to do, and the latest epoch's figures."""


class Trained(msgspec.Struct, frozen=True):
    """A trained model: its bundle's folder and manifest, and the number of its parameters."""

    name: str
    bundle: Path
    manifest: Manifest
    parameters: int


class Words(msgspec.Struct, frozen=True):
    """How text becomes ids, and the two things of which a bundle keeps it."""

    pipeline: "Language"
    vocabulary: list[str]
    encoder: TextEncoder


def train(
    recipe_name: str,
    recipe: Recipe,
    dataset: Dataset,
    folder: Path,
    seed: int,
    progress: Progress,
    tracker: "Tracker | None" = None,
) -> tuple[list[Trained], Parts]:
    """Trains every model of a recipe and writes a bundle of each to `folder/NAME`.

    Args:
        seed: of everything random; the same seed gives the same models on the same machine.

    Returns:
        The models in the recipe's order, and the parts the data was divided into.
    """
    parts = split(dataset, recipe.validation_size, seed)
    for name in recipe.models:
        epochs, steps = _epochs(recipe.training_of(name), parts)
        progress(name, 0, epochs * steps, {})
    words = learn_words(recipe, dataset, parts)
    origin = describe_origin(recipe_name, seed, dataset, parts)
    seen = np.concatenate([parts.train, parts.validation])
    trained_on = normalized_hashes([dataset.texts[row] for row in seen])
    trained = []
    for name, architecture in recipe.models.items():
        if tracker:
            tracker.begin(name, {**origin, **recipe.settings_of(name)}, parts)
        model, scorer, history = fit(
            name, recipe, words.encoder, dataset, parts, seed, progress, tracker
        )
        metrics, scored = {}, {}
        for part in ("train", "validation", "test"):
            rows: Indices = getattr(parts, part)
            probabilities = scorer.score([dataset.texts[row] for row in rows])
            metrics[part] = evaluate(dataset.labels[rows], probabilities, THRESHOLD)
            scored[part] = dataset.labels[rows], probabilities
        del scored["train"]  # of which probabilities are too good to choose by
        manifest = Manifest(
            format=FORMAT,
            name=name,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            **origin,
            text=recipe.text,
            architecture=architecture,
            calibration=scorer.calibration,
            threshold=THRESHOLD,
            metrics=metrics,
            files={},
            epochs=history,
            operating_points=operating_points("validation", scored),
            quality=measure_quality(scorer, THRESHOLD, dataset, parts),
        )
        manifest = write_bundle(
            folder / name,
            manifest,
            get_weights(model),
            words.vocabulary,
            pipeline_to_bytes(words.pipeline),
            scorer,
            trained_on,
        )
        parameters = int(model.count_params())
        if tracker:  # probabilities are those of the last part, test
            tracker.end(metrics, parameters, probabilities, folder / name)
        trained.append(Trained(name, folder / name, manifest, parameters))
    return trained, parts


def learn_words(recipe: Recipe, dataset: Dataset, parts: Parts) -> Words:
    """Makes the words of the training part into a vocabulary, and an encoder that knows them."""
    pipeline = new_pipeline()
    training_texts = [dataset.texts[row] for row in parts.train]
    vocabulary = fit_vocabulary(training_texts, pipeline, recipe.text)
    return Words(pipeline, vocabulary, TextEncoder(pipeline, vocabulary, recipe.text))


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


def fit(
    name: str,
    recipe: Recipe,
    encoder: TextEncoder,
    dataset: Dataset,
    parts: Parts,
    seed: int,
    progress: Progress,
    tracker: "Tracker | None" = None,
) -> tuple[Any, Scorer, list[Metrics]]:
    """Trains one model.

    Returns:
        The model, its scorer, calibrated if the recipe says so, and the figures of each epoch.
    """
    keras = import_keras()
    architecture, training = recipe.models[name], recipe.training_of(name)

    def texts(rows: Indices) -> list[str]:
        return [dataset.texts[row] for row in rows]

    def targets(rows: Indices) -> Floats:
        labels = dataset.labels[rows].astype(np.float32)
        if not training.soft_targets:
            return labels
        agreement = dataset.agreement[rows]
        return np.where(labels == 1, agreement, 1 - agreement)

    keras.utils.set_random_seed(seed)
    model = build_model(architecture)
    scorer = Scorer(encoder, architecture, model, Calibration())
    epochs, steps_per_epoch = _epochs(training, parts)
    steps = epochs * steps_per_epoch
    model.compile(
        optimizer=_optimizer(training, steps),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        # A lambda, because TensorFlow leaves a file of its translation of a named function behind.
        metrics=[
            keras.metrics.MeanMetricWrapper(
                lambda targets, logits: keras.ops.equal(targets >= 0.5, logits >= 0),
                name="accuracy",
            )
        ],
    )
    done = 0
    history: list[Metrics] = []
    best: tuple[float, Any] = (np.inf, None)

    def count(batch: int, logs: Metrics) -> None:  # noqa: ARG001  # Keras passes them by name
        nonlocal done
        done += 1
        progress(name, done, steps, history[-1] if history else {})

    def validate(epoch: int, logs: Metrics) -> None:  # noqa: ARG001
        nonlocal best
        logits = scorer.logits(texts(parts.validation))
        loss = _loss(logits, targets(parts.validation))
        accuracy = float(np.mean((logits >= 0) == dataset.labels[parts.validation]))
        history.append({**logs, "val_loss": loss, "val_accuracy": accuracy})
        if tracker:
            tracker.epoch(scorer, history[-1])
        if training.keep_best_epoch and loss < best[0]:
            best = (loss, model.get_weights())

    model.fit(
        scorer.pad(encoder.encode(texts(parts.train))),
        targets(parts.train),
        batch_size=training.batch_size,
        epochs=epochs,
        callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=count, on_epoch_end=validate)],
        verbose=0,
    )
    progress(name, steps, steps, history[-1])
    if best[1] is not None:
        model.set_weights(best[1])
    if training.calibrate:
        logits = scorer.logits(texts(parts.validation))
        scorer.calibration = _calibrate(logits, dataset.labels[parts.validation])
    return model, scorer, history


def _epochs(training: Training, parts: Parts) -> tuple[int, int]:
    """Epochs, and batches in one of them."""
    steps = -(-len(parts.train) // training.batch_size)
    return max(training.epochs, -(-training.least_steps // steps)), steps


def _loss(logits: Floats, targets: Floats) -> float:
    """Mean binary cross-entropy, of logits against targets between 0 and 1."""
    return float(np.mean(np.logaddexp(0, logits) - targets * logits))


def _optimizer(training: Training, steps: int) -> Any:
    """The recipe's optimizer; AdamW warms up over a tenth of the steps and then follows a cosine.

    Schedule: Loshchilov and Hutter, "SGDR", 2017, without restarts.
    """
    keras = import_keras()

    if training.optimizer == "adam":
        return keras.optimizers.Adam(training.learning_rate)
    warm_up = max(1, steps // 10)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, steps - warm_up, warmup_target=training.learning_rate, warmup_steps=warm_up
    )
    return keras.optimizers.AdamW(
        schedule, weight_decay=training.weight_decay, global_clipnorm=training.clip_norm
    )


def _calibrate(logits: Floats, labels: npt.NDArray[np.int8]) -> Calibration:
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


def _git_commit() -> str | None:
    """The commit of the checkout that this code lies in, or None where there is no such thing."""
    command = ["git", "rev-parse", "HEAD"]
    try:
        found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return found.stdout.strip() or None

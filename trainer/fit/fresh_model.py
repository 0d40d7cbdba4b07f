"""Keras models with fresh weights, compiled once and trained many times."""

from typing import Any

import numpy as np

from shared.model.architecture import Architecture, Weights
from shared.model.keras_model import build_model, import_keras
from trainer.fit.recipes import Training


def fresh_model(
    spec: Architecture, training: Training, seed: int, compiled: Any, start: Weights | None = None
) -> Any:
    """Return a compiled model as it is before any training.

    Args:
        compiled: a model that this function returned before, which gets the weights; None compiles
            a new one, which takes seconds.
        start: the weights by path; None: the seed's.
    """
    keras = import_keras()
    keras.utils.set_random_seed(seed)
    fresh = build_model(spec)
    if start is not None:
        for weight in fresh.weights:
            weight.assign(start[weight.path])
    if compiled is not None:
        for variable in compiled.optimizer.variables:
            variable.assign(np.zeros(variable.shape))
        for variable, first in zip(compiled.variables, fresh.variables, strict=True):
            variable.assign(first.value)
        return compiled
    optimizer = keras.optimizers.Adam()
    if training.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(
            weight_decay=training.weight_decay, global_clipnorm=training.clip_norm
        )
    fresh.compile(
        optimizer=optimizer,
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        # TensorFlow leaves a file of its translation of a function with a name behind.
        metrics=[
            keras.metrics.MeanMetricWrapper(
                lambda targets, logits: keras.ops.equal(targets >= 0.5, logits >= 0),
                name="accuracy",
            )
        ],
        # XLA would compile for each length of a batch.
        jit_compile=False if spec.masked else "auto",
    )
    fresh.optimizer.build(fresh.trainable_variables)
    return fresh

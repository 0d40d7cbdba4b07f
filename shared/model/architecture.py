"""The three architectures, built from a specification that is data.

    ids (int32, batch × length) ─embed─▶ ─summarize─▶ ─hidden─▶ logit (float32, batch)

Where character n-grams are embedded too, a model is fed the tokens' features instead of ids.
The models give logits; `Calibration` turns them into probabilities. Only `keras` and `keras.ops`
are used, so that they run on each of its backends. Keras takes seconds to import and is imported
where a model is built, so that a program which only reads a manifest does not wait for it.
"""

import contextlib
import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from shared.errors import BundleError
from shared.text.lemmas import PADDING_ID, Ids

log = logging.getLogger("triage")

NGRAM_BUCKETS = 16_384
MOST_NGRAMS = 14
"""Of a word; longer words lose 4-grams first."""

Floats = npt.NDArray[np.float32]
Weights = dict[str, npt.NDArray[Any]]
Device = Literal["cpu", "gpu"]
_Count = Annotated[int, Meta(ge=1)]
_CountOrNone = Annotated[int, Meta(ge=0)]
_Share = Annotated[float, Meta(ge=0, lt=1)]


class Architecture(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A specification that `build_model` follows.

    Attributes:
        kind: what stands between the embedding and the output.
        num_words: rows of the embedding; row 0 is padding's.
        embedding: dimension of the embedding.
        length: ids per text at most.
        masked: whether padding is on the right and has no influence, or is on the left and is read
            like a word, as in the article. Masked texts may be cut to the longest of their batch.
        summary: `flat` (all embeddings side by side; feed-forward only), `last` (the last state;
            LSTMs only) or `mean-max` (mean and maximum over the positions).
        units: of the LSTM, in each direction.
        hidden: units of the dense layer before the output; 0 for none.
        embedding_dropout: share of the embedding's dimensions dropped in training.
        dropout: share of the summary dropped in training.
        ngrams: dimension of the embedding of character n-grams, which stands beside the words'; 0
            for a model that is fed word ids alone.
        vectors: dimension of the pretrained vectors that stand beside both; 0 for none.
    """

    kind: Literal["feed-forward", "lstm", "bidirectional-lstm"]
    num_words: _Count
    embedding: _Count
    length: Annotated[int, Meta(ge=1, le=1024)]
    masked: bool
    summary: Literal["flat", "last", "mean-max"]
    units: _CountOrNone = 0
    hidden: _CountOrNone = 0
    embedding_dropout: _Share = 0.0
    dropout: _Share = 0.0
    ngrams: _CountOrNone = 0
    vectors: _CountOrNone = 0


class Calibration(msgspec.Struct, frozen=True):
    """Probability = sigmoid(scale · logit + offset), fitted on validation data (Platt, 1999)."""

    scale: float = 1.0
    offset: float = 0.0

    def probabilities(self, logits: Floats) -> Floats:
        """Calibrated probabilities, float32, of the logits' shape."""
        z = self.scale * logits.astype(np.float64) + self.offset
        return (1 / (1 + np.exp(-np.clip(z, -60, 60)))).astype(np.float32)


def import_keras() -> Any:
    """Imports Keras without the lines that TensorFlow's libraries write to stderr meanwhile.

    They come before any log level is heard, and speak of CPU instructions and missing GPUs. Whoever
    wants them sets `TF_CPP_MIN_LOG_LEVEL`, to any value.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        import keras

        return keras
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    stderr = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        import keras
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)
    # It takes models that are compiled one after the other for one that is compiled again.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    return keras


def keras_device() -> Device:
    """Where Keras computes, whichever its backend."""
    where = str(import_keras().ops.zeros(1).device).lower()  # such as `…/device:GPU:0` or `cuda:0`
    return "gpu" if "gpu" in where or "cuda" in where else "cpu"


def has_gpu() -> bool:
    """Whether Keras computes on a GPU.

    NVIDIA's device is looked for first: importing TensorFlow takes 4 s and hundreds of MB, which a
    worker without a GPU does without.
    """
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if hidden or not Path("/dev/nvidiactl").exists():
        return False
    if keras_device() == "gpu":
        return True
    log.warning("there is a GPU, and Keras cannot use it: the extra `gpu` is not installed")
    return False


def count_parameters(spec: Architecture) -> int:
    """How many weights a model will have, before any memory is taken for it."""
    return sum(math.prod(shape) for shape in weight_shapes(spec).values())


def weight_shapes(spec: Architecture) -> dict[str, tuple[int, ...]]:
    """The shapes of a model's weights by their path; all of them are float32."""
    shapes: dict[str, tuple[int, ...]] = {"embedding/embeddings": (spec.num_words, spec.embedding)}
    width = token_width(spec)
    if spec.ngrams:
        shapes["ngrams/embeddings"] = (NGRAM_BUCKETS + 1, spec.ngrams)
    cells = cell_paths(spec)
    for cell in cells:  # each with four gates
        shapes[f"{cell}/kernel"] = (width, 4 * spec.units)
        shapes[f"{cell}/recurrent_kernel"] = (spec.units, 4 * spec.units)
        shapes[f"{cell}/bias"] = (4 * spec.units,)
    if cells:
        width = len(cells) * spec.units
    width *= {"flat": spec.length, "last": 1, "mean-max": 2}[spec.summary]
    if spec.hidden:
        shapes["hidden/kernel"], shapes["hidden/bias"] = (width, spec.hidden), (spec.hidden,)
        width = spec.hidden
    return shapes | {"output/kernel": (width, 1), "output/bias": (1,)}


def cell_paths(spec: Architecture) -> tuple[str, ...]:
    """Where the weights of a model's LSTMs are, the forward one first."""
    return {
        "feed-forward": (),
        "lstm": ("lstm/lstm_cell",),
        "bidirectional-lstm": (
            "bidirectional/forward_lstm/lstm_cell",
            "bidirectional/backward_lstm/lstm_cell",
        ),
    }[spec.kind]


def token_width(spec: Architecture) -> int:
    """How many numbers stand for a token behind the embedding."""
    return spec.embedding + (spec.ngrams + spec.vectors if spec.ngrams else 0)


def build_model(spec: Architecture) -> Any:
    """Builds a model with fresh weights.

    Returns:
        A `keras.Model` to logits, float32 of shape (batch,). It takes ids, int32 of shape (batch,
        length); or, where n-grams are embedded, the list of word ids, of the same shape, n-gram ids
        (batch, length, `MOST_NGRAMS`) and vectors, float32 (batch, length, dimension), as
        `shared.text.tokens.Features` has them. If masked, any length will do, and each row holds at
        least one id.
    """
    keras = import_keras()
    layers, ops = keras.layers, keras.ops

    length = None if spec.masked else spec.length
    ids = keras.Input((length,), dtype="int32", name="ids")
    inputs = [ids]
    mask = ops.not_equal(ids, PADDING_ID) if spec.masked else None
    x = layers.Embedding(spec.num_words, spec.embedding, name="embedding")(ids)
    if spec.ngrams:
        ngrams = keras.Input((length, MOST_NGRAMS), dtype="int32", name="ngram_ids")
        vectors = keras.Input((length, spec.vectors), dtype="float32", name="vectors")
        inputs += [ngrams, vectors]
        embed = layers.Embedding(NGRAM_BUCKETS + 1, spec.ngrams, name="ngrams")
        there = ops.cast(ops.not_equal(ngrams, PADDING_ID), "float32")
        summed = ops.sum(embed(ngrams) * ops.expand_dims(there, -1), axis=2)
        count = ops.maximum(ops.sum(there, axis=2, keepdims=True), 1)
        x = ops.concatenate([x, summed / ops.sqrt(count), vectors], axis=-1)
    if spec.embedding_dropout:
        x = layers.SpatialDropout1D(spec.embedding_dropout, name="embedding_dropout")(x)
    if spec.kind != "feed-forward":
        lstm = layers.LSTM(spec.units, return_sequences=spec.summary != "last", name="lstm")
        if spec.kind == "bidirectional-lstm":
            lstm = layers.Bidirectional(lstm, name="bidirectional")
        x = lstm(x, mask=mask)
    if spec.summary == "flat":
        x = layers.Flatten(name="flat")(x)
    elif spec.summary == "mean-max":
        x = _mean_max(x, mask)
    name = spec.kind.replace("-", "_")
    return keras.Model(inputs if spec.ngrams else ids, _logit(spec, x), name=name)


def build_table_model(spec: Architecture, rows: int) -> Any:
    """Builds what follows the embedding of a masked `mean-max` model, behind a table of tokens.

    An LSTM is given no mask, for which Keras would leave cuDNN aside on JAX and PyTorch: behind
    padding on the right there is nothing more to read, and the second direction reads each text
    from its own end. Mean and maximum do not ask for the order of the states.

    Args:
        rows: of the table, which is the weight `table/embeddings`, as wide as `token_width`.

    Returns:
        A `keras.Model` of numbers in the table, int32 of shape (batch, length), filled up with
        `PADDING_ID` on the right, each row with a token at least, to logits, float32 of shape
        (batch,). The other weights have the paths of `build_model`'s, less `bidirectional/`.
    """
    keras = import_keras()
    layers, ops = keras.layers, keras.ops

    ids = keras.Input((None,), dtype="int32", name="ids")
    mask = ops.not_equal(ids, PADDING_ID)
    table = layers.Embedding(rows, token_width(spec), "zeros", name="table")
    if spec.kind == "feed-forward":
        x = table(ids)
    elif spec.kind == "lstm":
        x = layers.LSTM(spec.units, return_sequences=True, name="lstm")(table(ids))
    else:
        there = ops.cast(mask, "int32")
        from_end = ops.sum(there, axis=1, keepdims=True) - ops.cumsum(ops.ones_like(ids), axis=1)
        backwards = ops.take_along_axis(ids, ops.maximum(from_end, 0), axis=1) * there
        forward = layers.LSTM(spec.units, return_sequences=True, name="forward_lstm")
        backward = layers.LSTM(spec.units, return_sequences=True, name="backward_lstm")
        x = ops.concatenate([forward(table(ids)), backward(table(backwards))], axis=-1)
    name = spec.kind.replace("-", "_")
    return keras.Model(ids, _logit(spec, _mean_max(x, mask)), name=name)


def put_rows(model: Any, start: int, rows: Floats) -> None:
    """Writes rows of the table of a model that `build_table_model` gave, on its device.

    Raises:
        MemoryError: if the device has no room for a copy of the table.
    """
    table = model.get_layer("table").embeddings
    places = np.arange(start, start + len(rows), dtype=np.int32)[:, None]
    with device_memory():
        table.assign(import_keras().ops.scatter_update(table, places, rows))


def compile_model(model: Any) -> Callable[[Ids], Floats]:
    """The model as a compiled function of ids to logits, which takes batches of any shape.

    The function raises MemoryError if a batch is too large for the device.

    TensorFlow compiles once for all shapes, which Keras' own `predict_on_batch` does not: it
    compiles for the first few shapes that come by, each time while tweets wait.
    """
    if import_keras().backend.backend() == "tensorflow":
        import tensorflow as tf

        any_shape = tf.TensorSpec((None, model.input_shape[1]), tf.int32)
        compiled = tf.function(
            lambda ids: model(ids, training=False), input_signature=[any_shape], autograph=False
        )
    else:
        compiled = model.predict_on_batch

    def predict(ids: Ids) -> Floats:
        with device_memory():
            return np.asarray(compiled(ids))

    return predict


def get_weights(model: Any) -> Weights:
    """The model's weights by their path, such as `embedding/embeddings`."""
    return {weight.path: np.asarray(weight) for weight in model.weights}


def set_weights(model: Any, weights: Mapping[str, npt.NDArray[Any]]) -> None:
    """Puts weights in place.

    Raises:
        BundleError: if names, shapes or types are not those of the model, or one is not finite.
    """
    expect_weights({weight.path: tuple(weight.shape) for weight in model.weights}, weights)
    for weight in model.weights:
        weight.assign(weights[weight.path])


def expect_weights(
    shapes: Mapping[str, tuple[int, ...]], weights: Mapping[str, npt.NDArray[Any]]
) -> None:
    """Holds weights against the shapes that they should have.

    Raises:
        BundleError: if names or shapes are others, or one is not of finite 32-bit numbers.
    """
    expected = {path: (shape, "float32") for path, shape in shapes.items()}
    given = {path: (weight.shape, weight.dtype.name) for path, weight in weights.items()}
    if expected != given:
        raise BundleError(f"weights: expected {expected}, got {given}")
    for path, weight in weights.items():
        if not np.isfinite(weight).all():
            raise BundleError(f"weights: expected finite numbers, {path} has others")


@contextlib.contextmanager
def device_memory() -> Iterator[None]:
    """Raises MemoryError where a backend says in its own way that the device's memory is full."""
    try:
        yield
    except Exception as error:
        # TensorFlow, PyTorch and JAX, in this order.
        for sign in ("ResourceExhaustedError", "OutOfMemoryError", "RESOURCE_EXHAUSTED"):
            if sign in repr(error):
                raise MemoryError(f"the device's memory is full: {error}") from error
        raise


def _logit(spec: Architecture, summary: Any) -> Any:
    """The decision by a text's summary, of shape (batch,)."""
    keras = import_keras()
    layers, x = keras.layers, summary
    if spec.dropout:
        x = layers.Dropout(spec.dropout, name="dropout")(x)
    if spec.hidden:
        x = layers.Dense(spec.hidden, activation="relu", name="hidden")(x)
    return keras.ops.squeeze(layers.Dense(1, name="output")(x), -1)


def _mean_max(x: Any, mask: Any) -> Any:
    """Mean and maximum over the positions that the mask lets through, side by side."""
    ops = import_keras().ops
    if mask is None:
        return ops.concatenate([ops.mean(x, axis=1), ops.max(x, axis=1)], axis=-1)
    mask = ops.expand_dims(ops.cast(mask, x.dtype), -1)
    mean = ops.sum(x * mask, axis=1) / ops.maximum(ops.sum(mask, axis=1), 1)
    maximum = ops.max(x - 1e9 * (1 - mask), axis=1)
    return ops.concatenate([mean, maximum], axis=-1)

"""The networks in Keras: what trains them, and what scores on a GPU.

Both have the same layers after the embedding. Training embeds words, n-grams and vectors; scoring
looks up tokens in a table of embedded tokens. The table is on the GPU and gets only new rows, so a
batch sends only token numbers.

Only `keras` and `keras.ops` are used, so that models run on each of its backends. Keras takes
seconds to import, so it is imported where a model is built. It comes with the extras `trainer` and
`gpu`.
"""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from shared.arrays import Floats, Ids
from shared.model.architecture import Architecture, Weights, check_weights
from shared.model.numpy_model import embed
from shared.text.encoder import EncodedTexts, PaddedTexts, TokenTable, pad
from shared.text.lemmas import PADDING_ID, UNKNOWN_ID
from shared.text.tokens import MOST_NGRAMS, NGRAM_BUCKETS, Features

log = logging.getLogger("triage")

LENGTHS = (8, 16, 24, 32, 48, 64)
"""Lengths of rows, besides the model's own. The time of an LSTM grows with them."""

SIZES = (64, 256, 1024, 4096, 16_384)
"""Allowed numbers of rows in a call: few, because JAX compiles each with each length. Larger
batches are split."""

_BLOCK = 1024
"""Rows of the table that are sent at once: half a megabyte."""


class KerasModel:
    """A network that scores on a GPU. On a CPU it works too, but `NumpyModel` is faster.

    Attributes:
        device: where it computes.

    Args:
        weights: by path, as `get_weights` returns them.
        rows: the first size of the table on the GPU: twice an encoder's table, 30 MB. If that is
            too small, the model is made again with twice the size.

    Raises:
        BundleError: if the weights are not those of the architecture.
    """

    def __init__(self, spec: Architecture, weights: Weights, rows: int = 65_536) -> None:
        check_weights(spec, weights)
        self.device: Literal["cpu", "gpu"] = keras_device()
        self._spec = spec
        self._weights = weights
        self._lengths = [spec.length]
        if spec.masked:
            self._lengths = [*(length for length in LENGTHS if length < spec.length), spec.length]
        self._build(rows)

    def precompute(self, features: Features) -> Floats:
        """Embed tokens: rows of the token table, float32, shape (tokens, token width)."""
        return embed(self._weights, features)

    def pad(self, encoded: EncodedTexts) -> PaddedTexts:
        """Pad texts to the next of `LENGTHS`, and add rows up to the next of `SIZES`."""
        longest = self._spec.padded_length(int(encoded.lengths.max(initial=0)))
        length = next(length for length in self._lengths if length >= longest)
        ids = pad(encoded.ids, encoded.lengths, length, left=not self._spec.masked)
        spare = np.full((-len(ids) % _next_size(len(ids)), length), PADDING_ID, np.int32)
        spare[:, 0] = UNKNOWN_ID  # cuDNN takes no row of padding alone
        lengths = np.minimum(encoded.lengths, length)
        return PaddedTexts(np.concatenate([ids, spare]), lengths, encoded.table)

    def logits(self, texts: PaddedTexts) -> Floats:
        """Return the logits of the texts, float32, shape (texts,).

        Raises:
            MemoryError: if the batch is too large for the GPU.
        """
        ids = texts.ids
        self._upload(texts.table, int(ids.max(initial=0)) + 1)
        logits = [
            self._predict(ids[start : start + SIZES[-1]]) for start in range(0, len(ids), SIZES[-1])
        ]
        return np.concatenate([np.empty(0, np.float32), *logits])[: len(texts.lengths)]

    def shapes(self, batch_size: int) -> list[tuple[int, int]]:
        """Return the rows and lengths of all calls with batches of up to so many texts."""
        sizes = [size for size in SIZES if size <= _next_size(batch_size)]
        return [(size, length) for size in sizes for length in self._lengths]

    def _build(self, rows: int) -> None:
        """Build the network with an empty table."""
        self._rows = rows
        self._network = _build_scoring_model(self._spec, rows)
        for weight in self._network.weights:
            if weight.path != "table/embeddings":
                weight.assign(self._weights[weight.path])
        self._predict = _compile(self._network)
        self._table: TokenTable | None = None  # the table whose rows are on the device,
        self._uploaded = 0  # and how many of them

    def _upload(self, table: TokenTable, count: int) -> None:
        """Send those of the table's first rows that are not on the device yet."""
        if count + _BLOCK > self._rows:
            self._build(2 * (count + _BLOCK))
        if table is not self._table:
            self._table, self._uploaded = table, 0
        while self._uploaded < count:
            block = np.zeros((_BLOCK, self._spec.token_width), np.float32)
            new = table.rows[self._uploaded : self._uploaded + _BLOCK]
            block[: len(new)] = new
            _write_rows(self._network, self._uploaded, block)
            self._uploaded = min(self._uploaded + _BLOCK, count)


def _next_size(texts: int) -> int:
    return next((size for size in SIZES if size >= texts), SIZES[-1])


def import_keras() -> Any:
    """Import Keras, without what TensorFlow's libraries write to stderr meanwhile.

    They write about CPU instructions and missing GPUs, before any log level applies. To see it, set
    `TF_CPP_MIN_LOG_LEVEL` to any value.

    Raises:
        ModuleNotFoundError: if neither the extra `trainer` nor `gpu` is installed.
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
    # It would warn for each model that is built after another one.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    return keras


def keras_device() -> Literal["cpu", "gpu"]:
    """Return where Keras computes, on any backend."""
    where = str(import_keras().ops.zeros(1).device).lower()  # such as `…/device:GPU:0` or `cuda:0`
    return "gpu" if "gpu" in where or "cuda" in where else "cpu"


def has_gpu() -> bool:
    """Return whether Keras computes on a GPU.

    Importing TensorFlow takes 4 s and hundreds of MB. So it is imported only if there is an NVIDIA
    device.
    """
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if hidden or not Path("/dev/nvidiactl").exists():
        return False
    with contextlib.suppress(ModuleNotFoundError):
        if keras_device() == "gpu":
            return True
    log.warning("scoring on the CPU: to use the GPU, install tweet-triage[gpu] without [trainer]")
    return False


def build_model(spec: Architecture) -> Any:
    """Build a model with fresh weights, for training.

    Returns:
        A `keras.Model` to logits, float32, shape (batch,). Its inputs are word ids, int32, shape
        (batch, length). With n-grams, they are a list of word ids, n-gram ids of shape (batch,
        length, `MOST_NGRAMS`) and vectors, float32, of shape (batch, length, dimension), as in
        `shared.text.tokens.Features`. A masked model takes any length, and at least one id a row.
    """
    keras = import_keras()
    layers, ops = keras.layers, keras.ops

    length = None if spec.masked else spec.length
    ids = keras.Input((length,), dtype="int32", name="ids")
    inputs = [ids]
    x = layers.Embedding(spec.num_words, spec.embedding, name="embedding")(ids)
    if spec.ngrams:
        ngrams = keras.Input((length, MOST_NGRAMS), dtype="int32", name="ngram_ids")
        vectors = keras.Input((length, spec.vectors), dtype="float32", name="vectors")
        inputs += [ngrams, vectors]
        embed_ngrams = layers.Embedding(NGRAM_BUCKETS + 1, spec.ngrams, name="ngrams")
        present = ops.cast(ops.not_equal(ngrams, PADDING_ID), "float32")
        summed = ops.sum(embed_ngrams(ngrams) * ops.expand_dims(present, -1), axis=2)
        count = ops.maximum(ops.sum(present, axis=2, keepdims=True), 1)
        x = ops.concatenate([x, summed / ops.sqrt(count), vectors], axis=-1)
    return _model(spec, inputs if spec.ngrams else ids, ids, x)


def _build_scoring_model(spec: Architecture, rows: int) -> Any:
    """Build a model that looks tokens up in a table of so many rows, `table/embeddings`.

    Returns:
        A `keras.Model` of token numbers, int32, shape (batch, length), to logits, float32, shape
        (batch,).
    """
    keras = import_keras()
    ids = keras.Input((None if spec.masked else spec.length,), dtype="int32", name="ids")
    table = keras.layers.Embedding(rows, spec.token_width, "zeros", name="table")
    return _model(spec, ids, ids, table(ids))


def _model(spec: Architecture, inputs: Any, ids: Any, embedded: Any) -> Any:
    """Build what follows the embedding.

    Args:
        inputs: of the model.
        ids: of the padded texts, shape (batch, length).
        embedded: the same positions, shape (batch, length, token width).
    """
    keras = import_keras()
    layers, ops, x = keras.layers, keras.ops, embedded

    mask = ops.not_equal(ids, PADDING_ID) if spec.masked else None
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
    if spec.dropout:
        x = layers.Dropout(spec.dropout, name="dropout")(x)
    if spec.hidden:
        x = layers.Dense(spec.hidden, activation="relu", name="hidden")(x)
    logits = ops.squeeze(layers.Dense(1, name="output")(x), -1)
    return keras.Model(inputs, logits, name=spec.kind.replace("-", "_"))


def _mean_max(x: Any, mask: Any) -> Any:
    """Concatenate mean and maximum over the positions that the mask includes."""
    ops = import_keras().ops
    if mask is None:
        return ops.concatenate([ops.mean(x, axis=1), ops.max(x, axis=1)], axis=-1)
    mask = ops.expand_dims(ops.cast(mask, x.dtype), -1)
    mean = ops.sum(x * mask, axis=1) / ops.maximum(ops.sum(mask, axis=1), 1)
    maximum = ops.max(x - 1e9 * (1 - mask), axis=1)
    return ops.concatenate([mean, maximum], axis=-1)


def get_weights(model: Any) -> Weights:
    """Return the model's weights by their path, such as `embedding/embeddings`."""
    return {weight.path: np.asarray(weight) for weight in model.weights}


def _write_rows(model: Any, start: int, rows: Floats) -> None:
    """Write rows of the model's table, on its device.

    Raises:
        MemoryError: if the device has no room for a copy of the table.
    """
    table = model.get_layer("table").embeddings
    numbers = np.arange(start, start + len(rows), dtype=np.int32)[:, None]
    with device_memory():
        table.assign(import_keras().ops.scatter_update(table, numbers, rows))


def _compile(model: Any) -> Callable[[Ids], Floats]:
    """Compile the model to a function of ids of any shape to logits.

    The function raises MemoryError if a batch is too large for the device.

    TensorFlow compiles once for all shapes. Keras' own `predict_on_batch` compiles again for the
    first few shapes, each time while tweets wait.
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


@contextlib.contextmanager
def device_memory() -> Iterator[None]:
    """Raise MemoryError if a backend reports that the device's memory is full."""
    try:
        yield
    except Exception as error:
        # TensorFlow, PyTorch and JAX, in this order.
        for sign in ("ResourceExhaustedError", "OutOfMemoryError", "RESOURCE_EXHAUSTED"):
            if sign in repr(error):
                raise MemoryError(f"the device's memory is full: {error}") from error
        raise

"""Load a bundle: from its files to a scorer that is ready.

A bundle loads only if its hashes agree and its model reproduces the golden probabilities.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from safetensors import numpy as safetensors

from shared.bundle.files import (
    GOLDEN,
    LOADED,
    PIPELINE,
    VECTORS,
    VOCABULARY,
    WEIGHTS,
    Golden,
    digest_of,
    read_file,
    verify_bundle,
)
from shared.bundle.manifest import Manifest
from shared.errors import BundleError
from shared.model.architecture import Architecture, Weights, count_parameters
from shared.model.calibration import Calibration
from shared.model.keras_model import KerasModel, has_gpu
from shared.model.numpy_model import NumpyModel
from shared.model.scorer import Model, Scorer
from shared.text.encoder import MEMO_SIZE, TABLE_SIZE, Encoder
from shared.text.lemmas import TextSettings, lemma_table, pipeline_from_bytes
from shared.text.tokens import Featurizer, WordVectors, vectors_from_bytes

if TYPE_CHECKING:
    from spacy.language import Language

GOLDEN_TOLERANCE = 1e-3
"""How far probabilities may differ between processors: 1e-6 between CPUs, more with TF32."""

NewModel = Callable[[Architecture, Weights], Model]


class Bundle(msgspec.Struct, frozen=True):
    """A loaded bundle.

    Attributes:
        digest: the SHA-256 of the manifest.
    """

    manifest: Manifest
    digest: str
    scorer: Scorer


def load_bundle(
    folder: Path,
    new_model: NewModel | None = None,
    *,
    memo_size: int = MEMO_SIZE,
    table_size: int = TABLE_SIZE,
) -> Bundle:
    """Load a bundle. Verify its hashes and its golden probabilities.

    Args:
        new_model: as in `new_scorer`.
        memo_size, table_size: as in `Encoder`.

    Raises:
        BundleError: if a file is missing, changed or malformed, or a golden text's probability
            differs by more than `GOLDEN_TOLERANCE`.
    """
    manifest = verify_bundle(folder)
    contents = {name: read_file(folder, name) for name in LOADED}
    spec = manifest.architecture
    try:
        weights: dict[str, Any] = safetensors.load(contents[WEIGHTS])
        vocabulary = msgspec.json.decode(contents[VOCABULARY], type=list[str])
        golden = msgspec.json.decode(contents[GOLDEN], type=list[Golden])
        pipeline = pipeline_from_bytes(contents[PIPELINE])
        vectors = None
        if spec.vectors:
            vectors = vectors_from_bytes(read_file(folder, VECTORS), spec.vectors)
    except Exception as error:  # spaCy and safetensors raise errors of many classes
        raise BundleError(f"{folder}: a file of the bundle cannot be read: {error!r}") from error
    words = (len(vocabulary), manifest.text.num_words, spec.num_words)
    if not golden or list(words) != sorted(words):
        raise BundleError(
            f"{folder}: expected golden texts, and no more words in the vocabulary than num_words "
            f"and embeddings; got {len(golden)} texts, {words[0]} words, {words[1]} and {words[2]}"
        )
    # Checked before a model of that size is built.
    expected, given = count_parameters(spec), sum(weight.size for weight in weights.values())
    if expected != given:
        raise BundleError(
            f"{folder}: expected {expected} weights for this architecture, got {given}"
        )
    try:
        scorer = new_scorer(
            spec,
            manifest.text,
            weights,
            vocabulary,
            pipeline,
            vectors,
            manifest.calibration,
            new_model,
            memo_size=memo_size,
            table_size=table_size,
        )
        found = scorer.score([entry.text for entry in golden])
    except BundleError:
        raise
    except Exception as error:  # spaCy and Keras raise errors of many classes
        raise BundleError(f"{folder} does not score its golden texts: {error!r}") from error
    for entry, probability in zip(golden, found, strict=True):
        if not abs(entry.probability - probability) <= GOLDEN_TOLERANCE:
            raise BundleError(
                f"{folder} does not reproduce its golden probabilities: "
                f"expected {entry.probability:.6f} for {entry.text!r}, got {probability:.6f}"
            )
    return Bundle(manifest, digest_of(folder), scorer)


def new_scorer(
    spec: Architecture,
    settings: TextSettings,
    weights: Weights,
    vocabulary: Sequence[str],
    pipeline: "Language",
    vectors: WordVectors | None,
    calibration: Calibration = Calibration(),  # noqa: B008  # is frozen
    new_model: NewModel | None = None,
    *,
    memo_size: int = MEMO_SIZE,
    table_size: int = TABLE_SIZE,
) -> Scorer:
    """Build a scorer from what a bundle holds.

    Args:
        new_model: `NumpyModel` or `KerasModel`. None: Keras if it can use a GPU, otherwise NumPy.
        memo_size, table_size: as in `Encoder`.

    Raises:
        BundleError: if the weights are not those of the architecture.
    """
    new_model = new_model or (KerasModel if has_gpu() else NumpyModel)
    model = new_model(spec, weights)
    lemmas = lemma_table(pipeline) if settings.respell and spec.ngrams else None
    vectors = vectors if spec.vectors else None
    featurizer = Featurizer(vocabulary, vectors, lemmas, keep_unknown=settings.keep_unknown)
    encoder = Encoder(pipeline, settings, featurizer, model.precompute, memo_size, table_size)
    return Scorer(encoder, model, calibration)

"""Start: the bundle whose weights a training starts from, instead of random ones."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import numpy.typing as npt
from safetensors import numpy as safetensors

from shared.bundle.files import (
    PIPELINE,
    VECTORS,
    VOCABULARY,
    WEIGHTS,
    digest_of,
    read_file,
    read_trained_on,
    verify_bundle,
)
from shared.bundle.manifest import Base, Manifest
from shared.errors import DataError, UsageError
from shared.model.architecture import Weights
from shared.text.lemmas import pipeline_from_bytes
from shared.text.tokens import WordVectors, vectors_from_bytes
from trainer.data.dataset import Dataset
from trainer.data.duplicates import were_learned
from trainer.data.read import content_hash
from trainer.fit.recipes import Recipe, problems_of

if TYPE_CHECKING:
    from spacy.language import Language

RATE = 0.3
"""Factor of the recipe's learning rate, which is for random weights. Of 0.03, 0.1 and 0.3, the
best on 350 tweets of each of three crises."""

FEWEST_OF_A_CLASS = 10
"""Tweets of each label, as of any training."""


class Start(msgspec.Struct, frozen=True):
    """What a training takes over from a bundle.

    Attributes:
        base: names the bundle.
        pipeline: its tokenizer and lemmas.
        vectors: its word vectors, if its network reads some.
        trained_on: hashes of the texts that it has learned, uint64, shape (hashes,).
    """

    base: Base
    manifest: Manifest
    weights: Weights
    vocabulary: list[str]
    pipeline: "Language"
    vectors: WordVectors | None
    trained_on: npt.NDArray[np.uint64]


def read_start(folder: Path, version: int | None) -> Start:
    """Read a bundle to start from.

    Args:
        version: its number in the registry; None if it is from a folder.

    Raises:
        BundleError: if it does not verify.
        UsageError: if it does not say what it was trained on.
    """
    manifest = verify_bundle(folder)
    trained_on = read_trained_on(folder)
    if trained_on is None:
        raise UsageError(
            f"{folder}: {manifest.name} of {manifest.created} does not say which tweets it has "
            "learned; expected a bundle that this version of the trainer has made"
        )
    width = manifest.architecture.vectors
    return Start(
        Base(digest_of(folder), version),
        manifest,
        safetensors.load(read_file(folder, WEIGHTS)),
        json.loads(read_file(folder, VOCABULARY)),
        pipeline_from_bytes(read_file(folder, PIPELINE)),
        vectors_from_bytes(read_file(folder, VECTORS), width) if width else None,
        trained_on,
    )


def starting_from(recipe: Recipe, start: Start) -> Recipe:
    """Return the recipe of the bundle's network alone, to be trained as this recipe says.

    Raises:
        UsageError: if the recipe cannot train it.
    """
    manifest = start.manifest
    training = recipe.training_of(manifest.name)
    training = msgspec.structs.replace(training, learning_rate=RATE * training.learning_rate)
    recipe = msgspec.structs.replace(
        recipe,
        text=manifest.text,
        models={manifest.name: manifest.architecture},
        training=training,
        trainings={},
    )
    if problems := problems_of(recipe):
        raise UsageError(
            f"recipe {recipe.name!r} cannot train {manifest.name} of recipe {manifest.recipe}: "
            f"{'; '.join(problems)}; use another --recipe"
        )
    return recipe


def without_learned(dataset: Dataset, start: Start) -> tuple[Dataset, int]:
    """Return the tweets that the bundle has not learned, and the number of the others.

    A network that starts with what it knows of a tweet scores it too well. Near-duplicates count as
    learned.

    Raises:
        DataError: if fewer than `FEWEST_OF_A_CLASS` tweets of a label are left.
    """
    learned = were_learned(dataset.texts, start.trained_on)
    if not learned.any():
        return dataset, 0
    rows = np.flatnonzero(~learned)
    counts = np.bincount(dataset.labels[rows], minlength=2)
    if counts.min() < FEWEST_OF_A_CLASS:
        raise DataError(
            f"{dataset.name}: {start.manifest.name} has learned all but {len(rows)} of the "
            f"{len(learned)} tweets; expected {FEWEST_OF_A_CLASS} new ones or more of each label, "
            f"found {counts[1]} relevant and {counts[0]} others: add tweets, or train without "
            "--from"
        )
    left = msgspec.structs.replace(
        dataset,
        texts=dataset.texts_of(rows),
        labels=dataset.labels[rows],
        agreement=dataset.agreement[rows],
        keywords=[dataset.keywords[row] for row in rows] if dataset.keywords else [],
    )
    return msgspec.structs.replace(left, sha256=content_hash(left)), int(learned.sum())

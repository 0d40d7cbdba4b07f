"""Candidates: trained models, each as a bundle that can be registered."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from shared.bundle.files import write_bundle
from shared.bundle.manifest import FORMAT, Manifest
from shared.bundle.quality import Subset
from shared.model.architecture import count_parameters
from shared.text.lemmas import pipeline_to_bytes
from trainer.data.dataset import Indices
from trainer.data.same_text import normalized_hashes, word_hashes
from trainer.evaluate.quality import Evaluation
from trainer.fit.corpus import Corpus
from trainer.fit.loop import FittedModel
from trainer.fit.recipes import Recipe
from trainer.report.model_card import model_card


class Candidate(msgspec.Struct, frozen=True):
    """A trained model.

    Attributes:
        bundle: its folder.
    """

    name: str
    bundle: Path
    manifest: Manifest

    @property
    def parameters(self) -> int:
        """The number of its weights."""
        return count_parameters(self.manifest.architecture)


def write_candidate(
    folder: Path,
    recipe: Recipe,
    corpus: Corpus,
    seen: Indices,
    origin: dict[str, Any],
    model: FittedModel,
    evaluation: Evaluation,
    left_out: list[Subset],
) -> Candidate:
    """Write a model's bundle.

    Args:
        folder: of the bundle; its name is the model's.
        seen: the rows of the training and validation parts, whose hashes the bundle carries,
            with those of the bundle that the training started from.
        origin: as `describe_origin` returns it.
        left_out: groups of tweets, as `trainer.evaluate.leave_one_group_out` measures them.

    Raises:
        BundleError: if the folder cannot be written.
    """
    name = folder.name
    architecture = recipe.models[name]
    texts = corpus.dataset.texts_of(seen)
    trained_on = [normalized_hashes(texts), word_hashes(texts)]
    if corpus.start:
        trained_on.append(corpus.start.trained_on)
    manifest = Manifest(
        format=FORMAT,
        name=name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        **origin,
        text=recipe.text,
        architecture=architecture,
        calibration=model.scorer.calibration,
        threshold=evaluation.threshold,
        metrics=evaluation.metrics,
        files={},
        epochs=model.history,
        operating_points=evaluation.operating_points,
        labelling=corpus.dataset.labelling,
        languages=corpus.dataset.languages,
        quality=msgspec.structs.replace(evaluation.quality, groups=left_out),
        base=corpus.start.base if corpus.start else None,
    )
    manifest = write_bundle(
        folder,
        manifest,
        model.weights,
        model.vocabulary,
        pipeline_to_bytes(corpus.pipeline),
        model.scorer,
        np.concatenate(trained_on),
        model_card(manifest),
        corpus.vectors if architecture.vectors else None,
    )
    return Candidate(name, folder, manifest)


def best_of(candidates: list[Candidate]) -> Candidate:
    """Return the candidate with the highest ROC AUC on the validation part.

    On some hundred tweets, accuracy is noisy. The area under the curve compares every pair of
    tweets and is more stable.
    """
    return max(candidates, key=lambda one: one.manifest.metrics["validation"]["roc_auc"])

"""Bundles of a recipe's models with random weights: what training would give, at once."""

import csv
from pathlib import Path

import numpy as np

from shared.bundle.files import write_bundle
from shared.bundle.load import new_scorer
from shared.bundle.manifest import FORMAT, Manifest
from shared.model.calibration import Calibration
from shared.model.numpy_model import NumpyModel
from shared.text.lemmas import fit_vocabulary, new_pipeline, pipeline_to_bytes
from shared.text.tokens import WordVectors
from tests.conftest import SAMPLE
from tests.shared.model.specs import new_weights
from trainer.fit.recipes import load_recipe


def sample_texts() -> list[str]:
    with SAMPLE.open(encoding="utf-8", newline="") as file:
        return [row["text"] for row in csv.DictReader(file)]


def write_random_bundle(folder: Path, recipe_name: str, model: str) -> Manifest:
    """Write a bundle whose golden probabilities are those of NumPy."""
    recipe = load_recipe(recipe_name)
    spec, pipeline = recipe.models[model], new_pipeline()
    vocabulary = fit_vocabulary(sample_texts(), pipeline, recipe.text)
    weights = new_weights(spec, scale=0.2)
    vectors = None
    if spec.vectors:
        draw = np.random.default_rng(1).normal(size=(100, spec.vectors))
        vectors = WordVectors(vocabulary[50:150], draw.astype(np.float16))
    arguments = (spec, recipe.text, weights, vocabulary, pipeline, vectors, Calibration())
    manifest = Manifest(
        format=FORMAT,
        name=model,
        created="2026-11-30T00:00:00Z",
        recipe=recipe_name,
        seed=0,
        git_commit=None,
        packages={},
        data={},
        text=recipe.text,
        architecture=spec,
        calibration=Calibration(),
        threshold=0.5,
        metrics={},
        files={},
    )
    return write_bundle(
        folder,
        manifest,
        weights,
        vocabulary,
        pipeline_to_bytes(pipeline),
        new_scorer(*arguments, NumpyModel),
        np.zeros(1, np.uint64),
        "# Model card",
        vectors,
    )

"""Where a model comes from: recipe, seed, commit, packages and data."""

import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from trainer.data.dataset import Dataset
from trainer.data.split import Parts
from trainer.fit.recipes import Recipe


def describe_origin(recipe: Recipe, dataset: Dataset, parts: Parts) -> dict[str, Any]:
    """Return where the models of a training come from, by the fields of a manifest."""
    return {
        "recipe": recipe.name,
        "seed": recipe.seed,
        "git_commit": _git_commit(),
        "packages": _versions(),
        "data": describe_data(dataset, parts),
    }


def describe_data(dataset: Dataset, parts: Parts) -> dict[str, Any]:
    """Return the data of a training, by the keys of a manifest's `data`."""
    return {
        "name": dataset.name,
        "sha256": dataset.sha256,
        **{part: len(rows) for part, rows in msgspec.structs.asdict(parts).items()},
    }


def describe_settings(recipe: Recipe, name: str) -> dict[str, Any]:
    """Return all settings of a recipe's model but the seed, as plain data."""
    settings = {
        "validation_size": recipe.validation_size,
        "text": recipe.text,
        "training": recipe.training_of(name),
        "architecture": recipe.models[name],
    }
    plain: dict[str, Any] = msgspec.to_builtins(settings)
    return plain


def _versions() -> dict[str, str]:
    """Return the versions of the packages that a model depends on."""
    versions = {name: metadata.version(name) for name in ("keras", "numpy", "spacy")}
    for name in ("tensorflow-cpu", "tensorflow"):  # by platform
        try:
            versions["tensorflow"] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _git_commit() -> str | None:
    """Return the commit of the checkout that this code is in, or None outside a checkout."""
    command = ["git", "rev-parse", "HEAD"]
    try:
        found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return found.stdout.strip() or None

"""Recipes: how text becomes ids, which models are built, and how they are trained, as data."""

import os
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from shared.errors import UsageError
from shared.model.architecture import Architecture
from shared.text.lemmas import TextSettings
from trainer.fit.vectors import WIDTH

_SEEDS = 2**32  # NumPy and scikit-learn take no more
_Count = Annotated[int, Meta(ge=1)]


class Training(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the models of a recipe are trained.

    Attributes:
        epochs_without_teacher: replaces `epochs` where there are no soft labels; 0 for the same.
        least_steps: the least number of batches; a small data set gets more epochs to reach it.
        weight_decay: weight decay of AdamW.
        clip_norm: limit of the gradient's global norm; None for no limit.
        soft_targets: use the share of annotators who found the tweet relevant as its target, where
            the data has it, instead of the label.
        keep_best_epoch: keep the weights of the epoch with the least validation loss, instead of
            those of the last epoch.
        calibrate: calibrate the probabilities on tweets that the model did not see.
        teacher_share: the weight of the teacher's probability in a tweet's target, where there are
            soft labels; the rest is as `soft_targets` says.
    """

    optimizer: Literal["adam", "adamw"]
    learning_rate: Annotated[float, Meta(gt=0)]
    batch_size: _Count
    epochs: _Count
    soft_targets: bool
    keep_best_epoch: bool
    calibrate: bool
    epochs_without_teacher: Annotated[int, Meta(ge=0)] = 0
    least_steps: Annotated[int, Meta(ge=0)] = 0
    weight_decay: Annotated[float, Meta(ge=0)] = 0.0
    clip_norm: Annotated[float, Meta(gt=0)] | None = None
    teacher_share: Annotated[float, Meta(ge=0, le=1)] = 0.0


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A recipe, as its TOML file has it.

    Attributes:
        name: as it was loaded by, without a folder; a file does not state it.
        seed: of initial weights, batches, dropout and the validation part.
        validation_size: share of the training part that is the validation part.
        cross_validate: fit each model without each fold of the training part, measure and calibrate
            it on the folds that it did not see, and then fit it on all of them. The first fold is
            the validation part.
        simple_teacher: make soft labels by `trainer.distill.simple_teacher` where there are none.
        models: by name, in the order of training.
        trainings: of the models that are not trained as `training` says, by name.
    """

    seed: Annotated[int, Meta(ge=0, lt=_SEEDS)]
    validation_size: Annotated[float, Meta(gt=0, lt=1)]
    text: TextSettings
    training: Training
    models: Annotated[dict[str, Architecture], Meta(min_length=1)]
    cross_validate: bool = False
    simple_teacher: bool = False
    trainings: dict[str, Training] = {}
    name: str = ""

    @property
    def has_teacher(self) -> bool:
        """Whether a model learns from soft labels, if there are any."""
        return any(self.training_of(name).teacher_share > 0 for name in self.models)

    def training_of(self, name: str) -> Training:
        """Return how the model of this name is trained."""
        return self.trainings.get(name, self.training)


def names() -> list[str]:
    """Return the names of the recipes that ship."""
    files = resources.files(__name__).iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def load_recipe(name: str, seed: int | None = None) -> Recipe:
    """Read a recipe that ships, by its name, or one from a TOML file.

    Args:
        seed: replaces the recipe's.

    Raises:
        UsageError: if there is no such recipe, it cannot be trained, or the seed is out of range.
    """
    recipe = _load_recipe(name)
    seed = recipe.seed if seed is None else seed
    if not 0 <= seed < _SEEDS:
        raise UsageError(f"--seed {seed}: expected a whole number from 0 to {_SEEDS - 1}")
    shown = os.fsencode(Path(name).name).decode("utf-8", "replace")
    return msgspec.structs.replace(recipe, seed=seed, name=shown)


def _load_recipe(name: str) -> Recipe:
    if name in names():
        data = resources.files(__name__).joinpath(f"{name}.toml").read_bytes()
        return msgspec.toml.decode(data, type=Recipe)
    path = Path(name)
    if not path.is_file():
        expected = f"{', '.join(names())}, or a recipe's TOML file"
        raise UsageError(f"recipe {name!r}: expected one of {expected}")
    try:
        recipe = msgspec.toml.decode(path.read_bytes(), type=Recipe)
    except (OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise UsageError(f"recipe {name!r}: expected a recipe: {error}") from error
    problems = problems_of(recipe)
    unknown = sorted(recipe.trainings.keys() - recipe.models.keys())
    expected = ", ".join(recipe.models)
    problems += [f"trainings.{model}: expected one of {expected}" for model in unknown]
    if problems:
        raise UsageError(f"recipe {name!r}: {'; '.join(problems)}")
    return recipe


def problems_of(recipe: Recipe) -> list[str]:
    """Return what is wrong with the models' names, architectures and trainings."""
    return [problem for name in recipe.models for problem in _problems(name, recipe)]


def _problems(name: str, recipe: Recipe) -> Iterator[str]:
    model = recipe.models[name]
    kind = f"kind {model.kind}, masked" if model.masked else f"kind {model.kind}"
    summaries = ["mean-max"]
    if model.kind != "feed-forward":
        summaries.append("last")
    elif not model.masked:
        summaries.append("flat")
    if not re.fullmatch(r"[\w-][\w.-]*", name):
        yield f"models.{name}: expected a name of letters, digits, '-', '_' and '.'"
    if model.summary not in summaries:
        expected = " or ".join(summaries)
        yield f"models.{name}.summary {model.summary!r}: expected {expected} for {kind}"
    if model.kind != "feed-forward" and model.units == 0:
        yield f"models.{name}.units 0: expected 1 or more for {kind}"
    if model.masked and not recipe.text.keep_unknown:  # an empty text would be nothing but padding
        yield f"models.{name}.masked true: expected false, unless keep_unknown"
    if model.ngrams and not (model.masked and recipe.text.keep_unknown):
        yield f"models.{name}.ngrams {model.ngrams}: expected 0, unless masked and keep_unknown"
    if model.vectors not in (0, WIDTH):
        yield f"models.{name}.vectors {model.vectors}: expected 0 or {WIDTH}"
    if model.vectors and not model.ngrams:
        yield f"models.{name}.vectors {model.vectors}: expected 0 where there are no ngrams"
    if model.ngrams and model.summary != "mean-max":
        yield f"models.{name}.summary {model.summary!r}: expected mean-max where there are ngrams"
    if model.num_words < recipe.text.num_words:
        expected = f"text.num_words, {recipe.text.num_words}, or more"
        yield f"models.{name}.num_words {model.num_words}: expected {expected}"
    if recipe.cross_validate and recipe.training_of(name).keep_best_epoch:
        yield f"keep_best_epoch true, for {name}: expected false where cross_validate"

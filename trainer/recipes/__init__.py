"""Recipes: how text becomes ids, which models are built, and how they are trained, as data."""

from importlib import resources

import msgspec

from shared.errors import UsageError
from shared.models import Architecture
from shared.text import TextSettings

DEFAULT = "tuned"


class Training(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the models of a recipe are trained.

    Attributes:
        least_steps: batches in all; a small data set gets more epochs to reach them.
        weight_decay: of AdamW, a step.
        clip_norm: the gradient's global norm at most; None for no limit.
        soft_targets: whether the target is the share of annotators who held the tweet relevant,
            where the data says so, or the label.
        keep_best_epoch: whether the weights of the epoch with the least validation loss are kept,
            or those of the last epoch.
        calibrate: whether probabilities are calibrated on the validation part.
    """

    optimizer: str
    learning_rate: float
    batch_size: int
    epochs: int
    soft_targets: bool
    keep_best_epoch: bool
    calibrate: bool
    least_steps: int = 0
    weight_decay: float = 0.0
    clip_norm: float | None = None


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A recipe, read from the TOML file of its name.

    Attributes:
        seed: of initial weights, batches, dropout and the validation part.
        validation_size: share of the training part that is cut off for validation.
        models: by the run's name, in the order of training.
    """

    seed: int
    validation_size: float
    text: TextSettings
    training: Training
    models: dict[str, Architecture]


def names() -> list[str]:
    """The recipes that there are."""
    files = resources.files(__name__).iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def load_recipe(name: str) -> Recipe:
    """Reads a recipe by name.

    Raises:
        UsageError: if there is none of that name.
    """
    if name not in names():
        raise UsageError(f"recipe {name!r}: expected one of {', '.join(names())}")
    data = resources.files(__name__).joinpath(f"{name}.toml").read_bytes()
    return msgspec.toml.decode(data, type=Recipe)

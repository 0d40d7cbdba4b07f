"""Search space: the settings that a sweep tries."""

import math
import random
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from shared.errors import UsageError
from shared.model.architecture import Architecture
from trainer.fit.recipes import Recipe, Training, problems_of

Value = int | float
Drawn = dict[str, Value]
"""A value for each parameter."""

_NAMES = [
    *(field for field in Architecture.__struct_fields__ if field != "num_words"),
    *Training.__struct_fields__,
]


class Parameter(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The values of a parameter, in the form of W&B's sweeps.

    Attributes:
        values: the values to choose from, instead of a distribution.
        distribution: of the value between `min` and `max`, or of its logarithm for
            `log_uniform_values`.
    """

    values: Annotated[list[Value], Meta(min_length=1)] | None = None
    distribution: Literal["uniform", "log_uniform_values", "int_uniform"] | None = None
    min: Value | None = None
    max: Value | None = None


class Space(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters by their name in recipes, and W&B's method of choosing values."""

    method: Literal["bayes", "random"]
    parameters: Annotated[dict[str, Parameter], Meta(min_length=1)]


def load_space(path: Path | None) -> Space:
    """Read a search space from a TOML file, or the one that ships.

    Raises:
        UsageError: if the file is not a search space.
    """
    if path is None:
        content = resources.files("trainer.fit").joinpath("sweep.toml").read_bytes()
        return msgspec.toml.decode(content, type=Space)
    try:
        space = msgspec.toml.decode(path.read_bytes(), type=Space)
    except (OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise UsageError(f"search space {str(path)!r}: {error}") from error
    for name, parameter in space.parameters.items():
        if name not in _NAMES:
            raise UsageError(
                f"search space {str(path)!r}: parameters.{name}: expected {', '.join(_NAMES)}"
            )
        if not _is_drawable(parameter):
            raise UsageError(
                f"search space {str(path)!r}: parameters.{name}: expected values, or distribution, "
                "min and max, the less first, and above 0 for log_uniform_values"
            )
    return space


def parameters_of(space: Space, recipe: Recipe, name: str) -> dict[str, Parameter]:
    """Return the parameters of a model; a feed-forward one has no units.

    Raises:
        UsageError: if the model cannot be trained with a value of one of them.
    """
    without = {"units"} if recipe.models[name].kind == "feed-forward" else set()
    parameters = {key: value for key, value in space.parameters.items() if key not in without}
    for key, parameter in parameters.items():
        ends = (parameter.min, parameter.max, draw({key: parameter}, random.Random(0))[key])
        for value in parameter.values or ends:
            if value is not None:
                applied(recipe, name, {key: value})
    return parameters


def draw(parameters: dict[str, Parameter], randomness: random.Random) -> Drawn:
    """Draw a random value for each parameter."""
    return {name: _draw(parameter, randomness) for name, parameter in parameters.items()}


def applied(recipe: Recipe, name: str, drawn: Drawn) -> Recipe:
    """Return the recipe with one of its models alone, and with other settings for it.

    Raises:
        UsageError: if the model cannot be trained with these settings.
    """
    shown = ", ".join(f"{key} {value}" for key, value in drawn.items())

    def changed(struct: Any) -> Any:
        own = {key: value for key, value in drawn.items() if key in struct.__struct_fields__}
        return msgspec.convert({**msgspec.to_builtins(struct), **own}, type(struct))

    try:
        architecture = changed(recipe.models[name])
        training = changed(recipe.training_of(name))
    except msgspec.ValidationError as error:
        raise UsageError(f"search space: {name} with {shown}: {error}") from error
    found = msgspec.structs.replace(
        recipe, training=training, models={name: architecture}, trainings={}
    )
    if problems := problems_of(found):
        raise UsageError(f"search space: {name} with {shown}: {'; '.join(problems)}")
    return found


def _is_drawable(parameter: Parameter) -> bool:
    if parameter.values is not None:
        return all(x is None for x in (parameter.distribution, parameter.min, parameter.max))
    if parameter.distribution is None or parameter.min is None or parameter.max is None:
        return False
    if parameter.distribution == "log_uniform_values" and parameter.min <= 0:
        return False
    return parameter.min < parameter.max


def _draw(parameter: Parameter, randomness: random.Random) -> Value:
    if parameter.values is not None:
        return randomness.choice(parameter.values)
    low, high = parameter.min or 0, parameter.max or 0
    if parameter.distribution == "int_uniform":
        return randomness.randint(int(low), int(high))
    if parameter.distribution == "log_uniform_values":
        return math.exp(randomness.uniform(math.log(low), math.log(high)))
    return randomness.uniform(low, high)

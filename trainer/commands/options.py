"""Options that several commands have, and the context that every command is given."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from cyclopts import Parameter, Token

from shared.bundle.quality import BALANCED, OPERATING_POINTS
from shared.bundle.quality import Threshold as ThresholdSetting
from shared.command_line import Given
from shared.console import Console
from shared.registry.base import Registry, open_registry
from trainer.settings import read_settings

if TYPE_CHECKING:
    from trainer.data.read import Dataset

JsonFile = Annotated[str | None, Parameter(metavar="FILE", allow_leading_hyphen=True)]
"""A file for JSON; `-` is standard output."""


class Context(msgspec.Struct, frozen=True):
    """What a command works with besides its options.

    Attributes:
        cache: the folder for downloads.
        out: for the command's outcome.
        err: for progress and warnings.
    """

    registry: Registry
    cache: Path
    out: Console
    err: Console


def open_context(environment: Mapping[str, str]) -> Context:
    """Open what the settings name.

    Raises:
        UsageError: if a setting is unknown or malformed.
    """
    settings = read_settings(environment)
    # A text or a path may hold "[b]" or ":fire:", which rich would take for its own.
    return Context(
        open_registry(settings.registry),
        Path(settings.cache).expanduser(),
        Console(soft_wrap=True, markup=False, emoji=False),
        Console(stderr=True, soft_wrap=True, markup=False, emoji=False),
    )


ContextGiven = Annotated[Context, Given]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class LabelledData:
    """Labelled tweets.

    Attributes:
        data: Labelled tweets, a CSV file.
        text_column: The column that holds the text.
        label_column: The column that holds the label.
        positive: The label of relevant tweets.
    """

    data: Annotated[Path, Parameter(metavar="FILE")]
    text_column: Annotated[str, Parameter(metavar="NAME")] = "text"
    label_column: Annotated[str, Parameter(metavar="NAME")] = "choose_one"
    positive: Annotated[str, Parameter(metavar="LABEL")] = "Relevant"

    def read(self, keyword_column: str | None = None) -> "Dataset":
        """Read the tweets, as `trainer.data.read.read_dataset` does.

        Raises:
            DataError: as `read_dataset` does.
        """
        from trainer.data.read import read_dataset

        return read_dataset(
            self.data, self.text_column, self.label_column, self.positive, keyword_column
        )


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How models are trained.

    Attributes:
        recipe: `tuned`, `article` for the models of the article, or a TOML file.
        seed: Seed of everything random; by default the recipe's.
        wandb: Track the runs in Weights & Biases; by default `WANDB_MODE`, or `disabled`.
    """

    recipe: Annotated[str, Parameter(metavar="NAME|FILE")] = "tuned"
    seed: int | None = None
    wandb: Literal["online", "offline", "disabled"] | None = None


def _to_threshold(_: Any, tokens: tuple[Token, ...]) -> float | str:
    try:
        threshold: float | str = msgspec.convert(tokens[0].value, ThresholdSetting, strict=False)
    except msgspec.ValidationError:
        expected = f"{', '.join(OPERATING_POINTS)}, or a number between 0 and 1"
        raise ValueError(
            f'Invalid value "{tokens[0].value}" for --threshold: expected {expected}.'
        ) from None
    return threshold


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Decision:
    """From which probability on a tweet is relevant.

    Attributes:
        threshold: A tweet is relevant from this probability on: `balanced`, `precision-90`,
            `recall-90`, or a number.
    """

    threshold: Annotated[
        float | str, Parameter(converter=_to_threshold, metavar="NAME|NUMBER", n_tokens=1)
    ] = BALANCED

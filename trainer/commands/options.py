"""Options that several commands have, and the context that every command gets."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from cyclopts import Parameter, Token

from shared.bundle.manifest import Labelling
from shared.bundle.quality import BALANCED, OPERATING_POINTS
from shared.bundle.quality import Threshold as ThresholdSetting
from shared.command_line import Given
from shared.console import Console
from shared.registry.base import Registry
from shared.registry.open import open_registry
from trainer.settings import read_settings

if TYPE_CHECKING:
    from trainer.data.dataset import Dataset

JsonFile = Annotated[str | None, Parameter(metavar="FILE", allow_leading_hyphen=True)]
"""A file for JSON; `-` is standard output."""


class Context(msgspec.Struct, frozen=True):
    """The registry and the outputs of a command.

    Attributes:
        cache: the folder for downloads.
        out: for the command's results.
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
    # A text or a path may contain "[b]" or ":fire:", which rich would interpret.
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
        data: Labelled tweets: CSV, TSV, JSON Lines, JSON, Parquet or Excel. Several files are one
            data set; columns of a file can follow its name, as in `a.csv:text=body,label=class`.
        text_column: The column that holds the text: `text` unless the model says another.
        label_column: The column that holds the label: `choose_one` unless the model says another.
        positive: A label of relevant tweets: `Relevant` unless the model says others.
        negative: A label of other tweets; by default the only one that is left.
        leave_out: A label of tweets that are not used; by default `Can't Decide`.
    """

    data: Annotated[list[str], Parameter(metavar="FILE")]
    text_column: Annotated[str | None, Parameter(metavar="NAME")] = None
    label_column: Annotated[str | None, Parameter(metavar="NAME")] = None
    positive: Annotated[list[str] | None, Parameter(metavar="LABEL")] = None
    negative: Annotated[list[str] | None, Parameter(metavar="LABEL")] = None
    leave_out: Annotated[list[str] | None, Parameter(metavar="LABEL")] = None

    def as_arguments(self) -> list[str]:
        """Return the options that are given, as they are typed."""
        words = []
        for field in fields(self):
            value = getattr(self, field.name)
            for one in value if isinstance(value, list) else [value]:
                if one is not None:
                    words += [f"--{field.name.replace('_', '-')}", str(one)]
        return words

    @property
    def paths(self) -> list[Path]:
        """The files, without their column options."""
        from trainer.data.read import parse_data_file

        return [parse_data_file(given).path for given in self.data]

    def read(
        self,
        err: Console,
        defaults: Labelling = Labelling(),  # noqa: B008  # it is frozen
        keyword_column: str | None = None,
        fewest: int = 10,
    ) -> "Dataset":
        """Read the tweets, and print the notes for the user.

        Args:
            err: where to print.
            defaults: columns and labels where the options do not say.
            keyword_column: the column with what the tweets were found by, if needed.
            fewest: the least number of tweets of each label.

        Raises:
            DataError: as `trainer.data.read.read_dataset` does.
        """
        from trainer.data.read import parse_data_file, read_dataset

        if self.positive:  # then the meaning of the model's other labels is unknown
            defaults = Labelling(defaults.text_column, defaults.label_column)
        labelling = Labelling(
            self.text_column or defaults.text_column,
            self.label_column or defaults.label_column,
            tuple(self.positive or defaults.positive),
            tuple(self.negative or defaults.negative),
            tuple(self.leave_out or defaults.leave_out),
        )
        files = [parse_data_file(given) for given in self.data]
        dataset = read_dataset(files, labelling, keyword_column, fewest)
        for note in dataset.notes:
            err.print(note, highlight=False)
        return dataset


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How models are trained.

    Attributes:
        recipe: `tuned`, `small` for some hundred tweets, `article` for the models of the article,
            or a TOML file. By default `small` or `tuned`, by the number of tweets.
        seed: Seed of everything random; by default the recipe's.
        wandb: Track the runs in Weights & Biases; by default `WANDB_MODE`, or `disabled`.
    """

    recipe: Annotated[str | None, Parameter(metavar="NAME|FILE")] = None
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
    """The lowest probability of a relevant tweet.

    Attributes:
        threshold: A tweet is relevant from this probability on: `balanced`, `precision-90`,
            `recall-90`, or a number.
    """

    threshold: Annotated[
        float | str, Parameter(converter=_to_threshold, metavar="NAME|NUMBER", n_tokens=1)
    ] = BALANCED

"""Quality: the figures of a model, as part of its manifest."""

from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

Probability = Annotated[float, Meta(ge=0, le=1)]
OperatingPointName = Literal["balanced", "precision-90", "recall-90"]
OPERATING_POINTS: tuple[OperatingPointName, ...] = get_args(OperatingPointName)
BALANCED: OperatingPointName = "balanced"
Threshold = Annotated[float, Meta(gt=0, lt=1)] | OperatingPointName
"""A probability, or the name of an operating point of the bundle."""


class OperatingPoint(msgspec.Struct, frozen=True):
    """A threshold with a name.

    Attributes:
        figures: part of the data → its accuracy, precision, recall, F1 and share of `alerts`.
    """

    threshold: Probability
    figures: dict[str, dict[str, float]]


class Pairs(msgspec.Struct, frozen=True):
    """The figures of minimal pairs of one kind: each a relevant text and one that is not.

    Attributes:
        accuracy: share of the texts that the model decides correctly.
        ordered: share of the pairs whose relevant text has the higher probability.
    """

    kind: str
    pairs: int
    accuracy: float
    ordered: float


class Invariance(msgspec.Struct, frozen=True):
    """The share of texts whose decision does not change when the text is changed in one way."""

    kind: str
    texts: int
    unchanged: float


class Behaviour(msgspec.Struct, frozen=True):
    """What a model distinguishes, and what does not change its decisions."""

    pairs: list[Pairs]
    invariance: list[Invariance]


class Figure(msgspec.Struct, frozen=True):
    """A figure with its 95 % confidence interval."""

    value: float
    low: float
    high: float

    def __format__(self, sign: str) -> str:
        """Format with three digits. The sign is `+` to show it also if it is not negative."""
        form = f"{sign}.3f"
        return f"{self.value:{form}} ({self.low:{form}} to {self.high:{form}})"


class Bin(msgspec.Struct, frozen=True):
    """Tweets of about the same probability, and the share of them that is relevant."""

    tweets: int
    mean_probability: float
    relevant: Figure


class Subset(msgspec.Struct, frozen=True):
    """A subset of the tweets, and a model's figures for it, by metric."""

    group: str
    name: str
    rows: int
    relevant: int
    figures: dict[str, Figure]


class Baseline(msgspec.Struct, frozen=True):
    """A linear model of the same training tweets, on the test part.

    Attributes:
        figures: metric → figure of the linear model.
        difference: metric → figure of the model minus that of the linear one.
    """

    figures: dict[str, Figure]
    difference: dict[str, Figure]

    @property
    def is_beaten(self) -> bool:
        """Whether the model ranks tweets significantly better."""
        area = self.difference.get("roc_auc")
        return area is not None and area.low > 0


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of training besides those of each part.

    Attributes:
        chosen_on: the part on which calibration and operating points were chosen.
        test: metric → figure of the test part.
        reliability: part → its tweets in bins by probability.
        slices: subsets of the test part.
        behaviour: at the threshold of `balanced`.
        groups: tweets that a group of search words found, scored by a model of the same recipe
            that was trained without them; empty unless training was asked for it.
        baseline: figures of a linear model; None for bundles of version 0.1.
    """

    chosen_on: str
    test: dict[str, Figure]
    reliability: dict[str, list[Bin]]
    slices: list[Subset]
    behaviour: Behaviour
    groups: list[Subset] = []
    baseline: Baseline | None = None

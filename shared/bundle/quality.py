"""Quality: what training found out about a model, as the manifest of its bundle says it."""

from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

Probability = Annotated[float, Meta(ge=0, le=1)]
OperatingPointName = Literal["balanced", "precision-90", "recall-90"]
OPERATING_POINTS: tuple[OperatingPointName, ...] = get_args(OperatingPointName)
BALANCED: OperatingPointName = "balanced"
Threshold = Annotated[float, Meta(gt=0, lt=1)] | OperatingPointName
"""A probability, or the name of an operating point that the bundle has."""


class OperatingPoint(msgspec.Struct, frozen=True):
    """A threshold that is known by a name.

    Attributes:
        figures: part of the data → accuracy, precision, recall, F1 and share of `alerts` there.
    """

    threshold: Probability
    figures: dict[str, dict[str, float]]


class Pairs(msgspec.Struct, frozen=True):
    """How a model does on minimal pairs of one kind, each a relevant text and one that is not.

    Attributes:
        accuracy: share of the texts that are decided rightly.
        ordered: share of the pairs whose relevant text has the higher probability.
    """

    kind: str
    pairs: int
    accuracy: float
    ordered: float


class Invariance(msgspec.Struct, frozen=True):
    """Share of texts whose decision stays the same when they are changed in one way."""

    kind: str
    texts: int
    unchanged: float


class Behaviour(msgspec.Struct, frozen=True):
    """What a model tells apart, and what does not change its mind."""

    pairs: list[Pairs]
    invariance: list[Invariance]


class Figure(msgspec.Struct, frozen=True):
    """A figure with the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def __format__(self, sign: str) -> str:
        """With three digits, and with `+` as the sign of what is not negative too."""
        form = f"{sign}.3f"
        return f"{self.value:{form}} ({self.low:{form}} to {self.high:{form}})"


class Bin(msgspec.Struct, frozen=True):
    """Tweets of about the same probability, and how many of them are relevant indeed."""

    tweets: int
    mean_probability: float
    relevant: Figure


class Subset(msgspec.Struct, frozen=True):
    """Some tweets, and a model's figures on them, by metric."""

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
        """Whether the model ranks tweets better, beyond chance."""
        area = self.difference.get("roc_auc")
        return area is not None and area.low > 0


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """What training found out beside the figures of each part.

    Attributes:
        chosen_on: the part by which calibration and operating points were chosen.
        test: metric → figure on the test part.
        reliability: part → bins of the tweets by probability.
        slices: of the test part.
        behaviour: at the threshold of `balanced`.
        groups: tweets that were found by a group of search words, scored by a model of the same
            recipe that was trained without them; none where that was not asked for.
        baseline: how a linear model does; None for bundles of version 0.1.
    """

    chosen_on: str
    test: dict[str, Figure]
    reliability: dict[str, list[Bin]]
    slices: list[Subset]
    behaviour: Behaviour
    groups: list[Subset] = []
    baseline: Baseline | None = None

"""Quality: what training found out about a model, as the manifest of its bundle says it."""

from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

Probability = Annotated[float, Meta(ge=0, le=1)]
OperatingPointName = Literal["balanced", "precision-90", "recall-90"]
OPERATING_POINTS: tuple[OperatingPointName, ...] = get_args(OperatingPointName)
BALANCED: OperatingPointName = "balanced"


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


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """All of it.

    Attributes:
        behaviour: at the threshold of `balanced`.
    """

    behaviour: Behaviour

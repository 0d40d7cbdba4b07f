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

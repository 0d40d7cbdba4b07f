"""A loaded bundle under the name that a comparison gives it."""

from pathlib import Path

import msgspec

from shared.bundle.load import Bundle


class LoadedModel(msgspec.Struct, frozen=True):
    """A model to compare.

    Attributes:
        name: what the comparison calls it.
        folder: the bundle's folder.
    """

    name: str
    folder: Path
    bundle: Bundle

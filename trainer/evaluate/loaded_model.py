"""A loaded bundle with its name in a comparison."""

from pathlib import Path

import msgspec

from shared.bundle.load import Bundle


class LoadedModel(msgspec.Struct, frozen=True):
    """A model to compare.

    Attributes:
        name: its name in the comparison.
        folder: the bundle's folder.
    """

    name: str
    folder: Path
    bundle: Bundle

"""The Python API: a registered version or a bundle scores texts, in a notebook or a program.

>>> from trainer.classifier import Classifier
>>> model = Classifier.open("production")
>>> model.score(["Forest fire near La Ronge"])
array([0.97], dtype=float32)
>>> table["probability"] = model.score(table["text"])
>>> table["relevant"] = model.is_relevant(table["text"], "recall-90")
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.arrays import Floats
from shared.bundle.load import Bundle, load_bundle
from shared.bundle.manifest import Manifest
from shared.bundle.quality import BALANCED
from shared.model.scorer import BATCH_SIZE
from shared.registry.base import PRODUCTION
from shared.registry.open import open_registry
from trainer.settings import read_settings


class Classifier:
    """A model that scores texts. Create one with `open` or `load`.

    Attributes:
        version: its number in the registry; None for a bundle from a folder.
    """

    def __init__(self, bundle: Bundle, version: int | None = None) -> None:
        self._bundle = bundle
        self.version = version

    @classmethod
    def open(cls, version: str | int = PRODUCTION) -> "Classifier":
        """Open a registered version.

        `TRIAGE_REGISTRY` names the registry and `TRIAGE_CACHE` the folder for downloads, as for
        `triage-trainer`.

        Args:
            version: a number, or an alias such as `candidate`.

        Raises:
            BundleError: if the bundle does not verify.
            RegistryError: if there is no such version.
            UnavailableError: if the registry cannot be read now.
            UsageError: if a setting is malformed.
        """
        settings = read_settings(os.environ)
        registry = open_registry(settings.registry)
        found = registry.resolve(str(version))
        return cls(
            load_bundle(registry.fetch(found, Path(settings.cache).expanduser())), found.number
        )

    @classmethod
    def load(cls, folder: str | Path) -> "Classifier":
        """Load a bundle from the folder that `train` wrote it to.

        Raises:
            BundleError: if the bundle does not verify.
        """
        return cls(load_bundle(Path(folder)))

    @property
    def name(self) -> str:
        """The name of the model, such as `LSTM`."""
        return self.manifest.name

    @property
    def manifest(self) -> Manifest:
        """What the bundle says about itself: figures, operating points, data."""
        return self._bundle.manifest

    @property
    def threshold(self) -> float:
        """The lowest probability of a relevant tweet, by the operating point `balanced`."""
        return self.threshold_at(BALANCED)

    def threshold_at(self, point: str | float) -> float:
        """Return the threshold of an operating point such as `recall-90`, or a number unchanged.

        Raises:
            BundleError: if the model does not reach this operating point.
        """
        return self.manifest.threshold_at(point)

    def score(
        self, texts: Iterable[Any], progress: Callable[[int], Any] = lambda _: None
    ) -> Floats:
        """Return calibrated probabilities that texts are about a real disaster.

        Args:
            texts: a list, or a column of a DataFrame. Missing and blank texts have no probability.
            progress: called with the number of texts in each finished batch.

        Returns:
            float32, shape (texts,); NaN where a text is missing or blank.
        """
        given = list(texts)
        present = [row for row, text in enumerate(given) if isinstance(text, str) and text.strip()]
        found = np.full(len(given), np.nan, np.float32)
        for start in range(0, len(present), BATCH_SIZE):
            rows = present[start : start + BATCH_SIZE]
            found[rows] = self._bundle.scorer.score([given[row] for row in rows])
            progress(len(rows))
        return found

    def is_relevant(
        self, texts: Iterable[Any], threshold: str | float = BALANCED
    ) -> npt.NDArray[np.bool_]:
        """Return whether texts are relevant; a missing or blank text is not.

        Args:
            texts: as for `score`.
            threshold: an operating point's name, or a probability.

        Returns:
            bool, shape (texts,).
        """
        return self.score(texts) >= self.threshold_at(threshold)

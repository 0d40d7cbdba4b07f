"""Scorer: texts → probabilities, in batches, by the steps encode, pad and predict."""

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from shared.arrays import Floats
from shared.model.calibration import Calibration
from shared.text.encoder import EncodedTexts, Encoder, PaddedTexts
from shared.text.tokens import Features

BATCH_SIZE = 1024
"""Texts in a batch of `Scorer.score`. A worker's batches have up to `TRIAGE_BATCH_SIZE`."""


class Model(Protocol):
    """A network that scores: `NumpyModel` or `KerasModel`.

    Attributes:
        device: where it computes.
    """

    device: Literal["cpu", "gpu"]

    def precompute(self, features: Features) -> Floats:
        """Compute what depends on a token alone: rows of the token table."""

    def pad(self, encoded: EncodedTexts) -> PaddedTexts:
        """Pad texts to the shape in which the model takes them."""

    def logits(self, texts: PaddedTexts) -> Floats:
        """Return the logits of padded texts, float32, shape (texts,)."""

    def shapes(self, batch_size: int) -> list[tuple[int, int]]:
        """Return the rows and lengths to warm up for batches of up to so many texts."""


class Scorer:
    """Scores texts with one model.

    Args:
        encoder: of the same bundle; it calls the model's `precompute`.
    """

    def __init__(self, encoder: Encoder, model: Model, calibration: Calibration) -> None:
        self._encoder = encoder
        self._model = model
        self.calibration = calibration

    @property
    def device(self) -> Literal["cpu", "gpu"]:
        """Where the model computes. Texts become ids on the CPU."""
        return self._model.device

    def score(self, texts: Sequence[str]) -> Floats:
        """Return the probabilities that texts are about a real disaster, float32, (texts,)."""
        return self.calibration.probabilities(self.logits(texts))

    def logits(self, texts: Sequence[str]) -> Floats:
        """Return the model's output before calibration, float32, shape (texts,)."""
        logits = [
            self._model.logits(self.pad(self.encode(texts[start : start + BATCH_SIZE])))
            for start in range(0, len(texts), BATCH_SIZE)
        ]
        return np.concatenate([np.empty(0, np.float32), *logits])

    def encode(self, texts: Sequence[str]) -> EncodedTexts:
        """Return the token numbers of texts."""
        return self._encoder.encode(texts)

    def unknown_words(self, encoded: EncodedTexts) -> npt.NDArray[np.intp]:
        """Count each text's words that are not in the vocabulary, intp, shape (texts,).

        They are 0 if the recipe drops these words.
        """
        return self._encoder.unknown_words(encoded)

    def pad(self, encoded: EncodedTexts) -> PaddedTexts:
        """Pad encoded texts to the shape in which the model takes them."""
        return self._model.pad(encoded)

    def predict(self, padded: PaddedTexts) -> Floats:
        """Return the probabilities of padded texts, float32, shape (texts,)."""
        return self.calibration.probabilities(self._model.logits(padded))

    def warm_up(self, batch_size: int) -> None:
        """Score a batch of each shape, so that no tweet waits for memory or a compiler."""
        for rows, words in self._model.shapes(batch_size):
            self.predict(self.pad(self.encode(["fire " * words] * rows)))

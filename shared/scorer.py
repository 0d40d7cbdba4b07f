"""Scorer: texts → probabilities, in batches, by the three steps encode, pad and predict."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from shared.models import Architecture, Calibration, Floats
from shared.text import EncodedTexts, Ids, TextEncoder, pad

if TYPE_CHECKING:
    import keras

BATCH_SIZE = 1024
"""Rows of one model call at most; larger inputs are cut."""

_LENGTHS = (8, 16, 24, 32, 48, 64, 96, 128)
"""Few lengths that batches are padded to, so that few shapes are compiled."""


class Scorer:
    """Scores texts with one model.

    Args:
        encoder: the text → ids of the same bundle.
        architecture: what the model was built from.
        model: with its weights in place.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        architecture: Architecture,
        model: "keras.Model",
        calibration: Calibration,
    ) -> None:
        self._encoder = encoder
        self._architecture = architecture
        self._model = model
        self.calibration = calibration
        self._lengths = [n for n in _LENGTHS if n < architecture.length] + [architecture.length]

    def score(self, texts: Sequence[str]) -> Floats:
        """Calibrated probabilities that the texts are about a real disaster, float32, (texts,)."""
        probabilities = [
            self.predict(self.pad(self.encode(texts[start : start + BATCH_SIZE])))
            for start in range(0, len(texts), BATCH_SIZE)
        ]
        return np.concatenate([np.empty(0, np.float32), *probabilities])

    def encode(self, texts: Sequence[str]) -> EncodedTexts:
        """Word ids of each text."""
        return self._encoder.encode(texts)

    def pad(self, encoded: EncodedTexts) -> Ids:
        """One row a text, int32, as long as the model wants or the longest text needs."""
        if not self._architecture.masked:
            return pad(encoded, self._architecture.length, left=True)
        longest = min(int(encoded.lengths.max(initial=1)), self._architecture.length)
        return pad(encoded, next(n for n in self._lengths if n >= longest), left=False)

    def predict(self, padded: Ids) -> Floats:
        """Calibrated probabilities of padded rows, float32, (rows,)."""
        rows = len(padded)
        full = 1 << (rows - 1).bit_length()  # few batch sizes too: powers of two
        filled = np.concatenate([padded, np.repeat(padded[:1], full - rows, axis=0)])
        logits = self._model.predict_on_batch(filled)[:rows]
        return self.calibration.probabilities(logits)

    def warm_up(self, batch_size: int) -> None:
        """Compiles what batches of up to this size need, so that the first tweets do not wait."""
        lengths = self._lengths if self._architecture.masked else [self._architecture.length]
        for length in lengths:
            for rows in {1, batch_size}:
                self.predict(np.ones((rows, length), np.int32))

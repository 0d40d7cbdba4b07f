"""Scorer: texts → probabilities, in batches, by the three steps encode, pad and predict."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from shared.models import Architecture, Calibration, Floats, compile_model
from shared.text import EncodedTexts, Ids, TextEncoder, pad

BATCH_SIZE = 1024
"""Rows of one model call at most; larger inputs are cut."""


class Scorer:
    """Scores texts with one model.

    Args:
        encoder: the text → ids of the same bundle.
        architecture: what the model was built from.
        model: as `build_model` gives it, with its weights in place.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        architecture: Architecture,
        model: Any,
        calibration: Calibration,
    ) -> None:
        self._encoder = encoder
        self._architecture = architecture
        self._logits = compile_model(model)
        self.calibration = calibration

    def score(self, texts: Sequence[str]) -> Floats:
        """Calibrated probabilities that the texts are about a real disaster, float32, (texts,)."""
        return self.calibration.probabilities(self.logits(texts))

    def logits(self, texts: Sequence[str]) -> Floats:
        """What the model says before calibration, float32, (texts,)."""
        logits = [
            self._logits(self.pad(self.encode(texts[start : start + BATCH_SIZE])))
            for start in range(0, len(texts), BATCH_SIZE)
        ]
        return np.concatenate([np.empty(0, np.float32), *logits])

    def encode(self, texts: Sequence[str]) -> EncodedTexts:
        """Word ids of each text."""
        return self._encoder.encode(texts)

    def unknown_words(self, encoded: EncodedTexts) -> int:
        """How many of the ids stand for words that the vocabulary lacks."""
        return self._encoder.unknown_words(encoded)

    def pad(self, encoded: EncodedTexts) -> Ids:
        """One row a text, int32, as long as the model wants or the longest text needs."""
        if not self._architecture.masked:
            return pad(encoded, self._architecture.length, left=True)
        longest = int(encoded.lengths.max(initial=1))
        return pad(encoded, min(longest, self._architecture.length), left=False)

    def predict(self, padded: Ids) -> Floats:
        """Calibrated probabilities of padded rows, float32, (rows,)."""
        return self.calibration.probabilities(self._logits(padded))

    def warm_up(self, batch_size: int) -> None:
        """Scores batches of both extremes, so that the first tweets do not wait for memory."""
        for rows in (1, batch_size):
            self.predict(np.ones((rows, self._architecture.length), np.int32))

"""Scorer: texts → probabilities, in batches, by the three steps encode, pad and predict."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from shared.model.architecture import (
    Architecture,
    Calibration,
    Device,
    Floats,
    compile_model,
    keras_device,
)
from shared.model.keras_model import GpuModel
from shared.model.numpy_model import NumpyModel
from shared.text.encoder import EncodedTexts, TextEncoder, pad
from shared.text.lemmas import Ids
from shared.text.tokens import EncodedTokens, TokenEncoder

BATCH_SIZE = 1024
"""Texts that `Scorer.score` takes at a time; the worker's batches are `TRIAGE_BATCH_SIZE`."""


class KerasModel:
    """A model of word ids, compiled.

    Args:
        spec: what the model was built from.
        model: as `build_model` gives it, with its weights in place.
    """

    def __init__(self, spec: Architecture, model: Any) -> None:
        self.spec = spec
        self.device = keras_device()
        self.logits = compile_model(model)

    def pad(self, encoded: EncodedTexts) -> Ids:
        """One row a text, int32, as long as the model wants or the longest text needs."""
        if not self.spec.masked:
            return pad(encoded, self.spec.length, left=True)
        longest = int(encoded.lengths.max(initial=1))
        return pad(encoded, min(longest, self.spec.length), left=False)


class Scorer:
    """Scores texts with one model.

    Args:
        encoder: the text → ids of the same bundle; a `TokenEncoder` goes with a `NumpyModel` or a
            `GpuModel`.
    """

    def __init__(
        self,
        encoder: TextEncoder | TokenEncoder,
        model: KerasModel | NumpyModel | GpuModel,
        calibration: Calibration,
    ) -> None:
        self._encoder: Any = encoder
        self._model: Any = model
        self.calibration = calibration

    @property
    def device(self) -> Device:
        """Where the model computes; texts become ids on the CPU."""
        device: Device = self._model.device
        return device

    def score(self, texts: Sequence[str]) -> Floats:
        """Calibrated probabilities that the texts are about a real disaster, float32, (texts,)."""
        return self.calibration.probabilities(self.logits(texts))

    def logits(self, texts: Sequence[str]) -> Floats:
        """What the model says before calibration, float32, (texts,)."""
        logits = [
            self._model.logits(self.pad(self.encode(texts[start : start + BATCH_SIZE])))
            for start in range(0, len(texts), BATCH_SIZE)
        ]
        return np.concatenate([np.empty(0, np.float32), *logits])

    def encode(self, texts: Sequence[str]) -> EncodedTexts | EncodedTokens:
        """The ids of each text's words, or the numbers of its tokens."""
        encoded: EncodedTexts | EncodedTokens = self._encoder.encode(texts)
        return encoded

    def unknown_words(self, encoded: EncodedTexts | EncodedTokens) -> int:
        """How many of the ids stand for words that the vocabulary lacks."""
        return int(self._encoder.unknown_words(encoded))

    def pad(self, encoded: EncodedTexts | EncodedTokens) -> Any:
        """The texts as `predict` takes them: in rows, or sorted by length."""
        return self._model.pad(encoded)

    def predict(self, padded: Any) -> Floats:
        """Calibrated probabilities of padded texts, float32, (texts,)."""
        return self.calibration.probabilities(self._model.logits(padded))

    def warm_up(self, batch_size: int) -> None:
        """Scores batches of both extremes, so that the first tweets do not wait for memory.

        On a GPU, of every shape that there will be, so that they do not wait for a compiler either.
        """
        shapes = [(rows, self._model.spec.length) for rows in (1, batch_size)]
        if isinstance(self._model, GpuModel):
            shapes = self._model.shapes(batch_size)
        for rows, words in shapes:
            self.predict(self.pad(self.encode(["fire " * words] * rows)))

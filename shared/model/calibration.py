"""Calibration: logits → probabilities."""

import msgspec
import numpy as np

from shared.arrays import Floats


class Calibration(msgspec.Struct, frozen=True):
    """Probability = sigmoid(scale · logit + offset), fitted on held-out data (Platt, 1999)."""

    scale: float = 1.0
    offset: float = 0.0

    def probabilities(self, logits: Floats) -> Floats:
        """Return calibrated probabilities, float32, of the logits' shape."""
        z = self.scale * logits.astype(np.float64) + self.offset
        return (1 / (1 + np.exp(-np.clip(z, -60, 60)))).astype(np.float32)

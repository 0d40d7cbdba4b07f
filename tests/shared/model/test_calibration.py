import numpy as np

from shared.model.calibration import Calibration


def test_calibration() -> None:
    logits = np.array([-1e9, -2, 0, 2, 1e9], np.float32)
    plain = Calibration().probabilities(logits)
    assert plain.dtype == np.float32
    np.testing.assert_allclose(plain, [0, 0.1192029, 0.5, 0.8807971, 1], atol=1e-6)
    scaled = Calibration(0.5, 1.0).probabilities(logits)
    np.testing.assert_allclose(scaled, [0, 0.5, 0.7310586, 0.8807971, 1], atol=1e-6)
    assert Calibration().probabilities(np.empty(0, np.float32)).shape == (0,)

"""Operating points: thresholds by name.

- `balanced` maximises the expected accuracy and, with a quarter of the weight, the expected F1; it
  is 0.5 if the probabilities are not calibrated. Accuracy alone is best at 0.5; a little below, F1
  gains more than accuracy loses.
- `precision-90` is the lowest threshold at which nine of ten alerts are relevant, so that as many
  relevant tweets as possible are found.
- `recall-90` is the highest threshold at which nine of ten relevant tweets are found, with as few
  false alarms as possible.

They are chosen on tweets that the model was not trained on. A model may not reach nine of ten.
"""

from collections.abc import Sequence

import numpy as np
from rich.table import Table

from shared.arrays import Floats
from shared.bundle.manifest import Manifest
from shared.bundle.quality import BALANCED, OPERATING_POINTS, OperatingPoint
from trainer.evaluate.metrics import Labels, decisions, figures_table

F1_WEIGHT = 0.25
"""The weight of F1 beside accuracy. On the published data set, out of fold, it moves the threshold
from 0.5 to 0.475, which costs at most 0.001 of accuracy and gains 0.002 of F1."""

UNCALIBRATED = 0.5
GOAL = 0.9
FEWEST = 20
"""The least number of alerts; of fewer, nine of ten may be relevant by chance."""

_GRID = np.arange(1, 1000) / 1000
"""Three digits; differences beyond them are noise."""


def thresholds(labels: Labels, probabilities: Floats, *, calibrated: bool) -> dict[str, float]:
    """Choose the thresholds, by name, without those that the model does not reach.

    Args:
        labels: int8, shape (rows,), 1 for relevant; both labels must be there.
        probabilities: float32, shape (rows,), by models that were not trained on these rows.
        calibrated: whether the probabilities are calibrated.
    """
    relevant = probabilities[None, :] >= _GRID[:, None].astype(np.float32)
    alerts, hits = relevant.sum(axis=1), relevant[:, labels == 1].sum(axis=1)
    found: dict[str, float] = {BALANCED: _balanced(probabilities) if calibrated else UNCALIBRATED}
    precise = _GRID[(hits >= GOAL * alerts) & (alerts >= FEWEST)]
    if len(precise):
        found["precision-90"] = float(precise[0])
    complete = _GRID[hits >= GOAL * (labels == 1).sum()]
    if len(complete):
        found["recall-90"] = float(complete[-1])
    return found


def _balanced(probabilities: Floats) -> float:
    """Return the threshold with the best expected figures, if the probabilities are right.

    Labels give the same threshold with thirty times the spread (0.03 instead of 0.001 on 7,600
    tweets), because a few tweets near the threshold decide.
    """
    ascending = np.sort(probabilities.astype(np.float64))
    rows, relevant = len(ascending), ascending.sum()
    below = np.searchsorted(ascending, _GRID)
    missed = np.concatenate([[0.0], np.cumsum(ascending)])[below]
    hits = relevant - missed
    accuracy = (hits + below - missed) / rows
    f1 = 2 * hits / np.maximum(rows - below + relevant, 1e-9)
    gain = accuracy + F1_WEIGHT * f1
    best = _GRID[gain >= gain.max() - 1e-9]
    return float(best[np.abs(best - UNCALIBRATED).argmin()])


def operating_points(
    chosen_on: str, parts: dict[str, tuple[Labels, Floats]], *, calibrated: bool
) -> dict[str, OperatingPoint]:
    """Choose the operating points, and measure them.

    Args:
        chosen_on: name of the part that they are chosen on.
        parts: name → labels and probabilities, as `thresholds` takes them.
        calibrated: whether the probabilities are calibrated.
    """
    return {
        name: OperatingPoint(
            threshold,
            {part: decisions(*scored, threshold) for part, scored in parts.items()},
        )
        for name, threshold in thresholds(*parts[chosen_on], calibrated=calibrated).items()
    }


def table(manifests: Sequence[Manifest]) -> Table:
    """Show each model's operating points on its test part."""
    columns = ("from", "precision", "recall", "f1", "alerts")
    shown = figures_table("Operating points on the test part", "model", "point")
    for column in columns:
        shown.add_column(column, justify="right")
    for manifest in manifests:
        for name in OPERATING_POINTS:
            point = manifest.operating_points.get(name)
            if point is None:
                shown.add_row(manifest.name, name, "not reached")
                continue
            figures = {"from": point.threshold, **point.figures["test"]}
            shown.add_row(manifest.name, name, *(f"{figures[column]:.3f}" for column in columns))
        shown.add_section()
    return shown

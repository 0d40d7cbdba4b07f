"""Operating points: where to cut a model's probabilities, for each wish that has a name.

- `balanced`: where accuracy and, for a quarter, F1 are expected to be best together if the
  probabilities are right; 0.5 where they are not calibrated. Accuracy alone is best at 0.5, where
  one more alert does as little good as harm; a little below it F1 wins more than accuracy loses.
- `precision-90`: the lowest threshold from which on nine of ten alerts are relevant: as many of
  the relevant tweets as can be had so.
- `recall-90`: the highest threshold that nine of ten relevant tweets reach: as few false alarms as
  can be had so.

They are chosen by probabilities of tweets that the model was not trained on, and a model may not
reach nine of ten.
"""

from collections.abc import Sequence

import numpy as np
from rich.table import Table

from shared.arrays import Floats
from shared.bundle.manifest import Manifest
from shared.bundle.quality import BALANCED, OPERATING_POINTS, OperatingPoint
from trainer.evaluate.metrics import Labels, decisions, figures_table

F1_WEIGHT = 0.25
"""Beside accuracy. On the published set, out of fold, it moved the threshold from 0.5 to 0.475:
that took 0.001 or less from accuracy and gave 0.002 to F1."""

UNCALIBRATED = 0.5
WISH = 0.9
FEWEST = 20
"""Alerts on which a precision must stand: of fewer, nine of ten may be relevant by chance."""

_GRID = np.arange(1, 1000) / 1000
"""Three digits, which people can read; what two tweets differ by beyond them is noise."""


def thresholds(labels: Labels, probabilities: Floats, *, calibrated: bool) -> dict[str, float]:
    """The thresholds by name, without those that are not reached.

    Args:
        labels: int8, shape (rows,), 1 for relevant; both labels must be there.
        probabilities: float32, shape (rows,), by models that were not trained on these rows.
        calibrated: whether the probabilities are.
    """
    relevant = probabilities[None, :] >= _GRID[:, None].astype(np.float32)
    alerts, hits = relevant.sum(axis=1), relevant[:, labels == 1].sum(axis=1)
    found: dict[str, float] = {BALANCED: _balanced(probabilities) if calibrated else UNCALIBRATED}
    precise = _GRID[(hits >= WISH * alerts) & (alerts >= FEWEST)]
    if len(precise):
        found["precision-90"] = float(precise[0])
    complete = _GRID[hits >= WISH * (labels == 1).sum()]
    if len(complete):
        found["recall-90"] = float(complete[-1])
    return found


def _balanced(probabilities: Floats) -> float:
    """The best threshold by the figures that the probabilities themselves lead one to expect.

    Labels would say the same with thirty times the spread, as a few tweets near the threshold then
    decide: 0.03 instead of 0.001 on 7,600 tweets.
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
    """The operating points by name, with their figures.

    Args:
        chosen_on: name of the part that they are chosen by.
        parts: name → labels and probabilities, as `thresholds` takes them.
    """
    return {
        name: OperatingPoint(
            threshold,
            {part: decisions(*scored, threshold) for part, scored in parts.items()},
        )
        for name, threshold in thresholds(*parts[chosen_on], calibrated=calibrated).items()
    }


def table(manifests: Sequence[Manifest]) -> Table:
    """What each model's operating points give on its test part."""
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

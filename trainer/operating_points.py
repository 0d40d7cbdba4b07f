"""Operating points: where to cut a model's probabilities, for each wish that has a name.

- `balanced`: 0.5. Of a calibrated probability it is where accuracy is expected to be best, and it
  takes no choice that might fit chance.
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

from shared.manifest import Manifest
from shared.models import Floats
from shared.quality import BALANCED, OPERATING_POINTS, OperatingPoint
from trainer.evaluation import Labels, Metrics, decide_resamples, figures_table

THRESHOLD = 0.5
WISH = 0.9
FEWEST = 20
"""Alerts on which a precision must stand: of fewer, nine of ten may be relevant by chance."""

_GRID = np.arange(1, 1000) / 1000
"""Three digits, which people can read; what two tweets differ by beyond them is noise."""


def thresholds(labels: Labels, probabilities: Floats) -> dict[str, float]:
    """The thresholds by name, without those that are not reached.

    Args:
        labels: int8, shape (rows,), 1 for relevant; both labels must be there.
        probabilities: float32, shape (rows,), by models that were not trained on these rows.
    """
    relevant = probabilities[None, :] >= _GRID[:, None].astype(np.float32)
    alerts, hits = relevant.sum(axis=1), relevant[:, labels == 1].sum(axis=1)
    found: dict[str, float] = {BALANCED: THRESHOLD}
    precise = _GRID[(hits >= WISH * alerts) & (alerts >= FEWEST)]
    if len(precise):
        found["precision-90"] = float(precise[0])
    complete = _GRID[hits >= WISH * (labels == 1).sum()]
    if len(complete):
        found["recall-90"] = float(complete[-1])
    return found


def operating_points(
    chosen_on: str, parts: dict[str, tuple[Labels, Floats]]
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
        for name, threshold in thresholds(*parts[chosen_on]).items()
    }


def decisions(labels: Labels, probabilities: Floats, threshold: float) -> Metrics:
    """Accuracy, precision, recall, F1, and the share of `alerts`."""
    once = np.ones((1, len(labels)), np.uint8)
    figures = decide_resamples(labels, probabilities >= threshold, once)
    return {metric: float(value[0]) for metric, value in figures.items()}


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

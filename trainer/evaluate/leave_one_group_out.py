"""Leave-one-group-out: how good a model is on disasters that it was not trained on.

Tweets are grouped by what they were found by. For each group a model is trained without its tweets
and those that repeat them, and is measured on the group. This estimates how good a model will be in
the next crisis, whose words it has not seen.
"""

from collections.abc import Callable, Sequence

from rich.table import Table

from shared.arrays import Floats
from shared.bundle.manifest import Manifest
from shared.bundle.quality import Subset
from trainer.data.dataset import Dataset, Indices
from trainer.data.groups import Group
from trainer.evaluate.bootstrap import Scores, draw, measure
from trainer.evaluate.metrics import figures_table

Fit = Callable[[Indices], Callable[[list[str]], Floats]]
"""Trains a model on some rows, and returns a function that scores texts."""


def leave_groups_out(
    dataset: Dataset,
    groups: Sequence[Group],
    threshold: float,
    fit: Fit,
    on_group_end: Callable[[int, int], None],
) -> list[Subset]:
    """Train without each group, and measure on it.

    Args:
        threshold: probability from which on a tweet is relevant.
        on_group_end: called with the number of groups that are done, and of all; first with 0.

    Returns:
        The groups with the figures on them.
    """
    found = []
    if groups:
        on_group_end(0, len(groups))
    for done, group in enumerate(groups, 1):
        score = fit(group.others)
        labels = dataset.labels[group.members]
        scores = Scores(score(dataset.texts_of(group.members)), threshold)
        figures = measure(labels, scores, draw(len(labels)))
        found.append(Subset("left out", group.name, len(labels), int(labels.sum()), figures))
        on_group_end(done, len(groups))
    return found


def table(manifests: Sequence[Manifest]) -> Table:
    """Show the figures of each model on the groups that it was trained without."""
    title = "ROC AUC (accuracy) on groups of tweets that were left out of the training"
    shown = figures_table(title, "left out")
    shown.add_column("tweets", justify="right")
    rows: dict[tuple[str, str], list[str]] = {}
    for manifest in manifests:
        shown.add_column(manifest.name, justify="right")
        for group in manifest.quality.groups if manifest.quality else ():
            area, accuracy = (group.figures.get(metric) for metric in ("roc_auc", "accuracy"))
            cell = f"{area.value:.3f} " if area else ""
            cell += f"({accuracy.value:.3f})" if accuracy else ""
            rows.setdefault((group.name, str(group.rows)), []).append(cell)
    for (name, tweets), cells in rows.items():
        shown.add_row(name, tweets, *cells)
    return shown

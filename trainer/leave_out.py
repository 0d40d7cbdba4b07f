"""Leave-one-group-out: how a kind of model does on disasters that it was not trained on.

Tweets are divided by what they were found by. For each group a model is trained without its tweets
and those that repeat them, and scores the group: what a model may come to in the next crisis, whose
words it has not seen.
"""

from collections.abc import Callable, Sequence
from importlib import resources

import msgspec
import numpy as np
from rich.table import Table

from shared.manifest import Manifest
from shared.models import Floats
from shared.quality import Subset
from trainer.dataset import Dataset, Indices, Parts, normalized_hashes
from trainer.evaluation import figures_table
from trainer.statistics import Scores, draw, measure

FEWEST = 30
"""Tweets of a group: fewer say nothing."""

_MOST_VALUES = 20
"""Of a column, for each to be a group by itself."""

Fit = Callable[[Indices], Callable[[list[str]], Floats]]
"""Trains a model on some rows, and gives what scores texts."""


def groups_of(dataset: Dataset) -> dict[str, list[int]]:
    """The rows of each group of search words.

    A column of few values, such as the name of a crisis, divides the tweets by itself. Many values
    are taken for search words, and `keyword_groups.toml` says which of them are alike.
    """
    alike: dict[str, list[str]] = {}
    if len(set(dataset.keywords)) > _MOST_VALUES:
        table = resources.files("trainer").joinpath("keyword_groups.toml").read_bytes()
        alike = msgspec.toml.decode(table, type=dict[str, list[str]])
    groups: dict[str, list[int]] = {}
    for row, keyword in enumerate(dataset.keywords):
        if name := _group(keyword, alike) if alike else keyword:
            groups.setdefault(name, []).append(row)
    return {name: groups[name] for name in sorted(groups)}


def leave_groups_out(
    dataset: Dataset, parts: Parts, threshold: float, fit: Fit, tell: Callable[[int, int], None]
) -> list[Subset]:
    """Trains and scores for each group, with tweets of the training and validation parts alone.

    Args:
        tell: is told how many groups are done, and how many there are.

    Returns:
        The groups of `FEWEST` tweets or more, with the figures on them.
    """
    rows = np.concatenate([parts.train, parts.validation])
    hashes = normalized_hashes(dataset.texts)
    found = []
    groups = {name: np.intersect1d(rows, members) for name, members in groups_of(dataset).items()}
    groups = {name: members for name, members in groups.items() if len(members) >= FEWEST}
    for done, (name, members) in enumerate(groups.items()):
        tell(done, len(groups))
        score = fit(rows[~np.isin(hashes[rows], hashes[members])])
        labels = dataset.labels[members]
        scores = Scores(score([dataset.texts[row] for row in members]), threshold)
        figures = measure(labels, scores, draw(len(members)))
        found.append(Subset("left out", name, len(members), int(labels.sum()), figures))
    tell(len(groups), len(groups))
    return found


def table(manifests: Sequence[Manifest]) -> Table:
    """What the models of each kind came to on the groups that they were trained without."""
    title = "ROC AUC (accuracy) on tweets whose search words were left out of the training"
    shown = figures_table(title, "left out")
    shown.add_column("tweets", justify="right")
    rows: dict[tuple[str, str], list[str]] = {}
    for manifest in manifests:
        shown.add_column(manifest.name, justify="right")
        for group in manifest.quality.groups if manifest.quality else ():
            area, accuracy = (group.figures.get(metric) for metric in ("roc_auc", "accuracy"))
            told = f"{area.value:.3f} " if area else ""
            told += f"({accuracy.value:.3f})" if accuracy else ""
            rows.setdefault((group.name, str(group.rows)), []).append(told)
    for (name, tweets), told_of_each in rows.items():
        shown.add_row(name, tweets, *told_of_each)
    return shown


def _group(keyword: str, alike: dict[str, list[str]]) -> str:
    for name, beginnings in alike.items():
        if keyword.startswith(tuple(beginnings)):
            return name
    return ""

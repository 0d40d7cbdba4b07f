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

from shared.bundle.manifest import Manifest
from shared.bundle.quality import Subset
from shared.errors import DataError
from shared.model.architecture import Floats
from trainer.data.dataset import Dataset, Indices
from trainer.data.same_text import normalized_hashes
from trainer.data.split import Parts
from trainer.evaluate.bootstrap import Scores, draw, measure
from trainer.evaluate.metrics import figures_table

FEWEST = 30
"""Tweets of a group: fewer say nothing."""

FEWEST_LEFT = 10
"""Tweets of each label that a group leaves to train on."""

_MOST_VALUES = 20
"""Of a column, for each to be a group by itself in any case."""

Fit = Callable[[Indices], Callable[[list[str]], Floats]]
"""Trains a model on some rows, and gives what scores texts."""


class Group(msgspec.Struct, frozen=True):
    """A group to leave out: its rows of the training and validation parts, and those to train on.

    These are the other ones, without what repeats the group's texts.
    """

    name: str
    members: Indices
    others: Indices


def groups_of(dataset: Dataset) -> dict[str, list[int]]:
    """The rows of each group of search words.

    The values of a column, such as the names of crises, divide the tweets by themselves. Of many
    values that are mostly the published set's search words, `keyword_groups.toml` says which are
    alike.
    """
    alike: dict[str, list[str]] = {}
    values = set(dataset.keywords) - {""}
    if len(values) > _MOST_VALUES:
        table = resources.files("trainer.evaluate").joinpath("keyword_groups.toml").read_bytes()
        alike = msgspec.toml.decode(table, type=dict[str, list[str]])
        if sum(_group(value, alike) != "" for value in values) <= len(values) / 2:
            alike = {}
    groups: dict[str, list[int]] = {}
    for row, keyword in enumerate(dataset.keywords):
        if name := _group(keyword, alike) if alike else keyword:
            groups.setdefault(name, []).append(row)
    return {name: groups[name] for name in sorted(groups)}


def groups_to_leave_out(dataset: Dataset, parts: Parts, column: str) -> list[Group]:
    """The groups of `FEWEST` tweets or more of the training and validation parts.

    Args:
        column: what the tweets are divided by, for errors to name it.

    Raises:
        DataError: if there is none, or one leaves less than `FEWEST_LEFT` tweets of either label.
    """
    rows = np.concatenate([parts.train, parts.validation])
    hashes = normalized_hashes(dataset.texts)
    found = []
    for name, of_all in groups_of(dataset).items():
        members = np.intersect1d(rows, of_all)
        if len(members) < FEWEST:
            continue
        others = rows[~np.isin(hashes[rows], hashes[members])]
        left = np.bincount(dataset.labels[others], minlength=2)
        if left.min() < FEWEST_LEFT:
            raise DataError(
                f"{dataset.name}: without {column!r} {name!r}, {left[1]} relevant and {left[0]} "
                f"other tweets are left to train on: expected {FEWEST_LEFT} of each at least"
            )
        found.append(Group(name, members, others))
    if not found:
        values = len(set(dataset.keywords) - {""})
        raise DataError(
            f"{dataset.name}: the column {column!r} has {values} values, none of them with "
            f"{FEWEST} tweets outside the test part: expected one at least to leave out"
        )
    return found


def leave_groups_out(
    dataset: Dataset,
    groups: Sequence[Group],
    threshold: float,
    fit: Fit,
    tell: Callable[[int, int], None],
) -> list[Subset]:
    """Trains and scores for each group.

    Args:
        tell: is told how many groups are done, and how many there are.

    Returns:
        The groups with the figures on them.
    """
    found = []
    for done, group in enumerate(groups):
        tell(done, len(groups))
        score = fit(group.others)
        labels = dataset.labels[group.members]
        scores = Scores(score(dataset.texts_of(group.members)), threshold)
        figures = measure(labels, scores, draw(len(labels)))
        found.append(Subset("left out", group.name, len(labels), int(labels.sum()), figures))
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

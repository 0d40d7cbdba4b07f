"""Groups of tweets by search word or event, for leave-one-group-out."""

from importlib import resources

import msgspec
import numpy as np

from shared.errors import DataError
from trainer.data.dataset import Dataset, Indices
from trainer.data.same_text import normalized_hashes
from trainer.data.split import Parts

FEWEST = 30
"""The least number of tweets in a group."""

FEWEST_LEFT = 10
"""The least number of tweets of each label outside a group."""

_MOST_VALUES = 20
"""A column with more values than this has search words, which `keyword_groups.toml` groups."""


class Group(msgspec.Struct, frozen=True):
    """A group of tweets outside the test part.

    Attributes:
        members: its rows.
        others: the rows to train on: all others that do not repeat its texts.
    """

    name: str
    members: Indices
    others: Indices


def groups_of(dataset: Dataset) -> dict[str, list[int]]:
    """Return the rows of each group, by its name.

    A value of the column, such as the name of a crisis, is a group. Many values that are mostly the
    published set's search words are grouped by `keyword_groups.toml`.
    """
    alike: dict[str, list[str]] = {}
    values = set(dataset.keywords) - {""}
    if len(values) > _MOST_VALUES:
        table = resources.files("trainer.data").joinpath("keyword_groups.toml").read_bytes()
        alike = msgspec.toml.decode(table, type=dict[str, list[str]])
        if sum(_group(value, alike) != "" for value in values) <= len(values) / 2:
            alike = {}
    groups: dict[str, list[int]] = {}
    for row, keyword in enumerate(dataset.keywords):
        if name := _group(keyword, alike) if alike else keyword:
            groups.setdefault(name, []).append(row)
    return {name: groups[name] for name in sorted(groups)}


def groups_to_leave_out(dataset: Dataset, parts: Parts, column: str) -> list[Group]:
    """Return the groups with `FEWEST` tweets or more outside the test part.

    Args:
        column: the column of the groups, for error messages.

    Raises:
        DataError: if there is none, or one leaves fewer than `FEWEST_LEFT` tweets of a label.
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


def _group(keyword: str, alike: dict[str, list[str]]) -> str:
    for name, beginnings in alike.items():
        if keyword.startswith(tuple(beginnings)):
            return name
    return ""

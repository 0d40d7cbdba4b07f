"""One row per text: several rows of a text are votes on its label."""

from collections import defaultdict
from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from trainer.data.same_text import group_copies


class Votes(msgspec.Struct, frozen=True):
    """The row of each text, and the result of its votes.

    Attributes:
        rows: the first row of each text that has a majority, ascending, intp, shape (texts,).
        labels: of the majority, int8, shape (texts,).
        agreement: mean trust behind that label, float32, shape (texts,).
        merged: how many rows repeat a text.
        disputed: the first row of each text that has both labels.
        undecided: how many of these have no majority, and no row.
    """

    rows: npt.NDArray[np.intp]
    labels: npt.NDArray[np.int8]
    agreement: npt.NDArray[np.float32]
    merged: int
    disputed: list[int]
    undecided: int


def count_votes(
    texts: Sequence[str], labels: npt.NDArray[np.int8], agreement: npt.NDArray[np.float32]
) -> Votes:
    """Find the majority label of each text. Texts that differ only in blanks are the same.

    Args:
        texts: one a row.
        labels: int8, shape (rows,).
        agreement: share of the trust that stands behind each row's label, float32, shape (rows,).
    """
    copies: dict[str, list[int]] = defaultdict(list)
    for row, text in enumerate(texts):
        copies[" ".join(text.split())].append(row)
    kept, decided, trust, disputed = [], [], [], []
    undecided = 0
    for rows in copies.values():
        votes = labels[rows]
        positive = int(votes.sum())
        if 0 < positive < len(rows):
            disputed.append(rows[0])
        if 2 * positive == len(rows):
            undecided += 1
            continue
        label = int(2 * positive > len(rows))
        behind = np.where(votes == label, agreement[rows], 1 - agreement[rows])
        kept.append(rows[0])
        decided.append(label)
        trust.append(behind.mean())
    return Votes(
        np.array(kept, np.intp),
        np.array(decided, np.int8),
        np.array(trust, np.float32),
        len(texts) - len(copies),
        disputed,
        undecided,
    )


def find_near_conflicts(texts: Sequence[str], labels: npt.NDArray[np.int8]) -> list[int]:
    """Return the first row of each group of near-identical texts with both labels."""
    groups: dict[int, list[int]] = defaultdict(list)
    for row, group in enumerate(group_copies(texts).tolist()):
        groups[group].append(row)
    return [rows[0] for rows in groups.values() if len(set(labels[rows].tolist())) > 1]

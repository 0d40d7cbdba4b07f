"""The meaning of labels: relevant, not relevant, or left out."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from shared.bundle.manifest import Labelling
from shared.errors import DataError

FEWEST = 10
"""Least rows of a class; fewer cannot be divided into three parts."""

_SHOWN = 5  # labels in a message
_MOST = 50  # different labels; if there are more, they are texts, which must not appear in messages

LEFT_OUT = -1
"""Code of a label that is left out."""


def interpret_labels(
    labels: Sequence[str],
    labelling: Labelling,
    notes: list[str],
    hint: str = "",
    fewest: int = FEWEST,
) -> npt.NDArray[np.int8]:
    """Return the meaning of each label: 1 relevant, 0 not relevant, -1 left out.

    Without negative labels, the only label that is neither positive nor left out is negative.

    Args:
        labels: one a row, without blanks around them, none of them empty.
        notes: messages for the user are appended to it.
        hint: the end of an error message.
        fewest: least rows of a class.

    Returns:
        int8, shape (rows,).

    Raises:
        DataError: if a label has no meaning, or a class has too few rows.
    """
    counts = Counter(labels)
    positive, negative, left_out = (
        {label.strip() for label in group}
        for group in (labelling.positive, labelling.negative, labelling.leave_out)
    )
    twice = (positive & negative) | (positive & left_out) | (negative & left_out)
    if twice:
        raise DataError(f"label {min(twice)!r} is given two meanings; expected one")
    others = [label for label in counts if label not in positive | negative | left_out]
    if not negative and len(others) == 1 and not positive.isdisjoint(counts):
        negative, others = {others[0]}, []
    stated = f"column {labelling.label_column!r}"
    if others and not positive.isdisjoint(counts):
        raise DataError(
            f"{stated} holds {_shown(counts, others)} besides {_quoted(labelling.positive)}; "
            f"name each by --positive, --negative or --leave-out{_several(others)}{hint}"
        )
    rows = [sum(counts[label] for label in group) for group in (positive, negative)]
    if min(rows) < fewest:
        raise DataError(
            f"{stated}: expected two labels, {_quoted(labelling.positive)} and another, "
            f"and {fewest} rows or more of each; found {_shown(counts, list(counts)) or 'none'}"
            f"{_several(others)}{hint}"
        )
    for option, group in (("--positive", labelling.positive), ("--negative", labelling.negative)):
        absent = [label for label in group if label.strip() not in counts]
        notes += [f"no row is labelled {label!r} ({option})" for label in absent]
    if dropped := {label: counts[label] for label in sorted(left_out) if counts[label]}:
        shown = ", ".join(f"{label!r} ({count})" for label, count in dropped.items())
        notes.append(f"left out: {shown}")
    meaning = dict.fromkeys(negative, 0) | dict.fromkeys(positive, 1)
    return np.array([meaning.get(label, LEFT_OUT) for label in labels], np.int8)


def _shown(counts: Counter[str], labels: Sequence[str]) -> str:
    """Return the labels with their counts, the most frequent first."""
    if len(labels) > _MOST:
        return f"{len(labels)} different labels"
    ordered = sorted(labels, key=lambda label: -counts[label])
    shown = ", ".join(f"{_short(label)} ({counts[label]})" for label in ordered[:_SHOWN])
    return shown + (f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else "")


def _short(label: str) -> str:
    """Return a label in quotes, or the length of a long one, which may be a text."""
    return repr(label) if len(label) <= 60 else f"a label of {len(label)} characters"


def _quoted(labels: Sequence[str]) -> str:
    return " and ".join(map(repr, labels))


def _several(labels: Sequence[str]) -> str:
    """Return advice about a label that doccano joined from several, or ""."""
    for label in labels[:_MOST]:
        parts = [part for part in label.split("#") if part]
        if len(parts) > 1 and len(label) <= 60:
            return (
                f"; {label!r} is {len(parts)} labels of one text, joined by #: give it one "
                "meaning, or export one label a text"
            )
    return ""

"""Soft labels: teachers' probabilities for a training part, and for variants of its texts.

The teachers of a row were trained without the row's fold. There are teachers for each fold, trained
on the other folds, and for each pair of folds. A model that is measured on one fold learns from
teachers that did not see that fold either, or the measurement would be too good.
"""

import hashlib
from collections.abc import Callable, Sequence
from importlib import resources
from itertools import combinations
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from shared.arrays import Floats, Ids
from shared.errors import DataError
from trainer.data.dataset import Dataset, Indices
from trainer.data.split import cut_test
from trainer.distill.augment import LABELLED, Variants, make_variants

FOLDS = 4
SEED = 0
"""Seed of the variants."""

SHIPPED = "soft_labels.safetensors"
"""The soft labels of the published data set; they hold no tweet."""


class SoftLabels(msgspec.Struct, frozen=True):
    """Soft labels of the training part's rows, in the order of `trainer.data.split.cut_test`.

    Attributes:
        rows: row numbers in the data set, shape (rows,).
        folds: the rows' folds, int32, shape (rows,).
        variants: variants of the rows' texts, `VARIANTS` of each.
        probabilities: of each row and its labelled variants, by teachers that saw neither the row's
            fold nor the fold of the first axis; in the row's own fold, by those that saw all other
            folds. float32, shape (FOLDS, rows, 1 + LABELLED).
    """

    rows: Indices
    folds: Ids
    variants: Variants
    probabilities: Floats


HELD_OUT = (*combinations(range(FOLDS), 2), *combinations(range(FOLDS), 1))
"""The folds that the teachers of a round did not see."""

Teach = Callable[[Indices, Indices, int], Floats]
"""Trains a teacher on some texts and returns its probabilities of others, float32. Both are indices
of the rows' texts, followed by their labelled variants. The last argument numbers the teachers."""


def ask_teachers(folds: Ids, teach: Teach) -> Floats:
    """Train teachers without each fold, and without each pair of folds, and ask them.

    Args:
        folds: of the rows, shape (rows,).

    Returns:
        Probabilities as in `SoftLabels`.
    """
    count = len(folds)
    fold_of = np.concatenate([folds, np.repeat(folds, LABELLED)])
    probabilities = np.zeros((FOLDS, count, 1 + LABELLED), np.float32)
    for number, held_out in enumerate(HELD_OUT):
        score = np.flatnonzero(np.isin(fold_of, held_out))
        found = np.zeros(len(fold_of), np.float32)
        found[score] = teach(np.flatnonzero(~np.isin(folds, held_out)), score, number)
        table = np.column_stack([found[:count], found[count:].reshape(count, LABELLED)])
        for own, other in zip(held_out, held_out[::-1], strict=True):
            probabilities[other, folds == own] = table[folds == own]
    return probabilities


def write_soft_labels(dataset: Dataset, soft_labels: SoftLabels, path: Path) -> None:
    """Write soft labels to a file, a byte for each probability.

    Raises:
        DataError: if the file cannot be written.
    """
    tensors = {
        "sha256": _bytes(dataset.sha256),
        "variants": _bytes(_hash(soft_labels.variants.labelled)),
        "folds": soft_labels.folds.astype(np.uint8),
        "probabilities": np.round(255 * soft_labels.probabilities).astype(np.uint8),
    }
    try:
        path.write_bytes(safetensors.save(tensors))
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error}") from error


def read_soft_labels(dataset: Dataset, path: Path | None = None) -> SoftLabels | None:
    """Read the soft labels of a data set.

    Args:
        path: a file that `write_soft_labels` wrote; None for the one that ships.

    Returns:
        None if no file is named, and the one that ships is of another data set.

    Raises:
        DataError: if the named file is not one of soft labels, or of another data set.
    """
    try:
        content = (path or resources.files("trainer.distill").joinpath(SHIPPED)).read_bytes()
        tensors = safetensors.load(content)
        stated = {name: tensors[name].tobytes().decode() for name in ("sha256", "variants")}
        folds = tensors["folds"].astype(np.int32)
        probabilities = tensors["probabilities"].astype(np.float32) / np.float32(255)
    except (OSError, KeyError, SafetensorError, UnicodeDecodeError) as error:
        raise DataError(f"{path or SHIPPED} is not a file of soft labels: {error!r}") from error
    if stated["sha256"] != dataset.sha256:
        if path is None:
            return None
        raise DataError(f"{path}: the soft labels are of other data than {dataset.name}")
    rows, _ = cut_test(dataset)
    fits = probabilities.shape == (FOLDS, len(rows), 1 + LABELLED) and folds.shape == rows.shape
    variants = make_variants(dataset.texts_of(rows), folds, SEED) if fits else None
    if variants is None or _hash(variants.labelled) != stated["variants"]:
        raise DataError(
            f"{path or SHIPPED}: the soft labels are of other variants of the texts; "
            f"make them again with triage-trainer distill"
        )
    return SoftLabels(rows, folds, variants, probabilities)


def _hash(texts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode("utf-8", "surrogatepass")).hexdigest()


def _bytes(text: str) -> npt.NDArray[np.uint8]:
    return np.frombuffer(text.encode(), np.uint8)

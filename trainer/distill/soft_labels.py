"""Teaching: what teachers said of a data set's training part, and of variants of its texts.

A row's probability is always of teachers that were trained without the row's fold. There are some
for each fold, trained on the others, and some for each pair of folds: a model that is to be judged
on one fold learns from teachers that did not see that fold either, so that the judgement is not
flattered.
"""

import hashlib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from shared.errors import DataError
from shared.model.architecture import Floats
from shared.text.lemmas import Ids
from trainer.data.dataset import Dataset, Indices
from trainer.data.split import cut_test
from trainer.distill.augment import TAUGHT, Variants, make_variants

FOLDS = 4
SEED = 0
"""Of the variants."""

SHIPPED = "soft_labels.safetensors"
"""Of the published set; it holds no tweet."""


class Teaching(msgspec.Struct, frozen=True):
    """What is known of the training part's rows, in the order of `trainer.data.split.cut_test`.

    Attributes:
        rows: of the data set, shape (rows,).
        folds: of the rows, int32, shape (rows,).
        variants: of the rows, `VARIANTS` of each.
        probabilities: of each row and its variants that are taught, by teachers that saw neither
            the row's fold nor the fold of the first axis; in the row's own fold, by those that saw
            all other folds. float32, shape (FOLDS, rows, 1 + TAUGHT).
    """

    rows: Indices
    folds: Ids
    variants: Variants
    probabilities: Floats


def write_teaching(dataset: Dataset, teaching: Teaching, path: Path) -> None:
    """Writes what `read_teaching` reads, a byte a probability.

    Raises:
        DataError: if the file cannot be written.
    """
    tensors = {
        "sha256": _bytes(dataset.sha256),
        "variants": _bytes(_hash(teaching.variants.taught)),
        "folds": teaching.folds.astype(np.uint8),
        "probabilities": np.round(255 * teaching.probabilities).astype(np.uint8),
    }
    try:
        path.write_bytes(safetensors.save(tensors))
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error}") from error


def read_teaching(dataset: Dataset, path: Path | None = None) -> Teaching | None:
    """What a teacher said of a data set: from a file, or what ships, which is None of other data.

    Raises:
        DataError: if the file is none, or of other data.
    """
    try:
        content = (path or resources.files("trainer.distill").joinpath(SHIPPED)).read_bytes()
        tensors = safetensors.load(content)
        stated = {name: tensors[name].tobytes().decode() for name in ("sha256", "variants")}
        folds = tensors["folds"].astype(np.int32)
        probabilities = tensors["probabilities"].astype(np.float32) / np.float32(255)
    except (OSError, KeyError, SafetensorError, UnicodeDecodeError) as error:
        raise DataError(f"{path or SHIPPED} is not what a teacher said: {error!r}") from error
    if stated["sha256"] != dataset.sha256:
        if path is None:
            return None
        raise DataError(f"{path}: the teacher was asked about other data than {dataset.name}")
    rows, _ = cut_test(dataset)
    fits = probabilities.shape == (FOLDS, len(rows), 1 + TAUGHT) and folds.shape == rows.shape
    variants = make_variants(dataset.texts_of(rows), folds, SEED) if fits else None
    if variants is None or _hash(variants.taught) != stated["variants"]:
        raise DataError(
            f"{path or SHIPPED}: the teacher was asked about other variants of the texts; ask it "
            f"again by triage-trainer distill"
        )
    return Teaching(rows, folds, variants, probabilities)


def _hash(texts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode("utf-8", "surrogatepass")).hexdigest()


def _bytes(text: str) -> npt.NDArray[np.uint8]:
    return np.frombuffer(text.encode(), np.uint8)

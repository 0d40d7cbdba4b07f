"""Soft labels belong to one data set, and keep to its folds."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from shared.errors import DataError
from tests.conftest import SAMPLE
from trainer.data.read import read_dataset
from trainer.data.same_text import normalized_hashes
from trainer.data.split import cut_test, grouped_folds
from trainer.distill.augment import LABELLED, UNCHANGED, VARIANTS, make_variants
from trainer.distill.soft_labels import FOLDS, SEED, SoftLabels, read_soft_labels, write_soft_labels


def test_what_ships_is_of_the_published_set(published: Path) -> None:
    dataset = read_dataset(published)
    soft_labels = read_soft_labels(dataset)
    assert soft_labels is not None
    rows, test = cut_test(dataset)
    np.testing.assert_array_equal(soft_labels.rows, rows)
    assert not set(soft_labels.rows.tolist()) & set(test.tolist())
    np.testing.assert_array_equal(soft_labels.folds, grouped_folds(dataset, rows, FOLDS))
    assert soft_labels.probabilities.shape == (FOLDS, len(rows), 1 + LABELLED)
    own = soft_labels.probabilities[soft_labels.folds, np.arange(len(rows)), 0]
    # Had it seen these rows' labels, it would be right far more often.
    assert 0.84 < np.mean((own >= 0.5) == dataset.labels[rows]) < 0.87


def test_written_is_read_again_for_the_same_data_alone(tmp_path: Path) -> None:
    dataset = read_dataset(SAMPLE)
    rows, _ = cut_test(dataset)
    folds = grouped_folds(dataset, rows, FOLDS)
    hashes = normalized_hashes(dataset.texts_of(rows))
    assert all(len(set(folds[hashes == key].tolist())) == 1 for key in hashes)
    variants = make_variants(dataset.texts_of(rows), folds, SEED)
    assert len(variants.texts) == VARIANTS * len(rows)
    own = np.repeat(np.arange(len(rows)), VARIANTS)
    np.testing.assert_array_equal(folds[variants.others], folds[own])
    assert (variants.others != own).sum() > 3 * len(rows) / 2
    assert len(variants.labelled) == LABELLED * len(rows)
    assert variants.labelled[LABELLED] == variants.texts[VARIANTS]
    same = [text for place, text in enumerate(variants.texts) if place % VARIANTS >= LABELLED]
    texts = [dataset.texts[row] for row in rows for _ in range(UNCHANGED)]
    assert 0.6 < np.mean([one != other for one, other in zip(same, texts, strict=True)]) < 1
    assert all(len(one) > 0.8 * len(other) for one, other in zip(same, texts, strict=True))

    shape = (FOLDS, len(rows), 1 + LABELLED)
    said = np.random.default_rng(0).random(shape).astype(np.float32)
    path = tmp_path / "soft_labels.safetensors"
    write_soft_labels(dataset, SoftLabels(rows, folds, variants, said), path)
    read = read_soft_labels(dataset, path)
    assert read is not None
    assert read.variants.texts == variants.texts
    np.testing.assert_allclose(read.probabilities, said, atol=1 / 510)

    assert read_soft_labels(dataset) is None  # what ships is of other data
    with pytest.raises(DataError, match="other data than"):
        read_soft_labels(msgspec.structs.replace(dataset, sha256="0" * 64), path)
    write_soft_labels(dataset, SoftLabels(rows, folds, variants, said[:, 1:]), path)
    with pytest.raises(DataError, match="other variants of the texts"):
        read_soft_labels(dataset, path)
    path.write_bytes(b"garbage")
    with pytest.raises(DataError, match="is not a file of soft labels"):
        read_soft_labels(dataset, path)

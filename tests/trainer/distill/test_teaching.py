"""What a teacher said: it belongs to its data alone, and keeps to the folds."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from shared.errors import DataError
from tests.conftest import SAMPLE
from trainer.data.read import read_dataset
from trainer.data.same_text import normalized_hashes
from trainer.data.split import cut_test, grouped_folds
from trainer.distill.augment import SAME, TAUGHT, VARIANTS, make_variants
from trainer.distill.soft_labels import FOLDS, SEED, Teaching, read_teaching, write_teaching


def test_what_ships_is_of_the_published_set(published: Path) -> None:
    dataset = read_dataset(published)
    teaching = read_teaching(dataset)
    assert teaching is not None
    rows, test = cut_test(dataset)
    np.testing.assert_array_equal(teaching.rows, rows)
    assert not set(teaching.rows.tolist()) & set(test.tolist())
    np.testing.assert_array_equal(teaching.folds, grouped_folds(dataset, rows, FOLDS))
    assert teaching.probabilities.shape == (FOLDS, len(rows), 1 + TAUGHT)
    own = teaching.probabilities[teaching.folds, np.arange(len(rows)), 0]
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
    assert len(variants.taught) == TAUGHT * len(rows)
    assert variants.taught[TAUGHT] == variants.texts[VARIANTS]
    same = [text for place, text in enumerate(variants.texts) if place % VARIANTS >= TAUGHT]
    texts = [dataset.texts[row] for row in rows for _ in range(SAME)]
    assert 0.6 < np.mean([one != other for one, other in zip(same, texts, strict=True)]) < 1
    assert all(len(one) > 0.8 * len(other) for one, other in zip(same, texts, strict=True))

    shape = (FOLDS, len(rows), 1 + TAUGHT)
    said = np.random.default_rng(0).random(shape).astype(np.float32)
    path = tmp_path / "teaching.safetensors"
    write_teaching(dataset, Teaching(rows, folds, variants, said), path)
    read = read_teaching(dataset, path)
    assert read is not None
    assert read.variants.texts == variants.texts
    np.testing.assert_allclose(read.probabilities, said, atol=1 / 510)

    assert read_teaching(dataset) is None  # what ships is of other data
    with pytest.raises(DataError, match="other data than"):
        read_teaching(msgspec.structs.replace(dataset, sha256="0" * 64), path)
    write_teaching(dataset, Teaching(rows, folds, variants, said[:, 1:]), path)
    with pytest.raises(DataError, match="other variants of the texts"):
        read_teaching(dataset, path)
    path.write_bytes(b"garbage")
    with pytest.raises(DataError, match="is not what a teacher said"):
        read_teaching(dataset, path)

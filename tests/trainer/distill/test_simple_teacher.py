"""A small data set gets soft labels of a teacher that is trained on its own tweets."""

import msgspec
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from shared.errors import DataError
from tests.conftest import SAMPLE
from trainer.data.dataset import Dataset, Indices
from trainer.data.read import read_dataset
from trainer.data.split import cut_test
from trainer.distill.simple_teacher import (
    FEWEST_OF_A_CLASS,
    MOST_ROWS,
    SimpleTeacher,
    default_recipe,
    find_soft_labels,
)
from trainer.fit.recipes import load_recipe

SMALL = load_recipe("small")


def some(dataset: Dataset, rows: Indices) -> Dataset:
    return msgspec.structs.replace(
        dataset,
        texts=dataset.texts_of(rows),
        labels=dataset.labels[rows],
        agreement=dataset.agreement[rows],
    )


def test_the_teacher_ranks_tweets_that_it_did_not_learn() -> None:
    dataset = read_dataset(SAMPLE)
    rows, test = cut_test(dataset)
    teacher = SimpleTeacher(dataset.texts, dataset.labels, SMALL.text)
    found = teacher.teach(rows, test)
    assert found.dtype == np.float32
    assert roc_auc_score(dataset.labels[test], found) > 0.9
    np.testing.assert_array_equal(teacher.teach(rows, test), found)


@pytest.mark.slow
def test_no_figure_is_of_a_teacher_that_saw_the_tweet() -> None:
    """Labels that are drawn at random cannot be predicted."""
    dataset = read_dataset(SAMPLE)
    labels = np.random.default_rng(0).integers(0, 2, len(dataset.texts)).astype(np.int8)
    found = find_soft_labels(SMALL, msgspec.structs.replace(dataset, labels=labels))
    assert found is not None
    for fold, probabilities in enumerate(found.probabilities):
        others = found.folds != fold
        own = labels[found.rows[others]]
        assert 0.4 < roc_auc_score(own, probabilities[others, 0]) < 0.6


def test_the_data_decides_about_the_recipe() -> None:
    dataset = read_dataset(SAMPLE)
    assert default_recipe(dataset) == "small"
    assert default_recipe(some(dataset, np.arange(FEWEST_OF_A_CLASS))) == "tuned"
    large = some(dataset, np.resize(np.arange(len(dataset.texts)), 2 * MOST_ROWS))
    texts = [f"{text} word{chr(97 + n % 26)}{n * 'x'}" for n, text in enumerate(large.texts)]
    assert default_recipe(msgspec.structs.replace(large, texts=texts)) == "tuned"
    assert find_soft_labels(load_recipe("tuned"), dataset) is None


def test_too_few_tweets_of_a_label_are_refused() -> None:
    few = some(read_dataset(SAMPLE), np.arange(FEWEST_OF_A_CLASS))
    with pytest.raises(DataError, match=f"expected {FEWEST_OF_A_CLASS} tweets or more of each"):
        find_soft_labels(SMALL, few)

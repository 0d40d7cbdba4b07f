from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from shared.bundle.load import Bundle, load_bundle
from shared.errors import DataError
from tests.conftest import Trained
from tests.trainer.adapt.crisis import as_dataset, make_tweets
from trainer.adapt.head import Values
from trainer.adapt.learn import Adapted, adapt, expect_to_teach
from trainer.adapt.network import Network
from trainer.data.read import read_dataset

KINDS = (
    "LSTM",
    pytest.param("Bidirectional-RNN", marks=pytest.mark.slow),
)


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, trained: Trained) -> Path:
    return trained.bundles / str(request.param)


@pytest.fixture(scope="module")
def base(folder: Path) -> Bundle:
    return load_bundle(folder)


@pytest.fixture(scope="module")
def adapted(folder: Path) -> Adapted:
    return adapt(Network(folder), as_dataset(*make_tweets(80, seed=1)))


def test_it_is_right_about_the_crisis(base: Bundle, adapted: Adapted) -> None:
    texts, labels = make_tweets(200, seed=2)
    before, after = (roc_auc_score(labels, s.score(texts)) for s in (base.scorer, adapted.scorer))
    assert after > 0.95 > 0.5 > before
    right = np.mean((adapted.scorer.score(texts) >= base.manifest.threshold) == labels)
    assert right > 0.85


def test_opinions_about_other_texts_keep_their_order(
    base: Bundle, adapted: Adapted, trained: Trained
) -> None:
    texts = read_dataset(trained.held_out).texts
    before, after = base.scorer.logits(texts), adapted.scorer.logits(texts)
    assert "zorbia" in adapted.keywords
    assert np.corrcoef(before, after)[0, 1] > 0.999


def test_labels_that_are_drawn_at_random_are_refused(folder: Path) -> None:
    """They cannot be predicted by what did not learn them, however well they are learned."""
    texts, _ = make_tweets(100, seed=3)
    labels = np.random.default_rng(0).integers(0, 2, 100).tolist()
    with pytest.raises(DataError, match="no better than their share of relevant tweets"):
        adapt(Network(folder), as_dataset(texts, labels))


def test_the_same_labels_give_the_same_weights(folder: Path, adapted: Adapted) -> None:
    again = adapt(Network(folder), as_dataset(*make_tweets(80, seed=1)))
    for path, weight in again.weights.items():
        np.testing.assert_array_equal(weight, adapted.weights[path])


@pytest.mark.slow
def test_a_tenth_of_wrong_labels_does_little_harm(folder: Path) -> None:
    texts, labels = make_tweets(100, seed=4)
    wrong = [1 - label if number % 10 == 3 else label for number, label in enumerate(labels)]
    found = adapt(Network(folder), as_dataset(texts, wrong))
    texts, labels = make_tweets(200, seed=5)
    assert roc_auc_score(labels, found.scorer.score(texts)) > 0.9


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ([1, 0, 1, 0, 1], "expected 20 labelled tweets or more"),
        pytest.param([1] * 40, "found 40 relevant and 0 others", marks=pytest.mark.slow),
        pytest.param([1] * 38 + [0] * 2, "3 of each label", marks=pytest.mark.slow),
    ],
)
def test_labels_that_are_too_few_are_refused(
    trained: Trained, labels: list[int], reason: str
) -> None:
    texts, _ = make_tweets(len(labels), seed=6)
    with pytest.raises(DataError, match=reason):
        adapt(Network(trained.bundles / "LSTM"), as_dataset(texts, labels))


LABELS = np.arange(50).astype(np.int8) % 2
RIGHT: Values = 2.0 * LABELS.astype(np.float64) - 1
"""Logits that agree with each label."""
SCOPE = np.ones(50, np.bool_)


def logits(right: int, seed: int = 0) -> Values:
    """Make logits that agree with so many of the labels, and contradict the others."""
    wrong = np.random.default_rng(seed).choice(50, 50 - right, replace=False)
    found: Values = RIGHT.copy()
    found[wrong] *= -1
    return found


def check(learnt: Values, prior: Values) -> None:
    texts, _ = make_tweets(50, seed=6)
    expect_to_teach(as_dataset(texts, LABELS.tolist()), learnt, prior, SCOPE)


@pytest.mark.parametrize("before", [20, 25, 35, 40])
def test_labels_need_not_show_that_a_model_becomes_better(before: int) -> None:
    check(logits(40), logits(before, seed=1))


@pytest.mark.parametrize("right", [20, 25, 27])
def test_a_model_that_predicts_no_better_than_a_share_is_refused(right: int) -> None:
    with pytest.raises(DataError, match="no better than their share of relevant tweets"):
        check(logits(right), logits(25, seed=1))


def test_a_model_that_becomes_worse_is_refused() -> None:
    with pytest.raises(DataError, match="worse than before"):
        check(logits(38), logits(50))


@pytest.mark.slow
def test_labels_that_contradict_each_other_are_refused(trained: Trained) -> None:
    texts, labels = make_tweets(40, seed=7)
    contradicting = [*labels, *(1 - label for label in labels)]
    with pytest.raises(DataError, match="teach nothing"):
        adapt(Network(trained.bundles / "LSTM"), as_dataset(texts * 2, contradicting))


@pytest.mark.slow
def test_a_feed_forward_network_refuses_what_it_cannot_learn(trained: Trained) -> None:
    """It has to keep its opinions about all texts, and these labels are against them."""
    with pytest.raises(DataError, match="teach nothing"):
        adapt(
            Network(trained.bundles / "Vanilla-Feedforward-NN"),
            as_dataset(*make_tweets(80, seed=1)),
        )

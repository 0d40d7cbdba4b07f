from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from shared.bundle.load import Bundle, load_bundle
from shared.errors import DataError
from tests.conftest import Trained
from tests.trainer.adapt.crisis import as_dataset, make_tweets
from trainer.adapt.learn import Adapted, adapt
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


def test_no_label_is_predicted_by_what_learned_it(folder: Path) -> None:
    """Labels that are drawn at random cannot be predicted, however well they are learned."""
    texts, _ = make_tweets(100, seed=3)
    labels = np.random.default_rng(0).integers(0, 2, 100).tolist()
    try:
        found = adapt(Network(folder), as_dataset(texts, labels))
    except DataError:
        return
    assert roc_auc_score(labels, found.probabilities) < 0.7


def test_the_same_labels_give_the_same_weights(folder: Path, adapted: Adapted) -> None:
    again = adapt(Network(folder), as_dataset(*make_tweets(80, seed=1)))
    for path, weight in again.weights.items():
        np.testing.assert_array_equal(weight, adapted.weights[path])


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
        ([1] * 40, "found 40 relevant and 0 others"),
        ([1] * 38 + [0] * 2, "3 of each label"),
    ],
)
def test_labels_that_are_too_few_are_refused(
    trained: Trained, labels: list[int], reason: str
) -> None:
    texts, _ = make_tweets(len(labels), seed=6)
    with pytest.raises(DataError, match=reason):
        adapt(Network(trained.bundles / "LSTM"), as_dataset(texts, labels))


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

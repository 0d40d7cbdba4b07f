"""Learning from labels: a bundle and some labelled tweets of one crisis → an adapted network.

    labels ─keywords─▶ scope ─learn─▶ head ─calibrate─▶ ─graft─▶ weights

What the labels are worth is measured by cross-fitting: each label is predicted by a head that did
not learn from its fold. The network itself takes no part in that, because it does not change.
"""

import random
from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from sklearn.model_selection import StratifiedGroupKFold

from shared.arrays import Floats
from shared.errors import DataError
from shared.model.architecture import Weights
from shared.model.calibration import Calibration
from shared.model.scorer import Scorer
from trainer.adapt.graft import Graft, word_ids
from trainer.adapt.head import TRUST, Learner, Values
from trainer.adapt.keywords import choose_keywords
from trainer.adapt.network import Network
from trainer.data.dataset import Dataset
from trainer.data.same_text import group_copies
from trainer.evaluate.behaviour import read_pairs

FEWEST_LABELS = 20
FEWEST_OF_A_CLASS = 3
"""Labels, and labels of each class, from which on adaptation is tried."""

LEAST_COVERAGE = 0.5
"""Share of the tweets that keywords must cover; otherwise the head counts in every text."""

FOLDS = 10
_REFERENCES = 3000
_REPLACED = 0.4
_PENALTY = 2.0
_SEED = 0


class Adapted(msgspec.Struct, frozen=True):
    """A network that has learnt labels, and what that is worth.

    Attributes:
        weights: of the network's architecture, for the network's new vocabulary.
        scorer: of these weights.
        keywords: words of the crisis; opinions change in texts that hold one. None: in all texts.
        coverage: share of the labelled texts that hold a keyword, or 1 without keywords.
        probabilities: of the labelled texts, calibrated, each by a head that did not learn from it;
            float32, shape (texts,).
    """

    weights: Weights
    scorer: Scorer
    keywords: list[str]
    coverage: float
    probabilities: Floats


def adapt(network: Network, dataset: Dataset) -> Adapted:
    """Teach a network the labels of a crisis.

    Args:
        network: gets the words of the texts.

    Raises:
        DataError: if the labels are too few, or say nothing that the network can learn.
    """
    _expect_enough(dataset)
    labels, before = dataset.labels, network.manifest.calibration
    texts = network.encode(dataset.texts)
    words = network.words(texts)
    keywords = _keywords(network, words)
    network.add_words(words)
    examples = network.encode(
        [t for pair in read_pairs() for t in (pair.relevant, pair.not_relevant)]
    )
    graft = Graft(
        network.manifest.architecture,
        network.weights,
        lambda weights: network.logits(examples, weights),
    )
    prior = before.scale * network.logits(texts, graft.weights) + np.float32(before.offset)
    in_scope = np.ones(len(labels), np.bool_)
    references = None
    if keywords:
        in_scope = np.array([not text.isdisjoint(keywords) for text in words])
    else:
        references = network.features(network.encode(_reference_texts(network.vocabulary)))
    learner = Learner(network.features(texts), prior, in_scope, references)
    logits = _cross_fit(learner, dataset)
    scale, shift = _calibrate(logits, in_scope, labels)
    learnt = scale * logits + shift * in_scope
    _expect_to_teach(dataset, learnt, prior.astype(np.float64), in_scope)
    head = learner.head(labels)
    head = msgspec.structs.replace(head, bias=head.bias + shift / scale)
    weights = graft.with_head(
        head, 1 / (TRUST * before.scale), word_ids(keywords, network.vocabulary).tolist()
    )
    calibration = Calibration(scale * TRUST * before.scale, scale * TRUST * before.offset)
    return Adapted(
        weights,
        network.scorer(weights, calibration),
        keywords,
        float(in_scope.mean()),
        Calibration().probabilities(learnt.astype(np.float32)),
    )


def _expect_enough(dataset: Dataset) -> None:
    counts = np.bincount(dataset.labels, minlength=2)
    if counts.sum() < FEWEST_LABELS or counts.min() < FEWEST_OF_A_CLASS:
        raise DataError(
            f"{dataset.name}: expected {FEWEST_LABELS} labelled tweets or more, and "
            f"{FEWEST_OF_A_CLASS} of each label; found {counts[1]} relevant and {counts[0]} "
            "others: label more tweets"
        )


def _keywords(network: Network, words: Sequence[set[str]]) -> list[str]:
    """Choose the keywords, or none where they cover too little or the network has no state."""
    if network.manifest.architecture.kind == "feed-forward":
        return []
    ranks = {word: rank for rank, word in enumerate(network.vocabulary) if rank > 1}
    keywords = choose_keywords(words, ranks, network.manifest.text.num_words)
    coverage = np.mean([not text.isdisjoint(keywords) for text in words])
    return keywords if coverage >= LEAST_COVERAGE else []


def _reference_texts(vocabulary: Sequence[str]) -> list[str]:
    """Make texts as they come in any stream: behaviour's pairs with other words in some places.

    The words follow Zipf's law, as the vocabulary is in order of frequency.
    """
    draw = random.Random(_SEED)
    words = vocabulary[2:]
    weights = [1 / rank for rank in range(3, len(words) + 3)]
    sources = [text for pair in read_pairs() for text in (pair.relevant, pair.not_relevant)]
    texts = list(sources)
    while len(texts) < _REFERENCES:
        for source in sources:
            chunks = source.split()
            others = draw.choices(words, weights, k=len(chunks))
            texts.append(
                " ".join(
                    other if draw.random() < _REPLACED else chunk
                    for chunk, other in zip(chunks, others, strict=True)
                )
            )
    return texts


def _cross_fit(learner: Learner, dataset: Dataset) -> Values:
    """Return each text's logit by a head that learnt neither from it nor from its copies."""
    logits: Values = np.empty(len(dataset.texts))
    groups = group_copies(dataset.texts)
    counts = np.bincount(dataset.labels, minlength=2)
    folds = int(min(FOLDS, counts.min(), len(np.unique(groups))))
    cut = StratifiedGroupKFold(max(folds, 2), shuffle=True, random_state=_SEED)
    for rows, others in cut.split(dataset.texts, dataset.labels, groups):
        logits[others] = learner.logits(rows, dataset.labels)[others]
    return logits


def _calibrate(
    logits: Values,
    in_scope: npt.NDArray[np.bool_],
    labels: npt.NDArray[np.int8],
    penalty: float = _PENALTY,
) -> tuple[float, float]:
    """Fit a scale, and a shift of the texts in scope, by penalized logistic regression.

    The penalty draws the scale to 1 and the shift to 0, so that few labels change little.
    """

    def loss(values: npt.NDArray[np.float64]) -> float:
        scale, shift = np.exp(values[0]), values[1]
        fit = _losses(scale * logits + shift * in_scope, labels).sum()
        return float(fit + penalty * (values @ values))

    found = minimize(loss, np.zeros(2), method="Nelder-Mead").x
    return float(np.exp(found[0])), float(found[1])


def _expect_to_teach(
    dataset: Dataset, learnt: Values, prior: Values, in_scope: npt.NDArray[np.bool_]
) -> None:
    """Compare cross-fitted logits with the base's own, calibrated on the same labels.

    The base's calibration has no penalty, so that doubt alone is no gain: where labels contradict
    each other, a base that gives each tweet the same probability cannot be beaten.

    Raises:
        DataError: if the loss by label does not fall by more than its standard error.
    """
    labels = dataset.labels
    scale, shift = _calibrate(prior, in_scope, labels, penalty=0)
    before, after = _losses(scale * prior + shift * in_scope, labels), _losses(learnt, labels)
    gain = before - after
    if gain.mean() > gain.std() / np.sqrt(len(gain)):
        return
    raise DataError(
        f"{dataset.name}: the {len(labels)} labels teach nothing: a model that learns some of them "
        f"predicts the others no better than before beyond chance (log loss {after.mean():.3f}, "
        f"before {before.mean():.3f}); check the labels for contradictions, or label more tweets"
    )


def _losses(logits: Values, labels: npt.NDArray[np.int8]) -> Values:
    """Return the log loss of each label."""
    losses: Values = np.logaddexp(0, logits) - labels * logits
    return losses

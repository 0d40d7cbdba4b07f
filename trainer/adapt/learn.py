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
from trainer.adapt.graft import word_ids
from trainer.adapt.head import Learner, Values
from trainer.adapt.keywords import choose_keywords
from trainer.adapt.network import Network
from trainer.data.dataset import Dataset, Indices
from trainer.data.same_text import group_copies
from trainer.evaluate.behaviour import read_pairs

FEWEST_LABELS = 20
FEWEST_OF_A_CLASS = 3
"""Labels, and labels of each class, from which on adaptation is tried."""

LEAST_GAIN = 1.0
"""Standard errors by which the log loss must be less than that of the share of relevant labels. On
nine crises it accepts 99 % of the sets of 50 to 200 labels, and 2 % of those with random labels."""

LEAST_GAIN_OF_BASE = -1.64
"""The same beside the base's log loss: refused is what is worse by a one-sided test at 5 %."""

LEAST_COVERAGE = 0.5
"""Share of the tweets that keywords must cover; otherwise the head counts in every text."""

FOLDS = 10
STEPS = (25, 50, 100, 200, 400)
"""Numbers of labels at which the learning curve is measured, as far as there are so many."""

_REFERENCES = 3000
_PENALTY = 2.0
_SEED = 0


class Adapted(msgspec.Struct, frozen=True):
    """A network that has learnt labels, and what that is worth.

    Attributes:
        network: with the words of the labelled texts.
        weights: of its architecture, with what it has learnt.
        scorer: of these weights.
        keywords: words of the crisis; scores change for texts that have one. None: for all texts.
        coverage: share of the labelled texts that hold a keyword, or 1 without keywords.
        probabilities: of the labelled texts, calibrated, each by a head that did not learn from it;
            float32, shape (texts,).
        curve: number of labels → the same by heads that learned only so many, drawn at random.
    """

    network: Network
    weights: Weights
    scorer: Scorer
    keywords: list[str]
    coverage: float
    probabilities: Floats
    curve: dict[int, Floats]


def adapt(network: Network, dataset: Dataset) -> Adapted:
    """Teach a network the labels of a crisis.

    Raises:
        DataError: if the labels are too few, or say nothing that the network can learn.
    """
    _expect_enough(dataset)
    labels, before = dataset.labels, network.manifest.calibration
    texts = network.encode(dataset.texts)
    words = network.words(texts)
    keywords = _keywords(network, words)
    network = network.with_words(words)
    prior = before.scale * network.logits(texts) + np.float32(before.offset)
    in_scope = np.ones(len(labels), np.bool_)
    references = None
    if keywords:
        in_scope = np.array([not text.isdisjoint(keywords) for text in words])
    else:
        references = network.features(network.encode(_reference_texts(network.vocabulary)))
    learner = Learner(network.features(texts), prior, in_scope, references)
    folds = _folds(dataset)
    logits = _cross_fit(learner, labels, folds)
    scale, shift = _calibrate(logits, in_scope, labels)

    def probabilities(logits: Values) -> Floats:
        return Calibration().probabilities((scale * logits + shift * in_scope).astype(np.float32))

    learnt = scale * logits + shift * in_scope
    expect_to_teach(dataset, learnt, prior.astype(np.float64), in_scope)
    head = learner.head(labels)
    head = msgspec.structs.replace(head, bias=head.bias + shift / scale)
    weights = network.graft.with_head(
        head, 1 / (learner.trust * before.scale), word_ids(keywords, network.vocabulary).tolist()
    )
    factor = scale * learner.trust
    calibration = Calibration(factor * before.scale, factor * before.offset)
    return Adapted(
        network,
        weights,
        network.scorer(weights, calibration),
        keywords,
        float(in_scope.mean()),
        probabilities(logits),
        {
            count: probabilities(_cross_fit(learner, labels, folds, count))
            for count in STEPS
            if count <= min(len(rows) for rows, _ in folds)
        },
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
    """Make texts of any topic: behaviour's pairs, and random words in texts of the same lengths.

    The words follow Zipf's law, as the vocabulary is in order of frequency.
    """
    draw = random.Random(_SEED)
    words = vocabulary[2:]
    weights = [1 / rank for rank in range(3, len(words) + 3)]
    texts = [text for pair in read_pairs() for text in (pair.relevant, pair.not_relevant)]
    lengths = [len(text.split()) for text in texts]
    while len(texts) < _REFERENCES:
        texts += [" ".join(draw.choices(words, weights, k=length)) for length in lengths]
    return texts


def _folds(dataset: Dataset) -> list[tuple[Indices, Indices]]:
    """Cut the rows into folds: for each, the rows to learn and those to predict.

    Copies of a text are in one fold.
    """
    groups = group_copies(dataset.texts)
    counts = np.bincount(dataset.labels, minlength=2)
    folds = int(min(FOLDS, counts.min(), len(np.unique(groups))))
    cut = StratifiedGroupKFold(max(folds, 2), shuffle=True, random_state=_SEED)
    return list(cut.split(dataset.texts, dataset.labels, groups))


def _cross_fit(
    learner: Learner,
    labels: npt.NDArray[np.int8],
    folds: list[tuple[Indices, Indices]],
    count: int | None = None,
) -> Values:
    """Return each text's logit by a head that learnt neither from it nor from its copies.

    Args:
        count: how many labels each head learns, drawn at random; None: all.
    """
    logits: Values = np.empty(len(labels))
    draw = np.random.default_rng(_SEED)
    for rows, others in folds:
        learnt = rows if count is None else draw.choice(rows, count, replace=False)
        logits[others] = learner.logits(learnt, labels)[others]
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


def expect_to_teach(
    dataset: Dataset, learnt: Values, prior: Values, in_scope: npt.NDArray[np.bool_]
) -> None:
    """Check cross-fitted logits, by the log loss of each label.

    They must be better than the share of relevant labels, which is all that can be learned from
    labels that are random or contradict each other. They must not be worse than the base, which is
    calibrated on the same labels, so that doubt alone is no gain. Few labels cannot show that they
    are better than the base, although they are: on nine crises half of the sets of 50 labels are
    not better by one standard error, and all of them made the ranking of other tweets better.

    Raises:
        DataError: if the labels teach nothing, or something worse.
    """
    labels = dataset.labels
    count = len(labels)
    scale, shift = _calibrate(prior, in_scope, labels, penalty=0)
    share = (labels.sum() + 0.5) / (count + 1)
    after = _losses(learnt, labels)
    before = _losses(scale * prior + shift * in_scope, labels)
    constant = _losses(np.full(count, np.log(share / (1 - share))), labels)
    found = f"log loss {after.mean():.3f}"
    if _gain(constant, after) < LEAST_GAIN:
        problem = (
            "predicts the others no better than their share of relevant tweets does "
            f"({found}, by the share {constant.mean():.3f}: not a significant difference)"
        )
    elif _gain(before, after) < LEAST_GAIN_OF_BASE:
        problem = f"predicts the others worse than before ({found}, before {before.mean():.3f})"
    else:
        return
    raise DataError(
        f"{dataset.name}: the {count} labels teach nothing: a model that learns some of them "
        f"{problem}; check the labels for contradictions, or label more tweets"
    )


def _gain(before: Values, after: Values) -> float:
    """Return by how many of its standard errors the mean loss falls."""
    gain = before - after
    return float(gain.mean() / max(gain.std() / np.sqrt(len(gain)), 1e-12))


def _losses(logits: Values, labels: npt.NDArray[np.int8]) -> Values:
    """Return the log loss of each label."""
    losses: Values = np.logaddexp(0, logits) - labels * logits
    return losses

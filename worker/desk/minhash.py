"""MinHash: find sets that share many members among thousands, without comparing each.

A signature has, for each of many random permutations, the least member of a set. Two sets agree in
one number with the probability of their Jaccard index. Signatures are cut into bands, and sets with
an equal band are candidates: locality-sensitive hashing. Broder, "On the resemblance and
containment of documents", 1997; Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets",
chapter 3.

`datasketch` does the same with twice the memory, and its import loads SciPy, which takes another
60 MB.
"""

import functools
import zlib
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PRIME = np.uint64((1 << 61) - 1)
_LOW = np.uint64((1 << 32) - 1)

Bands = tuple[int, ...]
"""A number for each band of a signature."""


class MinHashIndex:
    """Finds the keys of sets that share a band with another set.

    The same sets always have the same bands, in every process.

    Args:
        bands: of a signature.
        rows: numbers in a band. A candidate is found with probability 1 - (1 - s**rows)**bands,
            where s is the Jaccard index.
    """

    def __init__(self, bands: int, rows: int) -> None:
        random = np.random.RandomState(1)  # its numbers are the same for ever
        permutations: NDArray[Any] = random.randint(
            1, (1 << 61) - 1, (2, bands * rows, 1), np.uint64
        )
        self._factors, self._terms = permutations
        self._shape = bands, rows
        self._mixers = random.randint(1, 1 << 63, (rows, 1), np.uint64) | np.uint64(1)
        self._offsets = random.randint(1, 1 << 63, bands, np.uint64)  # bands differ in their keys
        self._buckets: dict[int, int | set[int]] = {}
        self._bands: dict[int, Bands] = {}

    def bands(self, members: Collection[str]) -> Bands:
        """Return the bands of a set, which must have a member."""
        hashes = np.array([_hash(member) for member in members], np.uint64)
        signature = ((self._factors * hashes + self._terms) % _PRIME & _LOW).min(axis=1)
        mixed = (signature.reshape(self._shape) @ self._mixers)[:, 0] + self._offsets
        return tuple(mixed.tolist())

    def add(self, key: int, bands: Bands) -> None:
        """Add a set, with a new key."""
        self._bands[key] = bands
        for band in bands:
            there = self._buckets.get(band)
            if there is None:
                self._buckets[band] = key  # most have one key: a set would take 216 bytes more
            elif isinstance(there, set):
                there.add(key)
            else:
                self._buckets[band] = {there, key}

    def remove(self, key: int) -> None:
        """Remove a set."""
        for band in self._bands.pop(key):
            there = self._buckets.get(band)
            if isinstance(there, set):
                there.discard(key)
            if there == key or there == set():
                del self._buckets[band]

    def candidates(self, bands: Bands) -> set[int]:
        """Return the keys of the sets that share a band."""
        found: set[int] = set()
        for band in bands:
            there = self._buckets.get(band)
            if isinstance(there, set):
                found |= there
            elif there is not None:
                found.add(there)
        return found


@functools.lru_cache(1 << 16)
def _hash(member: str) -> int:
    return zlib.crc32(member.encode("utf-8", "surrogatepass"))

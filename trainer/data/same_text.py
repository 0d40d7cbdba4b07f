"""Identify copies of a tweet by their words, without the parts in which copies differ."""

import hashlib
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from shared.text.rewrite import rewrite_chunk

_WORD = re.compile(r"\w+")
_PLACEHOLDERS = ("xxurl", "xxuser", "xxnumber")

_CUT_OFF = re.compile(r"(?:…|\.\.\.)\W*(?:xxurl\W*)*$")
_FEWEST_WORDS = 5  # of a truncated copy; many texts begin with fewer equal words

Hashes = npt.NDArray[np.uint64]


def normalized_texts(texts: Sequence[str]) -> list[str]:
    """Return the texts in lower case, with one word for all links, mentions and numbers.

    Texts differ if a link is in another place, or only in one of them; see `word_hashes`.
    """
    return [" ".join(" ".join(map(rewrite_chunk, text.split())).lower().split()) for text in texts]


def normalized_hashes(texts: Sequence[str]) -> Hashes:
    """Hash the normalized texts: equal texts have equal numbers.

    The first 64 bits of the SHA-256 of that, uint64, shape (texts,). The validation part and folds
    depend on them, and bundles contain them (`shared.bundle.files.TRAINED_ON`): a change of what is
    hashed here changes the published figures, and hides what older bundles were trained on.
    """
    return _hashes(normalized_texts(texts))


def word_hashes(texts: Sequence[str]) -> Hashes:
    """Hash the words of each text: texts with the same words have equal numbers.

    As `normalized_hashes`, but of the text without links, mentions, numbers, punctuation and "RT"
    at its beginning. Bundles contain them too. A text without other words, such as a link, keeps
    its normalized hash.

    Returns:
        uint64, shape (texts,).
    """
    return _hashes([" ".join(words) or text for words, text in _words(texts)])


def group_copies(texts: Sequence[str]) -> npt.NDArray[np.intp]:
    """Assign a number from 0 to each text in order, the same to its copies.

    Copies have the same `word_hashes`. A truncated copy, such as an old retweet, has the first
    words of its original.

    Returns:
        intp, shape (texts,); the row numbers if no text is a copy.
    """
    keys, beginnings = [], []
    for words, text in _words(texts):
        keys.append(" ".join(words) or text)
        if len(words) > _FEWEST_WORDS and _CUT_OFF.search(text):
            beginnings.append((keys[-1], " ".join(words[:-1]) + " "))  # the last may be half a word
    ordered = sorted(set(keys))
    original: dict[str, str] = {}

    def first(key: str) -> str:
        while key in original:
            key = original[key]
        return key

    for key, beginning in beginnings:
        for other in ordered[bisect_left(ordered, beginning) :]:
            if not other.startswith(beginning):
                break
            one, two = first(key), first(other)
            if one != two:
                original[one] = two
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(first(key), len(numbers)) for key in keys], np.intp)


def _words(texts: Sequence[str]) -> Iterator[tuple[list[str], str]]:
    """Yield each text's words, as `word_hashes` counts them, and its normalized text."""
    for text in normalized_texts(texts):
        words = [word for word in _WORD.findall(text) if word not in _PLACEHOLDERS]
        while words and words[0] == "rt":
            del words[0]
        yield words, text


def _hashes(keys: Sequence[str]) -> Hashes:
    digests = (hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest() for key in keys)
    return np.array([int.from_bytes(digest[:8], "little") for digest in digests], np.uint64)

"""Token → features: its word's id, the n-grams of its form, and a pretrained vector.

The features of a token depend on the token alone, so each distinct token is computed once and kept
in the table of `shared.text.encoder`.
"""

from collections.abc import Callable, Mapping, Sequence
from zlib import crc32

import msgspec
import numpy as np
import numpy.typing as npt
from safetensors import numpy as safetensors

from shared.arrays import Floats, Ids
from shared.text.lemmas import UNKNOWN_ID, Token

NGRAM_BUCKETS = 16_384
MOST_NGRAMS = 14
"""N-grams of a word. A longer word loses 4-grams first."""

VECTOR_SCALE = 0.3
"""Factor of the pretrained vectors: those of GloVe are far longer than trained ones."""


class WordVectors(msgspec.Struct, frozen=True):
    """Pretrained vectors.

    Attributes:
        words: in lower case.
        vectors: float16, shape (words, dimension).
    """

    words: list[str]
    vectors: npt.NDArray[np.float16]


def vectors_to_bytes(vectors: WordVectors) -> bytes:
    """Save vectors in the safetensors format."""
    words = np.frombuffer("\n".join(vectors.words).encode(), np.uint8)
    matrix = np.ascontiguousarray(vectors.vectors)
    return bytes(safetensors.save({"words": words, "vectors": matrix}))


def vectors_from_bytes(content: bytes, dimension: int) -> WordVectors:
    """Read what `vectors_to_bytes` saved.

    Raises:
        Exception: of any class, if the content is anything else.
    """
    tensors = safetensors.load(content)
    words, vectors = tensors["words"].tobytes().decode().split("\n"), tensors["vectors"]
    if vectors.dtype != np.float16 or vectors.shape != (len(words), dimension):
        raise ValueError(
            f"expected 16-bit numbers, {len(words)} × {dimension}, "
            f"got {vectors.dtype}, {vectors.shape}"
        )
    if not np.isfinite(vectors).all():
        raise ValueError("expected finite vectors, got NaN or infinity")
    return WordVectors(words, vectors)


class Features(msgspec.Struct, frozen=True):
    """The input of a network, for each of several tokens.

    Attributes:
        words: ids in the vocabulary, int32, shape (tokens,).
        ngrams: the `ngram_ids` of the form, padded with 0, int32, shape (tokens, MOST_NGRAMS).
        vectors: scaled, 0 for words without one, float32, shape (tokens, dimension).
    """

    words: Ids
    ngrams: Ids
    vectors: Floats

    def after_padding(self) -> "Features":
        """Return the same features with those of padding, which are 0, before them."""
        columns = (self.words, self.ngrams, self.vectors)
        return Features(*(np.concatenate([np.zeros_like(c[:1]), c]) for c in columns))


def ngram_ids(form: str) -> list[int]:
    """Hash the 3-grams of `<form>`, then its 4-grams, to numbers from 1 to `NGRAM_BUCKETS`.

    As in "fastText" (Bojanowski et al., 2017), with CRC-32 as the hash.
    """
    marked = f"<{form}>"
    grams = [marked[at : at + size] for size in (3, 4) for at in range(len(marked) - size + 1)]
    return [
        1 + crc32(gram.encode("utf-8", "surrogatepass")) % NGRAM_BUCKETS
        for gram in grams[:MOST_NGRAMS]
    ]


class Respeller:
    """Corrects an unknown word if a small change makes it a known word.

    It tries to swap two neighbouring letters, then to remove a letter. Of several known words it
    takes the most frequent one. Other mistakes would need hundreds of tries a word.

    Args:
        known: the rank by frequency of each known word.
        lemmas: of forms, as `shared.text.lemmas.lemma_table` returns them.
    """

    SHORTEST = 5
    """Letters. Shorter words are too similar to each other."""

    def __init__(self, known: Mapping[str, int], lemmas: Mapping[str, str]) -> None:
        self._known = known
        self._lemmas = lemmas

    def __call__(self, token: Token) -> Token:
        """Return the token of the corrected word, or the token itself."""
        word, form = token
        if word in self._known or form in self._known:
            return token
        if len(form) < self.SHORTEST or not (form.isascii() and form.isalpha()):
            return token
        cuts = [(form[:at], form[at:]) for at in range(len(form))]
        for candidates in (
            [head + tail[1] + tail[0] + tail[2:] for head, tail in cuts[:-1]],
            [head + tail[1:] for head, tail in cuts],
        ):
            if found := [candidate for candidate in candidates if candidate in self._known]:
                best = min(found, key=self._known.__getitem__)
                return self._lemmas.get(best, best), best
        return token


class Featurizer:
    """Computes the features of tokens.

    Args:
        vocabulary: as `shared.text.lemmas.fit_vocabulary` returns it.
        vectors: None for vectors of dimension 0.
        lemmas: of forms, for a recipe that respells; None for one that does not.
        keep_unknown: as in `TextSettings`.
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        vectors: WordVectors | None,
        lemmas: Mapping[str, str] | None = None,
        *,
        keep_unknown: bool = True,
    ) -> None:
        self._ids = {word: index for index, word in enumerate(vocabulary) if index > keep_unknown}
        self._rows: dict[str, int] = {}
        self._vectors: npt.NDArray[np.floating] = np.zeros((0, 0), np.float32)
        if vectors is not None:
            self._rows = {word: row for row, word in enumerate(vectors.words)}
            self._vectors = vectors.vectors
        self._respell: Callable[[Token], Token] = lambda token: token
        if lemmas is not None:
            rarer = {word: len(self._rows) + index for word, index in self._ids.items()}
            self._respell = Respeller(rarer | self._rows, lemmas)

    def knows(self, token: Token) -> bool:
        """Return whether the vocabulary has the token's word."""
        return token[0] in self._ids

    def __call__(self, tokens: Sequence[Token]) -> Features:
        """Compute the features of tokens. A form without a vector takes that of its word."""
        tokens = [self._respell(token) for token in tokens]
        words = np.array([self._ids.get(word, UNKNOWN_ID) for word, _ in tokens], np.int32)
        ngrams = np.zeros((len(tokens), MOST_NGRAMS), np.int32)
        rows = np.full(len(tokens), -1)
        for number, (word, form) in enumerate(tokens):
            ids = ngram_ids(form)
            ngrams[number, : len(ids)] = ids
            rows[number] = self._rows.get(form, self._rows.get(word, -1))
        vectors = np.zeros((len(tokens), self._vectors.shape[1]), np.float32)
        known = rows >= 0
        vectors[known] = VECTOR_SCALE * self._vectors[rows[known]].astype(np.float32)
        return Features(words, ngrams, vectors)

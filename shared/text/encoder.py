"""Texts → the numbers of their words, remembering those of every chunk that came lately."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from shared.text.lemmas import (
    PADDING_ID,
    UNKNOWN_ID,
    ChunkTokens,
    Ids,
    TextSettings,
    Token,
    pipeline_from_bytes,
    pipeline_to_bytes,
)

if TYPE_CHECKING:
    from spacy.language import Language

MEMO_SIZE = 200_000
"""Chunks that a generation of an encoder's memory holds, of which there are two."""

_PACKED = np.dtype(np.int32)

Renew = Callable[[Sequence[int]], Iterable[int]]


class EncodedTexts(msgspec.Struct, frozen=True):
    """The ids of several texts, one behind the other.

    Attributes:
        ids: int32, shape (total,).
        lengths: int32, shape (texts,): how many of the ids belong to each text.
    """

    ids: Ids
    lengths: Ids


class ChunkMemo:
    """Texts → numbers of their tokens, remembering those of chunks it has seen.

    In two generations: `age` begins a new one, and a chunk that has not come in the last one is
    forgotten. To forget all at once would let tweets wait: it takes a second to see most anew.

    Args:
        pipeline: as saved in the bundle.
        number: tokens → their numbers; not asked again about a chunk that is remembered.
        empty: numbers of a text without any.
        size: chunks in a generation (a tweet has about 15; memory is some 200 bytes each).
    """

    LONGEST_REMEMBERED = 64
    """Characters; longer chunks hardly come twice, and would take the memory."""
    PIPELINE_LIFE = 1_000_000
    """Pieces lemmatized, after which the pipeline is renewed, which takes some 0.3 s: the tables in
    which spaCy looks strings up grow with each new one, even if a memory zone forgets it again."""

    def __init__(
        self,
        pipeline: "Language",
        number: Callable[[Sequence[Token]], Iterable[int]],
        *,
        rewrite: bool,
        empty: Sequence[int],
        size: int,
    ) -> None:
        self._pipeline = pipeline
        self._number = number
        self._rewrite = rewrite
        self._empty = _packed(empty)
        self._size = size
        self._chunk_tokens = ChunkTokens(pipeline, rewrite=rewrite)
        self._pieces = _Memo(self._of_piece, self.LONGEST_REMEMBERED)
        self._chunks = self._pieces
        if rewrite:
            self._chunks = _Memo(self._of_chunk, self.LONGEST_REMEMBERED)

    def encode(self, texts: Sequence[str]) -> EncodedTexts:
        """The numbers of each text's tokens, in order.

        Raises:
            ValueError: if spaCy refuses a text (over a million characters, or lone surrogates).
        """
        remembered = self._chunks.__getitem__
        with self._pipeline.memory_zone():
            rows = [b"".join(map(remembered, text.split(" "))) or self._empty for text in texts]
        lengths = np.fromiter(map(len, rows), np.int32, len(rows)) // _PACKED.itemsize
        if self._chunk_tokens.lemmatized > self.PIPELINE_LIFE:
            self._pipeline = pipeline_from_bytes(pipeline_to_bytes(self._pipeline))
            self._chunk_tokens = ChunkTokens(self._pipeline, rewrite=self._rewrite)
        return EncodedTexts(np.frombuffer(b"".join(rows), _PACKED), lengths)

    @property
    def full(self) -> bool:
        """Whether a new generation is due."""
        return max(len(self._chunks), len(self._pieces)) > self._size

    def age(self, renew: Renew | None = None) -> None:
        """Begins a new generation, and forgets what has not come in the last one.

        Args:
            renew: the numbers of before → those from now on, if they change.
        """
        self._pieces.age(renew)
        if self._chunks is not self._pieces:
            self._chunks.age(renew)

    def _of_chunk(self, chunk: str) -> bytes:
        return b"".join(map(self._pieces.__getitem__, self._chunk_tokens.pieces(chunk)))

    def _of_piece(self, piece: str) -> bytes:
        return _packed(self._number(self._chunk_tokens.of_piece(piece)))


class _Memo(dict[str, bytes]):
    """Computes what neither it nor its older generation has, and remembers what is short."""

    def __init__(self, compute: Callable[[str], bytes], longest: int) -> None:
        self._compute = compute
        self._longest = longest
        self._older: dict[str, bytes] = {}
        self._renew: Renew | None = None

    def __missing__(self, key: str) -> bytes:
        if (packed := self._older.get(key)) is None:
            packed = self._compute(key)
        elif self._renew is not None:
            packed = _packed(self._renew(np.frombuffer(packed, _PACKED).tolist()))
        if len(key) <= self._longest:
            self[key] = packed
        return packed

    def age(self, renew: Renew | None) -> None:
        self._older, self._renew = dict(self), renew
        self.clear()


def _packed(numbers: Iterable[int]) -> bytes:
    return np.fromiter(numbers, _PACKED).tobytes()


class TextEncoder:
    """Turns texts into word ids, remembering the ids of chunks it has seen.

    Args:
        pipeline: as saved in the bundle.
        vocabulary: as `fit_vocabulary` gives it.
        memo_size: chunks in a generation, as in `ChunkMemo`.
    """

    def __init__(
        self,
        pipeline: "Language",
        vocabulary: Sequence[str],
        settings: TextSettings,
        memo_size: int = MEMO_SIZE,
    ) -> None:
        self._settings = settings
        self._ids = {
            word: place for place, word in enumerate(vocabulary) if place > settings.keep_unknown
        }
        self._memo = ChunkMemo(
            pipeline,
            self._number,
            rewrite=settings.rewrite,
            empty=[UNKNOWN_ID] if settings.keep_unknown else [],
            size=memo_size,
        )

    def encode(self, texts: Sequence[str]) -> EncodedTexts:
        """The ids of each text, in order.

        Raises:
            ValueError: if spaCy refuses a text (over a million characters, or lone surrogates).
        """
        encoded = self._memo.encode(texts)
        if self._memo.full:
            self._memo.age()
        return encoded

    def unknown_words(self, encoded: EncodedTexts) -> int:
        """How many of the ids stand for unknown words; 0 where these are left out."""
        return int(np.count_nonzero(encoded.ids == UNKNOWN_ID)) * self._settings.keep_unknown

    def _number(self, tokens: Sequence[Token]) -> list[int]:
        if self._settings.keep_unknown:
            return [self._ids.get(word, UNKNOWN_ID) for word, _ in tokens]
        return [self._ids[word] for word, _ in tokens if word in self._ids]


def pad(encoded: EncodedTexts, length: int, *, left: bool) -> Ids:
    """One row a text, filled up with `PADDING_ID` or cut at the same side.

    Args:
        left: pad and cut on the left, as Keras' `pad_sequences` does by default, or on the right.

    Returns:
        int32, shape (texts, length).
    """
    lengths = encoded.lengths.astype(np.int64)
    starts = np.cumsum(lengths) - lengths
    rows = np.repeat(np.arange(len(lengths)), lengths)
    columns = np.arange(len(encoded.ids)) - np.repeat(starts, lengths)
    if left:
        columns += np.repeat(length - lengths, lengths)
    inside = (columns >= 0) & (columns < length)
    padded = np.full((len(lengths), length), PADDING_ID, np.int32)
    padded[rows[inside], columns[inside]] = encoded.ids[inside]
    return padded

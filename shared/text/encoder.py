"""Text → ids: the number of each token, with a memory of recent chunks.

    text ─split─▶ chunks ─memory─▶ token numbers ─pad─▶ int32 (texts, length)

A token's number is its row in a `TokenTable`, which contains what the network computes from the
token alone.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import numpy.typing as npt

from shared.arrays import Floats, Ids
from shared.text.lemmas import (
    PADDING_ID,
    UNKNOWN_ID,
    ChunkTokens,
    TextSettings,
    Token,
    pipeline_from_bytes,
    pipeline_to_bytes,
)
from shared.text.tokens import Features, Featurizer

if TYPE_CHECKING:
    from spacy.language import Language

MEMO_SIZE = 200_000
"""Chunks in a generation of an encoder's memory, which has two."""
TABLE_SIZE = 32_768
"""Tokens in a generation of an encoder's table."""

UNKNOWN_TOKEN: Token = ("", "")
"""Represents an empty text: no vocabulary has an empty word."""

Precompute = Callable[[Features], Floats]
"""Features of tokens → what a network needs of each, float32, shape (tokens, width)."""

_PACKED = np.dtype(np.int32)

_Renumber = Callable[[Sequence[int]], Iterable[int]]


class TokenTable:
    """Numbers tokens, and holds for each the row that a network looks up.

    It only grows, so numbers stay valid for the life of the table. Number 0 is padding, number 1 is
    `UNKNOWN_TOKEN`.

    Args:
        precompute: computes the rows.
        older: a table whose rows are reused, each when its token occurs again.

    Attributes:
        rows: float32, shape (numbers or more, width).
        is_unknown: whether the vocabulary lacks the token's word, bool, shape (numbers or more,).
    """

    def __init__(
        self,
        featurizer: Featurizer,
        precompute: Precompute,
        older: "TokenTable | None" = None,
    ) -> None:
        self._featurizer = featurizer
        self._precompute = precompute
        self._older = older
        self._older_tokens: list[Token] = []
        if older is not None:
            self._older_tokens = older.tokens
            older._older, older._older_tokens = None, []  # otherwise no table would ever be freed
        self._numbers = {UNKNOWN_TOKEN: UNKNOWN_ID}
        self.rows = precompute(featurizer([UNKNOWN_TOKEN]).after_padding())
        self.is_unknown = np.array([False, True])
        self._new: list[Token] = []

    def __len__(self) -> int:
        return len(self._numbers) + 1

    @property
    def tokens(self) -> list[Token]:
        """The tokens by number, from 1."""
        return list(self._numbers)

    def numbers(self, tokens: Sequence[Token]) -> list[int]:
        """Assign numbers to tokens. `complete` computes the rows of those that are new."""
        for token in tokens:
            if token not in self._numbers:
                self._numbers[token] = len(self)
                self._new.append(token)
        return [self._numbers[token] for token in tokens]

    def renumber(self, numbers: Sequence[int]) -> list[int]:
        """Assign new numbers to the tokens with these numbers in the older table."""
        return self.numbers([self._older_tokens[number - 1] for number in numbers])

    def complete(self) -> None:
        """Compute the rows of the tokens that are new since the last call."""
        if not self._new:
            return
        start, end = len(self) - len(self._new), len(self)
        if end > len(self.rows):  # With doubling, at most twice the final size is copied in all.
            room = max(end, 2 * len(self.rows))
            rows = np.zeros((room, self.rows.shape[1]), np.float32)
            rows[:start] = self.rows[:start]
            unknown = np.zeros(room, np.bool_)
            unknown[:start] = self.is_unknown[:start]
            self.rows, self.is_unknown = rows, unknown
        numbers = np.arange(start, end)
        if self._older is not None:
            known = self._older._numbers
            found = np.array([known.get(token, 0) for token in self._new])
            taken = found > 0
            self.rows[numbers[taken]] = self._older.rows[found[taken]]
            self.is_unknown[numbers[taken]] = self._older.is_unknown[found[taken]]
            numbers = numbers[~taken]
        if len(numbers):
            features = self._featurizer([self._new[number - start] for number in numbers.tolist()])
            self.rows[numbers] = self._precompute(features)
            self.is_unknown[numbers] = features.words == UNKNOWN_ID
        self._new = []


class EncodedTexts(msgspec.Struct, frozen=True):
    """The token numbers of several texts, one text after the other.

    Attributes:
        ids: int32, shape (total,).
        lengths: int32, shape (texts,): the number of ids of each text.
        table: the tokens with these numbers.
    """

    ids: Ids
    lengths: Ids
    table: TokenTable


class PaddedTexts(msgspec.Struct, frozen=True):
    """Token numbers of texts in rows of one length.

    Attributes:
        ids: int32, shape (rows, length). Rows after the last text hold an unknown word.
        lengths: int32, shape (texts,): the number of ids of each text, truncated to the row.
        table: the tokens with these numbers.
    """

    ids: Ids
    lengths: Ids
    table: TokenTable


class Encoder:
    """Turns texts into token numbers, with a memory of recent chunks.

    Args:
        pipeline: as saved in the bundle.
        precompute: of the network.
        memo_size: chunks in a generation, as in `ChunkMemo`.
        table_size: tokens in a generation. A row of the table takes half a kilobyte for the
            feed-forward network and up to two for an LSTM.
    """

    def __init__(
        self,
        pipeline: "Language",
        settings: TextSettings,
        featurizer: Featurizer,
        precompute: Precompute,
        memo_size: int = MEMO_SIZE,
        table_size: int = TABLE_SIZE,
    ) -> None:
        self._keep_unknown = settings.keep_unknown
        self._featurizer = featurizer
        self._precompute = precompute
        self._table_size = table_size
        self._table = TokenTable(featurizer, precompute)
        self._memo = ChunkMemo(
            pipeline,
            self._number,
            rewrite=settings.rewrite,
            empty=[UNKNOWN_ID] if settings.keep_unknown else [],
            size=memo_size,
        )

    def encode(self, texts: Sequence[str]) -> EncodedTexts:
        """Return the token numbers of each text, in order.

        Raises:
            ValueError: if spaCy refuses a text (over a million characters, or lone surrogates).
        """
        ids, lengths = self._memo.encode(texts)
        table = self._table
        table.complete()
        if len(table) > self._table_size:
            self._table = TokenTable(self._featurizer, self._precompute, older=table)
            self._memo.age(self._table.renumber)
        elif self._memo.full:
            self._memo.age()
        return EncodedTexts(ids, lengths, table)

    def unknown_words(self, encoded: EncodedTexts) -> npt.NDArray[np.intp]:
        """Count the ids of words that are not in the vocabulary; 0 if these are dropped.

        Returns:
            One count a text, intp, shape (texts,).
        """
        if not self._keep_unknown:
            return np.zeros(len(encoded.lengths), np.intp)
        unknown = np.cumsum(encoded.table.is_unknown[encoded.ids], dtype=np.intp)
        sums = np.append(0, unknown)[np.cumsum(encoded.lengths)]
        return np.diff(sums, prepend=np.intp(0))

    def _number(self, tokens: Sequence[Token]) -> list[int]:
        if not self._keep_unknown:
            tokens = [token for token in tokens if self._featurizer.knows(token)]
        return self._table.numbers(tokens)


def pad(ids: Ids, lengths: npt.NDArray[np.integer], length: int, *, left: bool) -> Ids:
    """Put each text into a row, padded with `PADDING_ID` or truncated, both on the same side.

    Args:
        ids: of the texts, one text after the other, int32, shape (total,).
        lengths: the number of ids of each text, any integers, shape (texts,).
        length: of the rows.
        left: pad and truncate on the left, like Keras' `pad_sequences` does by default, or on the
            right.

    Returns:
        int32, shape (texts, length).
    """
    if lengths.max(initial=0) > length:
        ends = np.cumsum(lengths, dtype=np.int64)
        positions = np.arange(len(ids)) - np.repeat(ends - lengths, lengths)
        kept = positions >= np.repeat(lengths - length, lengths) if left else positions < length
        ids, lengths = ids[kept], np.minimum(lengths, length)
    columns = np.arange(length, dtype=np.int32)
    inside = columns >= length - lengths[:, None] if left else columns < lengths[:, None]
    padded = np.full(inside.shape, PADDING_ID, np.int32)
    padded[inside] = ids
    return padded


class ChunkMemo:
    """Texts → token numbers, with a memory of chunks.

    The memory has two generations. `age` begins a new one and forgets the chunks that did not occur
    in the last one. Forgetting all at once would delay tweets by the second that it takes to
    compute most chunks again.

    Args:
        pipeline: as saved in the bundle.
        number: tokens → their numbers. It is not called for a chunk in memory.
        empty: the numbers of a text without tokens.
        size: chunks in a generation (a tweet has about 15; each takes some 200 bytes).
    """

    LONGEST_REMEMBERED = 64
    """Characters. Longer chunks rarely occur twice, and would fill the memory."""
    PIPELINE_LIFE = 1_000_000
    """Pieces to lemmatize before the pipeline is renewed, which takes some 0.3 s. spaCy's tables of
    strings grow with each new string, even if a memory zone forgets it."""

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

    def encode(self, texts: Sequence[str]) -> tuple[Ids, Ids]:
        """Return the token numbers of the texts, and how many each text has.

        Returns:
            int32, shape (total,), and int32, shape (texts,).

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
        return np.frombuffer(b"".join(rows), _PACKED), lengths

    @property
    def full(self) -> bool:
        """Whether the generation is full: call `age` then."""
        return max(len(self._chunks), len(self._pieces)) > self._size

    def age(self, renumber: _Renumber | None = None) -> None:
        """Begin a new generation, and forget the chunks that did not occur in the last one.

        Args:
            renumber: old numbers → new numbers, if they change.
        """
        self._pieces.age(renumber)
        if self._chunks is not self._pieces:
            self._chunks.age(renumber)

    def _of_chunk(self, chunk: str) -> bytes:
        return b"".join(map(self._pieces.__getitem__, self._chunk_tokens.pieces(chunk)))

    def _of_piece(self, piece: str) -> bytes:
        return _packed(self._number(self._chunk_tokens.of_piece(piece)))


class _Memo(dict[str, bytes]):
    """Computes values that neither generation has, and remembers those with short keys."""

    def __init__(self, compute: Callable[[str], bytes], longest: int) -> None:
        self._compute = compute
        self._longest = longest
        self._older: dict[str, bytes] = {}
        self._renumber: _Renumber | None = None

    def __missing__(self, key: str) -> bytes:
        if (packed := self._older.get(key)) is None:
            packed = self._compute(key)
        elif self._renumber is not None:
            packed = _packed(self._renumber(np.frombuffer(packed, _PACKED).tolist()))
        if len(key) <= self._longest:
            self[key] = packed
        return packed

    def age(self, renumber: _Renumber | None) -> None:
        self._older, self._renumber = dict(self), renumber
        self.clear()


def _packed(numbers: Iterable[int]) -> bytes:
    return np.fromiter(numbers, _PACKED).tobytes()

"""Tokens → what the network looks up: words, character n-grams and pretrained vectors, in a table.

A token's features depend on the token alone, and a chunk's tokens on the chunk alone. So each
distinct token is computed once and kept as a row of a `TokenTable`, and a chunk is remembered as
the numbers of its tokens.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING
from zlib import crc32

import msgspec
import numpy as np
import numpy.typing as npt
from safetensors import numpy as safetensors

from shared.model.architecture import MOST_NGRAMS, NGRAM_BUCKETS, Floats
from shared.text.encoder import MEMO_SIZE, ChunkMemo
from shared.text.lemmas import UNKNOWN_ID, Ids, TextSettings, Token

if TYPE_CHECKING:
    from spacy.language import Language

VECTOR_SCALE = 0.3
"""Pretrained vectors are multiplied by it: GloVe's are far longer than trained ones."""

UNKNOWN_TOKEN: Token = ("xxunknown", "")
"""Stands for an empty text."""


class WordVectors(msgspec.Struct, frozen=True):
    """Pretrained vectors.

    Attributes:
        words: in lower case.
        vectors: float16, shape (words, dimension).
    """

    words: list[str]
    vectors: npt.NDArray[np.float16]


def vectors_to_bytes(vectors: WordVectors) -> bytes:
    """The vectors in the safetensors format."""
    words = np.frombuffer("\n".join(vectors.words).encode(), np.uint8)
    matrix = np.ascontiguousarray(vectors.vectors)
    return bytes(safetensors.save({"words": words, "vectors": matrix}))


def vectors_from_bytes(content: bytes, dimension: int) -> WordVectors:
    """Reads what `vectors_to_bytes` gives.

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
        raise ValueError("expected finite vectors, got others")
    return WordVectors(words, vectors)


class Features(msgspec.Struct, frozen=True):
    """What a network is fed for each of some tokens.

    Attributes:
        words: ids in the vocabulary, int32, shape (tokens,).
        ngrams: of the form, `ngram_ids`, filled up with 0, int32, shape (tokens, MOST_NGRAMS).
        vectors: scaled, 0 for words without one, float32, shape (tokens, dimension).
    """

    words: Ids
    ngrams: Ids
    vectors: Floats


def ngram_ids(form: str) -> list[int]:
    """Hashes of the 3-grams of `<form>`, then of its 4-grams, from 1 to `NGRAM_BUCKETS`.

    After "fastText" (Bojanowski et al., 2017), with CRC-32 as the hash.
    """
    marked = f"<{form}>"
    grams = [marked[at : at + size] for size in (3, 4) for at in range(len(marked) - size + 1)]
    return [
        1 + crc32(gram.encode("utf-8", "surrogatepass")) % NGRAM_BUCKETS
        for gram in grams[:MOST_NGRAMS]
    ]


class Respeller:
    """Undoes a slip of the typist in words that are unknown, where that gives a known one.

    Two letters that changed places are put back, or else a letter too many is left out; of several
    known words the most frequent is taken. Other slips would need hundreds of tries a word.

    Args:
        known: the words that there are, each with its rank by frequency.
        lemmas: of forms, as `shared.text.lemmas.lemma_table` gives them.
    """

    SHORTEST = 5
    """Letters; shorter words are too near to each other."""

    def __init__(self, known: Mapping[str, int], lemmas: Mapping[str, str]) -> None:
        self._known = known
        self._lemmas = lemmas

    def __call__(self, token: Token) -> Token:
        """The token of the word that was meant, or the token itself."""
        word, form = token
        if word in self._known or form in self._known:
            return token
        if len(form) < self.SHORTEST or not (form.isascii() and form.isalpha()):
            return token
        cuts = [(form[:at], form[at:]) for at in range(len(form))]
        for meant in (
            [head + tail[1] + tail[0] + tail[2:] for head, tail in cuts[:-1]],
            [head + tail[1:] for head, tail in cuts],
        ):
            if found := [candidate for candidate in meant if candidate in self._known]:
                best = min(found, key=self._known.__getitem__)
                return self._lemmas.get(best, best), best
        return token


class Featurizer:
    """Gives tokens their features.

    Args:
        vocabulary: as `shared.text.lemmas.fit_vocabulary` gives it, with a place for unknown words.
        vectors: None for vectors of dimension 0.
        lemmas: of forms, for a recipe that respells; None for one that does not.
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        vectors: WordVectors | None,
        lemmas: Mapping[str, str] | None = None,
    ) -> None:
        self._ids = {word: place for place, word in enumerate(vocabulary) if place > UNKNOWN_ID}
        table = np.zeros((0, 0), np.float32) if vectors is None else vectors.vectors
        self._places: Mapping[str, int] = {}
        if vectors is not None:
            self._places = {word: place for place, word in enumerate(vectors.words)}
        self._vectors = table
        self._respell: Callable[[Token], Token] = lambda token: token
        if lemmas is not None:
            rarer = {word: len(self._places) + place for word, place in self._ids.items()}
            self._respell = Respeller(rarer | dict(self._places), lemmas)

    def __call__(self, tokens: Sequence[Token]) -> Features:
        """The features of tokens; a word without a vector takes that of its lemma, if any."""
        tokens = [self._respell(token) for token in tokens]
        words = np.array([self._ids.get(word, UNKNOWN_ID) for word, _ in tokens], np.int32)
        ngrams = np.zeros((len(tokens), MOST_NGRAMS), np.int32)
        places = np.full(len(tokens), -1)
        for row, (word, form) in enumerate(tokens):
            ids = ngram_ids(form)
            ngrams[row, : len(ids)] = ids
            places[row] = self._places.get(form, self._places.get(word, -1))
        vectors = np.zeros((len(tokens), self._vectors.shape[1]), np.float32)
        known = places >= 0
        vectors[known] = VECTOR_SCALE * self._vectors[places[known]].astype(np.float32)
        return Features(words, ngrams, vectors)


class TokenTable:
    """Distinct tokens by their number, and the row that a network looks up for each.

    It only grows, so that numbers stay valid as long as somebody holds the table. Number 0 is
    padding's, number 1 is `UNKNOWN_TOKEN`'s.

    Args:
        fold: features of some tokens → their rows, float32, shape (tokens, width).
        older: a table whose rows are taken over, each when its token comes again.
    """

    def __init__(
        self,
        featurizer: Featurizer,
        fold: Callable[[Features], Floats],
        older: "TokenTable | None" = None,
    ) -> None:
        self._featurizer = featurizer
        self._fold = fold
        self._older = older
        self._older_tokens: list[Token] = []
        if older is not None:
            self._older_tokens = older.tokens
            older._older, older._older_tokens = None, []  # or all tables would be held for ever
        self._numbers = {UNKNOWN_TOKEN: UNKNOWN_ID}
        row = fold(featurizer([UNKNOWN_TOKEN]))
        self.rows = np.concatenate([np.zeros_like(row), row])
        self.is_unknown = np.array([False, True])
        self._new: list[Token] = []

    def __len__(self) -> int:
        return len(self._numbers) + 1

    @property
    def tokens(self) -> list[Token]:
        """By number, from 1 on."""
        return list(self._numbers)

    def numbers(self, tokens: Sequence[Token]) -> list[int]:
        """The numbers of tokens; those that are new get one, and their row by `complete`."""
        for token in tokens:
            if token not in self._numbers:
                self._numbers[token] = len(self)
                self._new.append(token)
        return [self._numbers[token] for token in tokens]

    def renew(self, numbers: Sequence[int]) -> list[int]:
        """The numbers here of the tokens that have these numbers in the older table."""
        return self.numbers([self._older_tokens[number - 1] for number in numbers])

    def complete(self) -> None:
        """Computes the rows of the tokens that have come since the last call."""
        if not self._new:
            return
        start, end = len(self) - len(self._new), len(self)
        if end > len(self.rows):  # Doubling keeps the copying below twice the final size.
            room = max(end, 2 * len(self.rows))
            rows = np.zeros((room, self.rows.shape[1]), np.float32)
            rows[:start] = self.rows[:start]
            unknown = np.zeros(room, np.bool_)
            unknown[:start] = self.is_unknown[:start]
            self.rows, self.is_unknown = rows, unknown
        places = np.arange(start, end)
        if self._older is not None:
            known = self._older._numbers
            found = np.array([known.get(token, 0) for token in self._new])
            taken = found > 0
            self.rows[places[taken]] = self._older.rows[found[taken]]
            self.is_unknown[places[taken]] = self._older.is_unknown[found[taken]]
            places = places[~taken]
        if len(places):
            features = self._featurizer([self._new[place - start] for place in places.tolist()])
            self.rows[places] = self._fold(features)
            self.is_unknown[places] = features.words == UNKNOWN_ID
        self._new = []


class EncodedTokens(msgspec.Struct, frozen=True):
    """The tokens of several texts, one behind the other.

    Attributes:
        ids: numbers in the table, int32, shape (total,).
        lengths: int32, shape (texts,): how many of the ids belong to each text; 1 or more.
    """

    ids: Ids
    lengths: Ids
    table: TokenTable


class TokenEncoder:
    """Turns texts into token numbers, remembering those of chunks it has seen.

    Args:
        pipeline: as saved in the bundle.
        fold: of the network.
        memo_size: chunks in a generation, as in `shared.text.encoder.ChunkMemo`.
        table_size: tokens in a generation; a row of the table takes half a kilobyte for the
            feed-forward net and up to two for an LSTM.
    """

    def __init__(
        self,
        pipeline: "Language",
        settings: TextSettings,
        featurizer: Featurizer,
        fold: Callable[[Features], Floats],
        memo_size: int = MEMO_SIZE,
        table_size: int = 32_768,
    ) -> None:
        self._featurizer = featurizer
        self._fold = fold
        self._table_size = table_size
        self._table = TokenTable(featurizer, fold)
        self._memo = ChunkMemo(
            pipeline,
            lambda tokens: self._table.numbers(tokens),
            rewrite=settings.rewrite,
            empty=[UNKNOWN_ID],
            size=memo_size,
        )

    def encode(self, texts: Sequence[str]) -> EncodedTokens:
        """The token numbers of each text, in order; an empty text is one unknown word.

        Raises:
            ValueError: if spaCy refuses a text (over a million characters, or lone surrogates).
        """
        numbers = self._memo.encode(texts)
        table = self._table
        table.complete()
        if len(table) > self._table_size:
            self._table = TokenTable(self._featurizer, self._fold, older=table)
            self._memo.age(self._table.renew)
        elif self._memo.full:
            self._memo.age()
        return EncodedTokens(numbers.ids, numbers.lengths, table)

    def unknown_words(self, encoded: EncodedTokens) -> int:
        """How many of the tokens are of words that the vocabulary lacks."""
        return int(np.count_nonzero(encoded.table.is_unknown[encoded.ids]))

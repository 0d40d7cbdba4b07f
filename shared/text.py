"""Text → word ids: spaCy lemmas, Keras-`Tokenizer` words, memoised by chunk.

The plain path of a text, which `plain_words` spells out, is: rewrite each chunk (if the recipe says
so), lemmatize with spaCy, join the lemmas by spaces, lower the case, cut at the filter characters.
A run of more than 250 characters without white space is cut into pieces of 250 first, because
spaCy's tokenizer takes quadratic time: 8 s for 10,000 opening brackets, 5 ms for 250.
A chunk is what stands between two space characters. spaCy's tokenizer and the filter both act
within a chunk, so `ChunkMemo` computes each distinct chunk once and remembers the numbers of its
tokens; tests hold that the outcome is the same.

Source of the word ids: `keras.preprocessing.text.Tokenizer` of Keras 2 with its default arguments.
"""

import html
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

Ids = npt.NDArray[np.int32]

Token = tuple[str, str]
"""A word, which is of a lemma, and the form that stands for it in the text, in lower case."""

PADDING_ID = 0
UNKNOWN_ID = 1
"""The id of words outside the vocabulary, where `TextSettings.keep_unknown` gives them one."""

MEMO_SIZE = 500_000
"""Chunks that an encoder remembers at most."""

_FILTER = str.maketrans(dict.fromkeys('!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n', " "))

_URL = re.compile(r"https?://\S*|www\.\S+")
_MENTION = re.compile(r"(?<!\w)@\w+")
_HASHTAG = re.compile(r"(?<!\w)#(\w+)")
_NUMBER = re.compile(r"(?<![A-Za-z\d])\d+(?:[.,:]\d+)*")
_NOTHING_ELSE = re.compile(
    r"(?P<xxurl>https?://[^\s&]*)|(?P<xxuser>@\w+)|(?P<xxnumber>\d+(?:[.,:]\d+)*)"
)
_WORD_IN_HASHTAG = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|_+")
LONGEST_RUN = 250
_LONG_RUN = re.compile(rf"\S{{{LONGEST_RUN}}}(?=\S)")
_ELONGATION = re.compile(r"([^\W\d])\1{2,}")


class TextSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a recipe turns text into ids.

    Attributes:
        num_words: ids run from 1 to num_words - 1, as in Keras.
        keep_unknown: whether a word outside the vocabulary becomes `UNKNOWN_ID` (an `oov_token` in
            Keras' words) or is dropped; with it an empty text is one unknown word.
        rewrite: whether `rewrite_chunk` goes first.
        respell: whether an unknown word that is a known one with a slip of the typist is fed to the
            network as that, as `shared.tokens.Respeller` says; only where n-grams are embedded.
    """

    num_words: Annotated[int, Meta(ge=2)]
    keep_unknown: bool
    rewrite: bool
    respell: bool = False


class EncodedTexts(msgspec.Struct, frozen=True):
    """The ids of several texts, one behind the other.

    Attributes:
        ids: int32, shape (total,).
        lengths: int32, shape (texts,): how many of the ids belong to each text.
    """

    ids: Ids
    lengths: Ids


def new_pipeline() -> "Language":
    """A spaCy pipeline that looks up lemmas in a table, as `spacy.load("en")` did in 2019.

    Needs the package spacy-lookups-data.
    """
    pipeline = _empty_pipeline()
    pipeline.initialize()
    return pipeline


_NOT_NEEDED = ("vocab", "meta", "config")
"""Of what spaCy saves: all but the tokenizer's rules and the lemma table. They are not read either,
where a bundle has them."""


def pipeline_to_bytes(pipeline: "Language") -> bytes:
    """The pipeline's tokenizer rules and lemma table, in spaCy's format (msgpack, no code)."""
    return pipeline.to_bytes(exclude=_NOT_NEEDED)


def pipeline_from_bytes(data: bytes) -> "Language":
    """Fills a pipeline of ours with saved rules and tables, whatever is installed here.

    Raises:
        Exception: of any class, if the data are not what `pipeline_to_bytes` gives.
    """
    return _empty_pipeline().from_bytes(data, exclude=_NOT_NEEDED)


def _empty_pipeline() -> "Language":
    import spacy  # takes a second, which a program that only reads a manifest does not wait

    pipeline = spacy.blank("en")
    pipeline.add_pipe("lemmatizer", config={"mode": "lookup"})
    return pipeline


def lemma_table(pipeline: "Language") -> Mapping[str, str]:
    """The lemmas of forms; those that are their own lemma may be missing."""
    lemmatizer: Any = pipeline.get_pipe("lemmatizer")
    table: Mapping[str, str] = lemmatizer.lookups.get_table("lemma_lookup")
    return table


def rewrite_chunk(chunk: str) -> str:
    """Replaces what is special to tweets by words that a small training set can learn.

    URLs, mentions and numbers become `xxurl`, `xxuser`, `xxnumber`; a hashtag becomes `xxhashtag`
    and its words; HTML entities are decoded; a letter stands twice in a row at most.
    """
    if chunk.isalpha() and chunk.isascii() and not _ELONGATION.search(chunk):
        return chunk
    if one := _NOTHING_ELSE.fullmatch(chunk):  # as most new chunks; what follows gives the same
        return f" {one.lastgroup} "
    chunk = _URL.sub(" xxurl ", html.unescape(chunk))
    chunk = _MENTION.sub(" xxuser ", chunk)
    chunk = _HASHTAG.sub(lambda m: " xxhashtag " + _WORD_IN_HASHTAG.sub(" ", m[1]) + " ", chunk)
    chunk = _NUMBER.sub(" xxnumber ", chunk)
    return _ELONGATION.sub(r"\1\1", chunk)


def filtered_words(text: str) -> list[str]:
    """What the Keras tokenizer makes of a text: lower case, cut at filter characters and spaces."""
    return [word for word in text.lower().translate(_FILTER).split(" ") if word]


def plain_words(pipeline: "Language", text: str, *, rewrite: bool) -> list[str]:
    """The words of one text by the plain path, with nothing memoised: the reference."""
    if rewrite:
        text = " ".join(rewrite_chunk(chunk) for chunk in text.split(" "))
    return filtered_words(" ".join(token.lemma_ for token in pipeline(_cut_long_runs(text))))


def plain_tokens(pipeline: "Language", text: str, *, rewrite: bool) -> list[Token]:
    """The tokens of one text by the plain path, with nothing memoised: the reference."""
    if rewrite:
        text = " ".join(rewrite_chunk(chunk) for chunk in text.split(" "))
    return _tokens(pipeline(_cut_long_runs(text)))


def _tokens(doc: "Doc") -> list[Token]:
    """Pairs the words of each lemma with the words of its form, or with themselves.

    A lemma may have another number of words than its form once both are cut at filter characters.
    """
    tokens: list[Token] = []
    for token in doc:
        tokens += _pair(token.lemma_, token.text)
    return tokens


def _pair(lemma: str, form: str) -> list[Token]:
    words, forms = filtered_words(lemma), filtered_words(form)
    return list(zip(words, forms if len(forms) == len(words) else words, strict=True))


def _cut_long_runs(text: str) -> str:
    return _LONG_RUN.sub(r"\g<0> ", text)


def fit_vocabulary(texts: Sequence[str], pipeline: "Language", settings: TextSettings) -> list[str]:
    """The words whose place in the list is their id, the most frequent first.

    Words of the same frequency stand in order of appearance. Place 0 is padding's, and place 1 the
    unknown words' where they are kept.
    """
    counts: Counter[str] = Counter()
    chunk_tokens = ChunkTokens(pipeline, rewrite=settings.rewrite)
    with pipeline.memory_zone():
        for chunk, count in _count_chunks(texts).items():
            for word, _ in chunk_tokens(chunk):
                counts[word] += count
    reserved = ["", "xxunknown"] if settings.keep_unknown else [""]
    ordered = sorted(counts, key=lambda word: -counts[word])  # stable: ties by appearance
    return (reserved + ordered)[: settings.num_words]


def _count_chunks(texts: Iterable[str]) -> Counter[str]:
    """How often each chunk comes, in order of appearance."""
    return Counter(chain.from_iterable(text.split(" ") for text in texts))


class ChunkTokens:
    """Gives chunks their tokens, one at a time, with nothing memoised.

    A word of ASCII letters alone is one token unless it is among spaCy's special cases, because
    each of the patterns by which spaCy cuts wants another character too; its lemma is looked up
    without the tokenizer. Tests hold both.

    Attributes:
        lemmatized: how many pieces spaCy was given.
    """

    def __init__(self, pipeline: "Language", *, rewrite: bool) -> None:
        self._pipeline = pipeline
        self._rewrite = rewrite
        tokenizer: Any = pipeline.tokenizer
        self._special_cases = frozenset(tokenizer.rules)
        self._lemmas = lemma_table(pipeline)
        self.lemmatized = 0

    def __call__(self, chunk: str) -> list[Token]:
        """The tokens of a chunk, to be called within the pipeline's memory zone."""
        return [token for piece in self.pieces(chunk) for token in self.of_piece(piece)]

    def pieces(self, chunk: str) -> list[str]:
        """What a chunk is rewritten to, cut at its spaces; distinct links come to the same."""
        return rewrite_chunk(chunk).split(" ") if self._rewrite else [chunk]

    def of_piece(self, piece: str) -> list[Token]:
        """The tokens of a piece."""
        if (
            piece.isascii()
            and piece.isalpha()
            and len(piece) <= LONGEST_RUN
            and piece not in self._special_cases
        ):
            return _pair(self._lemmas.get(piece, piece), piece)
        self.lemmatized += 1
        return _tokens(self._pipeline(_cut_long_runs(piece)))


class ChunkMemo:
    """Texts → numbers of their tokens, remembering those of every chunk it has seen.

    Args:
        pipeline: as saved in the bundle.
        number: tokens → their numbers; not asked again about a chunk that is remembered.
        empty: numbers of a text without any.
        size: chunks remembered at most (a tweet has about 15; memory is some 200 bytes each). When
            they are exceeded the memo starts anew, which costs a fraction of a second.
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
        if max(len(self._chunks), len(self._pieces)) > self._size:
            self.forget()
        return EncodedTexts(np.frombuffer(b"".join(rows), _PACKED), lengths)

    def forget(self) -> None:
        """Starts anew."""
        self._chunks.clear()
        self._pieces.clear()

    def _of_chunk(self, chunk: str) -> bytes:
        return b"".join(map(self._pieces.__getitem__, self._chunk_tokens.pieces(chunk)))

    def _of_piece(self, piece: str) -> bytes:
        return _packed(self._number(self._chunk_tokens.of_piece(piece)))


class _Memo(dict[str, bytes]):
    """Computes what it lacks, and remembers what is not too long."""

    def __init__(self, compute: Callable[[str], bytes], longest: int) -> None:
        self._compute = compute
        self._longest = longest

    def __missing__(self, key: str) -> bytes:
        packed = self._compute(key)
        if len(key) <= self._longest:
            self[key] = packed
        return packed


_PACKED = np.dtype(np.int32)


def _packed(numbers: Iterable[int]) -> bytes:
    return np.fromiter(numbers, _PACKED).tobytes()


class TextEncoder:
    """Turns texts into word ids, remembering the ids of every chunk it has seen.

    Args:
        pipeline: as saved in the bundle.
        vocabulary: as `fit_vocabulary` gives it.
        memo_size: chunks remembered at most, as in `ChunkMemo`.
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
        return self._memo.encode(texts)

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

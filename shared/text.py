"""Text → word ids: spaCy lemmas, Keras-`Tokenizer` words, memoised by chunk.

The plain path of a text, which `plain_words` spells out, is: rewrite each chunk (if the recipe says
so), lemmatize with spaCy, join the lemmas by spaces, lower the case, cut at the filter characters.
A run of more than 250 characters without white space is cut into pieces of 250 first, because
spaCy's tokenizer takes quadratic time: 8 s for 10,000 opening brackets, 5 ms for 250.
A chunk is what stands between two space characters. spaCy's tokenizer and the filter both act
within a chunk, so `TextEncoder` computes each distinct chunk once and remembers its ids; tests hold
that the outcome is the same.

Source of the word ids: `keras.preprocessing.text.Tokenizer` of Keras 2 with its default arguments.
"""

import html
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Annotated

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

_FILTER = str.maketrans(dict.fromkeys('!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n', " "))

_URL = re.compile(r"https?://\S*|www\.\S+")
_MENTION = re.compile(r"(?<!\w)@\w+")
_HASHTAG = re.compile(r"(?<!\w)#(\w+)")
_NUMBER = re.compile(r"(?<![A-Za-z\d])\d+(?:[.,:]\d+)*")
_WORD_IN_HASHTAG = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|_+")
_LONG_RUN = re.compile(r"\S{250}(?=\S)")
_ELONGATION = re.compile(r"([^\W\d])\1{2,}")


class TextSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a recipe turns text into ids.

    Attributes:
        num_words: ids run from 1 to num_words - 1, as in Keras.
        keep_unknown: whether a word outside the vocabulary becomes `UNKNOWN_ID` (an `oov_token` in
            Keras' words) or is dropped; with it an empty text is one unknown word.
        rewrite: whether `rewrite_chunk` goes first.
    """

    num_words: Annotated[int, Meta(ge=2)]
    keep_unknown: bool
    rewrite: bool


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


def rewrite_chunk(chunk: str) -> str:
    """Replaces what is special to tweets by words that a small training set can learn.

    URLs, mentions and numbers become `xxurl`, `xxuser`, `xxnumber`; a hashtag becomes `xxhashtag`
    and its words; HTML entities are decoded; a letter stands twice in a row at most.
    """
    if chunk.isalpha() and chunk.isascii() and not _ELONGATION.search(chunk):
        return chunk
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


def chunk_words(pipeline: "Language", chunks: Iterable[str], *, rewrite: bool) -> list[list[str]]:
    """The words of each chunk, lemmatized in one stream; spaCy's string store does not grow."""
    if rewrite:
        chunks = map(rewrite_chunk, chunks)
    with pipeline.memory_zone():
        return [
            filtered_words(" ".join([token.lemma_ for token in doc]))
            for doc in pipeline.pipe(map(_cut_long_runs, chunks))
        ]


def plain_tokens(pipeline: "Language", text: str, *, rewrite: bool) -> list[Token]:
    """The tokens of one text by the plain path, with nothing memoised: the reference."""
    if rewrite:
        text = " ".join(rewrite_chunk(chunk) for chunk in text.split(" "))
    return _tokens(pipeline(_cut_long_runs(text)))


def chunk_tokens(
    pipeline: "Language", chunks: Iterable[str], *, rewrite: bool
) -> list[list[Token]]:
    """The tokens of each chunk, as `chunk_words` gives their words."""
    if rewrite:
        chunks = map(rewrite_chunk, chunks)
    with pipeline.memory_zone():
        return [_tokens(doc) for doc in pipeline.pipe(map(_cut_long_runs, chunks))]


def _tokens(doc: "Doc") -> list[Token]:
    """Pairs the words of each lemma with the words of its form, or with themselves.

    A lemma may have another number of words than its form once both are cut at filter characters.
    """
    tokens: list[Token] = []
    for token in doc:
        words, forms = filtered_words(token.lemma_), filtered_words(token.text)
        tokens += zip(words, forms if len(forms) == len(words) else words, strict=True)
    return tokens


def _cut_long_runs(text: str) -> str:
    return _LONG_RUN.sub(r"\g<0> ", text)


def fit_vocabulary(texts: Sequence[str], pipeline: "Language", settings: TextSettings) -> list[str]:
    """The words whose place in the list is their id, the most frequent first.

    Words of the same frequency stand in order of appearance. Place 0 is padding's, and place 1 the
    unknown words' where they are kept.
    """
    distinct = list(dict.fromkeys(chain.from_iterable(text.split(" ") for text in texts)))
    words = dict(
        zip(distinct, chunk_words(pipeline, distinct, rewrite=settings.rewrite), strict=True)
    )
    counts = Counter(word for text in texts for chunk in text.split(" ") for word in words[chunk])
    reserved = ["", "xxunknown"] if settings.keep_unknown else [""]
    ordered = sorted(counts, key=lambda word: -counts[word])  # stable: ties by appearance
    return (reserved + ordered)[: settings.num_words]


class TextEncoder:
    """Turns texts into word ids, remembering the ids of every chunk it has seen.

    Args:
        pipeline: as saved in the bundle.
        vocabulary: as `fit_vocabulary` gives it.
        memo_size: chunks remembered at most (a tweet has about 15; memory is some 200 bytes each).
            When they are exceeded the memo starts anew, which costs a fraction of a second.
    """

    LONGEST_REMEMBERED = (
        64  # characters; longer chunks hardly come twice, and would take the memory
    )

    def __init__(
        self,
        pipeline: "Language",
        vocabulary: Sequence[str],
        settings: TextSettings,
        memo_size: int = 500_000,
    ) -> None:
        self._pipeline = pipeline
        self._settings = settings
        self._ids = {
            word: place for place, word in enumerate(vocabulary) if place > settings.keep_unknown
        }
        self._memo_size = memo_size
        self._memo: dict[str, tuple[int, ...]] = {}

    def encode(self, texts: Sequence[str]) -> EncodedTexts:
        """The ids of each text, in order.

        Raises:
            ValueError: if spaCy refuses a text (over a million characters, or lone surrogates).
        """
        chunks = [text.split(" ") for text in texts]
        new = list(set(chain.from_iterable(chunks)).difference(self._memo))
        self._remember(new)
        memo = self._memo
        rows = [list(chain.from_iterable([memo[chunk] for chunk in row])) for row in chunks]
        if self._settings.keep_unknown:
            rows = [row or [UNKNOWN_ID] for row in rows]
        lengths = np.fromiter(map(len, rows), np.int32, len(rows))
        ids = np.fromiter(chain.from_iterable(rows), np.int32, int(lengths.sum()))
        self._forget(new)
        return EncodedTexts(ids, lengths)

    def unknown_words(self, encoded: EncodedTexts) -> int:
        """How many of the ids stand for unknown words; 0 where these are left out."""
        return int(np.count_nonzero(encoded.ids == UNKNOWN_ID)) * self._settings.keep_unknown

    def _remember(self, new: Sequence[str]) -> None:
        words = chunk_words(self._pipeline, new, rewrite=self._settings.rewrite)
        unknown = UNKNOWN_ID if self._settings.keep_unknown else PADDING_ID
        for chunk, row in zip(new, words, strict=True):
            ids = [self._ids.get(word, unknown) for word in row]
            self._memo[chunk] = tuple(i for i in ids if i != PADDING_ID)

    def _forget(self, new: Sequence[str]) -> None:
        if len(self._memo) > self._memo_size:
            self._memo.clear()
            return
        for chunk in new:
            if len(chunk) > self.LONGEST_REMEMBERED:
                del self._memo[chunk]


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

"""Text → words: spaCy lemmas, Keras-`Tokenizer` words, chunk by chunk.

The plain path of a text, which `plain_words` spells out, is: rewrite each chunk (if the recipe says
so), cut at the space characters, lemmatize each chunk with spaCy, join the lemmas by spaces, lower
the case, cut at the filter characters.
A run of more than 250 characters without white space is cut into pieces of 250 first, because
spaCy's tokenizer takes quadratic time: 8 s for 10,000 opening brackets, 5 ms for 250, and twice as
much for mixed punctuation.
A chunk is what stands between two space characters. It alone says what its words are, so that
`shared.text.encoder` can remember the numbers of its tokens; tests hold that the outcome is the
same.
Given a text as a whole, spaCy would find the same words but in one case: it looks for its special
cases across a space, too, and where it finds one there, such as `' '` in `the dogs' ''fire''`, it
misses the one with which the second chunk begins, here `''`.

Source of the word ids: `keras.preprocessing.text.Tokenizer` of Keras 2 with its default arguments.
"""

import html
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
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
            network as that, as `shared.text.tokens.Respeller` says; only where n-grams are
            embedded.
    """

    num_words: Annotated[int, Meta(ge=2)]
    keep_unknown: bool
    rewrite: bool
    respell: bool = False


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
    docs = _docs(pipeline, text, rewrite=rewrite)
    return filtered_words(" ".join(token.lemma_ for doc in docs for token in doc))


def plain_tokens(pipeline: "Language", text: str, *, rewrite: bool) -> list[Token]:
    """The tokens of one text by the plain path, with nothing memoised: the reference."""
    return [token for doc in _docs(pipeline, text, rewrite=rewrite) for token in _tokens(doc)]


def _docs(pipeline: "Language", text: str, *, rewrite: bool) -> "list[Doc]":
    if rewrite:
        text = " ".join(rewrite_chunk(chunk) for chunk in text.split(" "))
    return [pipeline(_cut_long_runs(chunk)) for chunk in text.split(" ")]


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

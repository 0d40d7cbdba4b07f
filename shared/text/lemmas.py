"""Text → words: the lemmas of spaCy, cut into words like Keras' `Tokenizer` does.

The words of a text, as `plain_words` finds them without any memory:

1. Rewrite each chunk, if the recipe says so. A chunk is what stands between two space characters.
2. Cut the result at its space characters.
3. Lemmatize each piece with spaCy.
4. Join the lemmas by spaces, in lower case, and cut at the filter characters.

A run of more than 250 characters without white space is cut into pieces of 250 before step 3.
spaCy's tokenizer takes quadratic time: 8 s for 10,000 opening brackets, but 5 ms for 250.

The words of a chunk depend on the chunk alone, so `shared.text.encoder` can remember them. In a
whole text spaCy finds the same words, with one exception: it also looks for its special cases
across spaces. If it finds one, such as `' '` in `the dogs' ''fire''`, it misses the special case at
the start of the second chunk, here `''`.

Source of the word ids: `keras.preprocessing.text.Tokenizer` of Keras 2 with its default arguments.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from shared.text.rewrite import rewrite_chunk

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

Token = tuple[str, str]
"""A word of a lemma, and its form in the text, both in lower case."""

PADDING_ID = 0
UNKNOWN_ID = 1
"""The id of words outside the vocabulary, if `TextSettings.keep_unknown`."""

_FILTER = str.maketrans(dict.fromkeys('!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n', " "))

LONGEST_RUN = 250
_LONG_RUN = re.compile(rf"\S{{{LONGEST_RUN}}}(?=\S)")


class TextSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a recipe turns text into ids.

    Attributes:
        num_words: ids run from 1 to num_words - 1, as in Keras.
        keep_unknown: whether a word outside the vocabulary becomes `UNKNOWN_ID` (Keras calls it an
            `oov_token`) or is dropped. If kept, an empty text is one unknown word.
        rewrite: whether to apply `shared.text.rewrite.rewrite_chunk` first.
        respell: whether to correct the spelling of unknown words, as
            `shared.text.tokens.Respeller` does. Only models with n-grams do.
    """

    num_words: Annotated[int, Meta(ge=2)]
    keep_unknown: bool
    rewrite: bool
    respell: bool = False


def new_pipeline() -> "Language":
    """Create a spaCy pipeline that looks up lemmas in a table, like `spacy.load("en")` in 2019.

    It needs the package spacy-lookups-data.
    """
    pipeline = _empty_pipeline()
    pipeline.initialize()
    return pipeline


_NOT_SAVED = ("vocab", "meta", "config")
"""Parts of the pipeline that are not saved; only the tokenizer's rules and the lemma table are."""


def pipeline_to_bytes(pipeline: "Language") -> bytes:
    """Save the tokenizer's rules and the lemma table, in spaCy's format (msgpack, no code)."""
    return pipeline.to_bytes(exclude=_NOT_SAVED)


def pipeline_from_bytes(data: bytes) -> "Language":
    """Read what `pipeline_to_bytes` saved.

    Raises:
        Exception: of any class, if the data are anything else.
    """
    return _empty_pipeline().from_bytes(data, exclude=_NOT_SAVED)


def _empty_pipeline() -> "Language":
    import spacy  # slow to import (1 s), and a program that only reads a manifest does not need it

    pipeline = spacy.blank("en")
    pipeline.add_pipe("lemmatizer", config={"mode": "lookup"})
    return pipeline


def lemma_table(pipeline: "Language") -> Mapping[str, str]:
    """Return the lemma of each form. A form that is missing is its own lemma."""
    lemmatizer: Any = pipeline.get_pipe("lemmatizer")
    table: Mapping[str, str] = lemmatizer.lookups.get_table("lemma_lookup")
    return table


def filtered_words(text: str) -> list[str]:
    """Cut a text in lower case at filter characters and spaces, like the Keras tokenizer."""
    return [word for word in text.lower().translate(_FILTER).split(" ") if word]


def plain_words(pipeline: "Language", text: str, *, rewrite: bool) -> list[str]:
    """Find the words of one text without any memory. Tests use it as the reference."""
    docs = _docs(pipeline, text, rewrite=rewrite)
    return filtered_words(" ".join(token.lemma_ for doc in docs for token in doc))


def plain_tokens(pipeline: "Language", text: str, *, rewrite: bool) -> list[Token]:
    """Find the tokens of one text without any memory. Tests use it as the reference."""
    return [token for doc in _docs(pipeline, text, rewrite=rewrite) for token in _tokens(doc)]


def _docs(pipeline: "Language", text: str, *, rewrite: bool) -> "list[Doc]":
    if rewrite:
        text = " ".join(rewrite_chunk(chunk) for chunk in text.split(" "))
    return [pipeline(_cut_long_runs(chunk)) for chunk in text.split(" ")]


def _tokens(doc: "Doc") -> list[Token]:
    tokens: list[Token] = []
    for token in doc:
        tokens += _pair(token.lemma_, token.text)
    return tokens


def _pair(lemma: str, form: str) -> list[Token]:
    """Pair the words of a lemma with the words of its form.

    Cut at filter characters, a lemma may have more or fewer words than its form. Then each word is
    its own form.
    """
    words, forms = filtered_words(lemma), filtered_words(form)
    return list(zip(words, forms if len(forms) == len(words) else words, strict=True))


def _cut_long_runs(text: str) -> str:
    return _LONG_RUN.sub(r"\g<0> ", text)


def fit_vocabulary(texts: Sequence[str], pipeline: "Language", settings: TextSettings) -> list[str]:
    """List the words of the texts, the most frequent first, each at the index that is its id.

    Words of the same frequency are in order of appearance. Index 0 is padding's. Index 1 is the
    unknown words', if these are kept.
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
    """Count each chunk, in order of appearance."""
    return Counter(chain.from_iterable(text.split(" ") for text in texts))


class ChunkTokens:
    """Finds the tokens of one chunk at a time, without any memory.

    A word of ASCII letters is one token unless it is one of spaCy's special cases, because each
    pattern by which spaCy cuts needs another character. Its lemma is looked up without the
    tokenizer. Tests prove both.

    Attributes:
        lemmatized: the number of pieces that spaCy was given.
    """

    def __init__(self, pipeline: "Language", *, rewrite: bool) -> None:
        self._pipeline = pipeline
        self._rewrite = rewrite
        tokenizer: Any = pipeline.tokenizer
        self._special_cases = frozenset(tokenizer.rules)
        self._lemmas = lemma_table(pipeline)
        self.lemmatized = 0

    def __call__(self, chunk: str) -> list[Token]:
        """Find the tokens of a chunk. Call it within the pipeline's memory zone."""
        return [token for piece in self.pieces(chunk) for token in self.of_piece(piece)]

    def pieces(self, chunk: str) -> list[str]:
        """Rewrite a chunk and cut it at its spaces. Most links and names become the same piece."""
        return rewrite_chunk(chunk).split(" ") if self._rewrite else [chunk]

    def of_piece(self, piece: str) -> list[Token]:
        """Find the tokens of a piece."""
        if (
            piece.isascii()
            and piece.isalpha()
            and len(piece) <= LONGEST_RUN
            and piece not in self._special_cases
        ):
            return _pair(self._lemmas.get(piece, piece), piece)
        self.lemmatized += 1
        return _tokens(self._pipeline(_cut_long_runs(piece)))

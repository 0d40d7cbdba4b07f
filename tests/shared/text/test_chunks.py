"""Chunks: each is given to spaCy once at most, and what is not gives what spaCy would give."""

import gzip
import itertools
import json
import random
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from spacy.language import Language
from spacy.tokens import Doc

from shared.text.encoder import ChunkMemo
from shared.text.lemmas import (
    ChunkTokens,
    TextSettings,
    Token,
    filtered_words,
    pipeline_from_bytes,
    pipeline_to_bytes,
    plain_tokens,
    plain_words,
)
from shared.text.rewrite import rewrite_chunk
from tests.shared.text.test_text import AWKWARD, awkward_texts, rows_of, word_encoder

PARTS = "http:// https:// www. t.co/ @ # &amp; &nbsp; & 1 22 \u0663 , . : / _ - a Bc ddd é xxurl"


@given(st.lists(st.sampled_from([*PARTS.split(), *"\n\t\xa0\u2028"]), max_size=6).map("".join))
@example("https://t.co/1")
@example("@user_1")
@example("1,234.5")
@settings(max_examples=2000)
def test_a_chunk_is_rewritten_as_it_is_behind_a_bracket(chunk: str) -> None:
    """A bracket keeps it from a short cut for links, mentions and numbers and changes nothing."""
    assert "(" + rewrite_chunk(chunk) == rewrite_chunk("(" + chunk)


def words_of_whole(pipeline: Language, text: str) -> list[str]:
    """Return the words that spaCy finds in a whole text."""
    return filtered_words(" ".join(token.lemma_ for token in pipeline(text)))


def test_spacys_special_cases_hold_within_a_chunk(pipeline: Language) -> None:
    """spaCy also looks for its special cases over several tokens, which must not cross a space."""
    tokenizer: Any = pipeline.tokenizer
    cases = [case for case in tokenizer.rules if len(case) > 1]
    texts = [f"{case[:cut]} {case[cut:]}" for case in cases for cut in range(1, len(case))]
    assert len(texts) > 1000
    tokens_of = ChunkTokens(pipeline, rewrite=False)
    for text in texts:
        words = [word for chunk in text.split(" ") for word, _ in tokens_of(chunk)]
        assert words == words_of_whole(pipeline, text), text


@pytest.fixture(scope="module")
def cut_at_a_quote(pipeline: Language) -> Callable[[str], bool]:
    """Return a check: does a space cut a special case at a quote that begins another one?"""
    tokenizer: Any = pipeline.tokenizer
    cases = [case for case in tokenizer.rules if len(case) > 1]
    cuts = {
        (case[:at], other)
        for case in cases
        for at in range(1, len(case))
        if {"'", "’"} & {case[:at], case[at]}
        for other in cases
        if other.startswith(case[at:])
    }

    def found(text: str) -> bool:
        chunks = itertools.pairwise(text.split(" "))
        return any(a.endswith(end) and b.startswith(case) for a, b in chunks for end, case in cuts)

    return found


QUOTED = st.lists(
    st.sampled_from(["'", "’", "''", "’’", "'d", "d.", "Goin", "ol", ".", "fire", " ", " ", " "])
    | st.sampled_from(AWKWARD),
    max_size=12,
).map("".join)


@given(awkward_texts | QUOTED, st.booleans())
@settings(max_examples=300, deadline=None)
def test_spacy_finds_the_same_words_in_the_text_as_a_whole(
    pipeline: Language, cut_at_a_quote: Callable[[str], bool], text: str, rewrite: bool
) -> None:
    whole = " ".join(map(rewrite_chunk, text.split(" "))) if rewrite else text
    whole = re.sub(r"\S{250}(?=\S)", r"\g<0> ", whole)
    assume(not cut_at_a_quote(whole))
    assert plain_words(pipeline, text, rewrite=rewrite) == words_of_whole(pipeline, whole)


@pytest.mark.parametrize(
    ("text", "words", "of_whole"),
    [
        ("dogs' ''fire'' is", "dog ' '' fire '' be", "dog ' ' ' fire '' be"),
        ("Goin ''b", "goin '' b", "goin ' ' b"),
        ("' 'd''", "' would ''", "' ' have ''"),
    ],
)
def test_but_where_a_space_cuts_a_special_case_at_a_quote(
    pipeline: Language,
    cut_at_a_quote: Callable[[str], bool],
    text: str,
    words: str,
    of_whole: str,
) -> None:
    assert cut_at_a_quote(text)
    assert plain_words(pipeline, text, rewrite=False) == words.split()
    assert words_of_whole(pipeline, text) == of_whole.split()


def test_words_that_spacy_is_not_asked_for_are_what_it_would_say(pipeline: Language) -> None:
    tokenizer: Any = pipeline.tokenizer
    table = resources.files("spacy_lookups_data").joinpath("data/en_lemma_lookup.json.gz")
    known = list(json.loads(gzip.decompress(table.read_bytes())))
    source = random.Random(1024)
    words = [word for word in source.sample(known, 5000) if word.isascii() and word.isalpha()]
    words += [case for case in tokenizer.rules if case.isascii() and case.isalpha()]
    words += map(str.upper, words[:500])
    words += ["".join(source.choices(string.ascii_letters, k=1 + n % 20)) for n in range(5000)]
    words += ["".join(pair) for pair in itertools.product(string.ascii_letters, repeat=2)]
    assert len(words) > 12_000
    tokens_of = ChunkTokens(pipeline, rewrite=False)
    with pipeline.memory_zone():
        expected = [plain_tokens(pipeline, word, rewrite=False) for word in words]
        assert [tokens_of(word) for word in words] == expected
        assert tokens_of.lemmatized == sum(word in tokenizer.rules for word in words) > 0
        assert tokens_of("cannot") == [("can", "can"), ("not", "not")]


def test_spacys_patterns_do_not_cut_between_letters(pipeline: Language) -> None:
    tokenizer: Any = pipeline.tokenizer
    for letters in (string.ascii_lowercase, string.ascii_uppercase, string.ascii_letters * 5):
        for size in (1, 2, 3, 26, 250):
            for start in range(len(letters)):
                piece = letters[start : start + size]
                assert not tokenizer.prefix_search(piece), piece
                assert not tokenizer.suffix_search(piece), piece
                assert not list(tokenizer.infix_finditer(piece)), piece


@Language.component("test_log")
def log_texts(doc: Doc) -> Doc:
    LOG.append(doc.text)
    return doc


LOG: list[str] = []


@pytest.fixture
def logging_pipeline(pipeline: Language) -> Language:
    """Return a pipeline that appends each of its texts to `LOG`."""
    copy = pipeline_from_bytes(pipeline_to_bytes(pipeline))
    copy.add_pipe("test_log")
    LOG.clear()
    return copy


def test_a_piece_is_lemmatized_once(logging_pipeline: Language) -> None:
    choice = TextSettings(num_words=10, keep_unknown=False, rewrite=True)
    encoder = word_encoder(logging_pipeline, ["", "fire", "in", "e"], choice)
    assert rows_of(encoder.encode(["fires! in", "in é fires!"])) == [[1, 2], [2, 1]]
    assert sorted(LOG) == ["fires!", "é"]  # what is a word is not given to spaCy
    assert rows_of(encoder.encode(["é fires! in", "é #in_fires!"])) == [[1, 2], [2, 1]]
    assert sorted(LOG) == ["", "!", "fires!", "é"]


def test_long_chunks_are_not_remembered(logging_pipeline: Language) -> None:
    choice = TextSettings(num_words=10, keep_unknown=True, rewrite=False)
    kept, long = "é" * ChunkMemo.LONGEST_REMEMBERED, "è" * (ChunkMemo.LONGEST_REMEMBERED + 1)
    encoder = word_encoder(logging_pipeline, ["", "xxunknown", kept, long], choice)
    for _ in range(3):
        assert rows_of(encoder.encode([f"{kept} {long}", long])) == [[2, 3], [3]]
    assert Counter(LOG) == {kept: 1, long: 6}


def test_what_comes_again_stays_in_memory(logging_pipeline: Language) -> None:
    choice = TextSettings(num_words=10, keep_unknown=False, rewrite=False)
    vocabulary = ["", "åsh", "büs", "cär", "däm", "ën", "fög", "gün"]
    encoder = word_encoder(logging_pipeline, vocabulary, choice, memo_size=3)
    assert rows_of(encoder.encode(["åsh büs cär"])) == [[1, 2, 3]]
    assert rows_of(encoder.encode(["däm"])) == [[4]]  # one too many for a generation
    assert rows_of(encoder.encode(["cär åsh", "åsh"])) == [[3, 1], [1]]
    assert rows_of(encoder.encode(["ën fög gün"])) == [[5, 6, 7]]  # the next is too large, too
    assert Counter(LOG) == dict.fromkeys(vocabulary[1:], 1)
    assert rows_of(encoder.encode(["åsh büs cär däm"])) == [[1, 2, 3, 4]]
    assert Counter(LOG) == dict.fromkeys(vocabulary[1:], 1) | {"büs": 2, "däm": 2}


class ShortLived(ChunkMemo):
    PIPELINE_LIFE = 100


def test_a_renewed_pipeline_gives_the_same_numbers(pipeline: Language, sample: list[str]) -> None:
    def number(tokens: Sequence[Token]) -> list[int]:
        return [crc32(repr(token).encode()) >> 1 for token in tokens]

    kept = ChunkMemo(pipeline, number, rewrite=True, empty=[], size=10_000)
    renewed = ShortLived(pipeline, number, rewrite=True, empty=[], size=100)
    pipelines = set()
    for start in range(0, 80, 20):
        texts = sample[start : start + 20]
        for found, expected in zip(renewed.encode(texts), kept.encode(texts), strict=True):
            np.testing.assert_array_equal(found, expected)
        pipelines.add(renewed._pipeline)
    assert len(pipelines) > 1

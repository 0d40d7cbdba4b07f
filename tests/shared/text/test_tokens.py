"""Tokens: the memoised path gives what a token's text alone says, whatever came before."""

from collections.abc import Sequence
from zlib import crc32

import numpy as np
import pytest
from spacy.language import Language

from shared.text.encoder import UNKNOWN_TOKEN, EncodedTexts, Encoder
from shared.text.lemmas import TextSettings, Token, plain_tokens, plain_words
from shared.text.tokens import (
    NGRAM_BUCKETS,
    VECTOR_SCALE,
    Features,
    Featurizer,
    Respeller,
    WordVectors,
    ngram_ids,
)
from tests.shared.text.test_text import AWKWARD

SETTINGS = TextSettings(num_words=100, keep_unknown=True, rewrite=True)
VOCABULARY = ["", "xxunknown", "fire", "be", "the", "xxurl"]
VECTORS = WordVectors(["burning", "fire", "the"], np.eye(3, 4, dtype=np.float16))


@pytest.fixture(scope="module")
def texts(sample: list[str]) -> list[str]:
    """Return tweets, awkward strings, and all awkward strings in one text."""
    return [*sample, *AWKWARD, " ".join(AWKWARD), "", "  "]


def columns_of(features: Features) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Return all features of tokens, side by side."""
    columns = (features.words[:, None], features.ngrams, features.vectors)
    return np.concatenate(columns, axis=1).astype(np.float32)


def tokens_of(encoded: EncodedTexts) -> list[list[Token]]:
    assert encoded.ids.dtype == encoded.lengths.dtype == np.int32
    tokens = [("", ""), *encoded.table.tokens]
    rows = np.split(encoded.ids, np.cumsum(encoded.lengths)[:-1])
    return [[tokens[number] for number in row] for row in rows]


@pytest.mark.parametrize("rewrite", [False, True])
def test_tokens_are_the_words_and_the_forms_that_they_stand_for(
    pipeline: Language, texts: list[str], rewrite: bool
) -> None:
    for text in texts:
        tokens = plain_tokens(pipeline, text, rewrite=rewrite)
        assert [word for word, _ in tokens] == plain_words(pipeline, text, rewrite=rewrite)


def test_tokens_of_a_tweet(pipeline: Language) -> None:
    found = plain_tokens(pipeline, "fires were burning 3 houses #ForestFire", rewrite=True)
    assert found == [
        ("fire", "fires"),
        ("be", "were"),
        ("burn", "burning"),
        ("xxnumber", "xxnumber"),
        ("house", "houses"),
        ("xxhashtag", "xxhashtag"),
        ("forest", "forest"),
        ("fire", "fire"),
    ]


@pytest.mark.parametrize(("batch", "memo", "table"), [(7, 50, 60), (1000, 500_000, 65_536)])
def test_the_memo_changes_nothing(
    pipeline: Language, texts: list[str], batch: int, memo: int, table: int
) -> None:
    featurizer = Featurizer(VOCABULARY, VECTORS)
    encoder = Encoder(pipeline, SETTINGS, featurizer, columns_of, memo, table)
    expected = [plain_tokens(pipeline, t, rewrite=True) or [UNKNOWN_TOKEN] for t in texts]
    held = []
    for start in range(0, len(texts), batch):
        encoded = encoder.encode(texts[start : start + batch])
        held.append(encoded)
        assert tokens_of(encoded) == expected[start : start + batch]
    # What was encoded before the memo began anew is still valid, and a token's row is its own.
    for start, encoded in zip(range(0, len(texts), batch), held, strict=True):
        assert tokens_of(encoded) == expected[start : start + batch]
        alone = [token for row in expected[start : start + batch] for token in row]
        np.testing.assert_array_equal(
            encoded.table.rows[encoded.ids], columns_of(featurizer(alone))
        )
        words = sum(word not in VOCABULARY[2:] for word, _ in alone)
        assert encoder.unknown_words(encoded).sum() == words
    assert len({id(encoded.table) for encoded in held}) > 1 or table > 60


def test_a_new_table_takes_over_the_rows_of_tokens_that_come_again(pipeline: Language) -> None:
    computed: list[int] = []

    def counting(features: Features) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        computed.append(len(features.words))
        return columns_of(features)

    encoder = Encoder(pipeline, SETTINGS, Featurizer(VOCABULARY, VECTORS), counting, 100, 5)
    first = encoder.encode(["fire in the storm"])
    computed.clear()
    second = encoder.encode(["storm smoke fire", "storm"])
    assert computed == [1]  # smoke
    assert second.table is not first.table
    assert tokens_of(second) == [
        [("storm", "storm"), ("smoke", "smoke"), ("fire", "fire")],
        [("storm", "storm")],
    ]
    expected = columns_of(
        Featurizer(VOCABULARY, VECTORS)([t for row in tokens_of(second) for t in row])
    )
    np.testing.assert_array_equal(second.table.rows[second.ids], expected)
    assert encoder.unknown_words(second).tolist() == [2, 1]  # storm and smoke; storm


def reference_ngrams(form: str) -> list[int]:
    marked = "<" + form + ">"
    threes = [marked[i : i + 3] for i in range(max(0, len(marked) - 2))]
    fours = [marked[i : i + 4] for i in range(max(0, len(marked) - 3))]
    return [crc32(gram.encode()) % NGRAM_BUCKETS + 1 for gram in threes + fours][:14]


@pytest.mark.parametrize("form", ["", "a", "of", "fire", "evacuation", "é🔥", "a" * 250])
def test_ngrams(form: str) -> None:
    assert ngram_ids(form) == reference_ngrams(form)


def test_features() -> None:
    tokens: Sequence[Token] = [("burn", "burning"), ("fire", "fires"), ("smoke", "smoke")]
    features = Featurizer(VOCABULARY, VECTORS)(tokens)
    assert features.words.tolist() == [1, 2, 1]  # burn and smoke are unknown
    for row, (_, form) in zip(features.ngrams.tolist(), tokens, strict=True):
        assert row == (reference_ngrams(form) + [0] * 14)[:14]
    expected = np.zeros((3, 4))
    expected[0, 0] = expected[1, 1] = VECTOR_SCALE  # of the form, or else of the lemma
    np.testing.assert_allclose(features.vectors, expected, rtol=1e-6)
    assert Featurizer(VOCABULARY, None)(tokens).vectors.shape == (3, 0)


@pytest.mark.parametrize(
    ("form", "meant"),
    [
        ("earhtquake", ("earthquake", "earthquake")),  # changed places
        ("flloods", ("flood", "floods")),  # one too many, and the lemma of what was meant
        ("evacuatedd", ("evacuate", "evacuated")),
        ("srtorm", ("storm", "storm")),  # the more frequent of storm and strom
        ("floods", ("floods", "floods")),  # is known
        ("eathquake", ("eathquake", "eathquake")),  # one is missing
        ("fiire", ("fire", "fire")),
        ("frie", ("frie", "frie")),  # too short
        ("fiire1", ("fiire1", "fiire1")),
    ],
)
def test_a_slip_of_the_typist(form: str, meant: Token) -> None:
    known = ("fire", "storm", "strom", "earthquake", "floods", "evacuated")
    lemmas = {"floods": "flood", "evacuated": "evacuate"}
    respell = Respeller({word: rank for rank, word in enumerate(known)}, lemmas)
    assert respell((form, form)) == meant


def test_respelt_features_are_those_of_the_word_that_was_meant() -> None:
    said: Sequence[Token] = [("buring", "buring"), ("bruning", "bruning"), ("bur", "bur")]
    meant: Sequence[Token] = [("buring", "buring"), ("burn", "burning"), ("bur", "bur")]
    lemmas = {"burning": "burn"}
    found, expected = (Featurizer(VOCABULARY, VECTORS, lemmas)(some) for some in (said, meant))
    np.testing.assert_array_equal(found.words, expected.words)
    np.testing.assert_array_equal(found.ngrams, expected.ngrams)
    np.testing.assert_array_equal(found.vectors, expected.vectors)
    unspelt = Featurizer(VOCABULARY, VECTORS)(said)
    assert (unspelt.ngrams[1] != found.ngrams[1]).any()

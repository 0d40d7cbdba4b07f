import csv
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.language import Language

from shared.arrays import Floats
from shared.model.keras_model import import_keras
from shared.text.encoder import MEMO_SIZE, EncodedTexts, Encoder, pad
from shared.text.lemmas import (
    UNKNOWN_ID,
    TextSettings,
    filtered_words,
    fit_vocabulary,
    pipeline_to_bytes,
    plain_words,
)
from shared.text.rewrite import rewrite_chunk
from shared.text.tokens import Features, Featurizer
from trainer.fit import recipes

AWKWARD = [
    *("😂", "👩‍👩‍👧‍👦", "🇯🇵", "🏳️‍🌈", "مرحبا بالعالم", "שלום", "\u202eabc\u202c"),
    *("e\u0301", "Z̸a̷l̴g̶o̸", "\u0345", "ΑΣ", "Σ"),
    *("İ", "ß", "ﬁ", "\u200b", "\u200d", "\u2060", "\ufeff", "\x00", "\ufffd", "\U0010ffff"),
    *(" ", "  ", "\n", "\r", "\r\n", "\t", "\x0b", "\x0c", "\x1c", "\x1f", "\x85", "\xa0"),
    *("\u1680", "\u2003", "\u2028", "\u3000"),
    *("a" * 249, "b" * 250, "c" * 251, "(" * 600, "é" * 64, "x" * 65, "sooooo", "ЯЯЯЯ"),
    *("!!!???", "...", "…", "——", "'", "''"),
    *("don't", "DON'T", "can’t", "I'd've", "gonna", "y'all'll", "it's", "U.S.", "a.m."),
    *("10am", "5'11\"", "$1,000.50", "10:30"),
    *(":)", ":-(", "<3", "xD", "¯\\(ツ)/¯", "(╯°□°）╯︵┻━┻", "\\n", "&amp;", "&lt;3"),
    *("&#39;", "&nbsp;", "&#x1F525;"),
    *("http://t.co/aB1", "https://x.org/?q=a b", "www.example.com.", "@user", "a@b.org"),
    *("#OhNo", "#9Dead", "#a_b", "##", "@", "#"),
    *("Fires", "were", "burning", "xxunknown", "xxurl", "_", "-", "well-known", "and/or"),
    *("B-52s", "C++", "cannot", "'Cause"),
]  # fmt: skip


def word_encoder(
    pipeline: Language, vocabulary: Sequence[str], choice: TextSettings, memo_size: int = MEMO_SIZE
) -> Encoder:
    """Return an encoder whose table holds the word id of each token."""
    featurizer = Featurizer(vocabulary, None, keep_unknown=choice.keep_unknown)
    return Encoder(pipeline, choice, featurizer, word_ids, memo_size)


def word_ids(features: Features) -> Floats:
    return features.words[:, None].astype(np.float32)


def rows_of(encoded: EncodedTexts) -> list[list[int]]:
    """Return the word ids of each text."""
    assert encoded.ids.dtype == encoded.lengths.dtype == np.int32
    assert encoded.lengths.sum() == len(encoded.ids)
    ids = encoded.table.rows[encoded.ids, 0].astype(int)
    return [row.tolist() for row in np.split(ids, np.cumsum(encoded.lengths)[:-1])]


def looked_up(words: list[str], vocabulary: Sequence[str], keep_unknown: bool) -> list[int]:
    """Return the word ids of a text by the plainest reading of `TextSettings`."""
    if not keep_unknown:
        ids = {word: place for place, word in enumerate(vocabulary) if place > 0}
        return [ids[word] for word in words if word in ids]
    ids = {word: place for place, word in enumerate(vocabulary) if place > 1}
    return [ids.get(word, UNKNOWN_ID) for word in words] or [UNKNOWN_ID]


def hold_against_plain_path(
    pipeline: Language, texts: list[str], choice: TextSettings, batch_size: int
) -> None:
    vocabulary = fit_vocabulary(texts, pipeline, choice)
    assert len(vocabulary) == choice.num_words  # so that some words are outside it
    words = [plain_words(pipeline, text, rewrite=choice.rewrite) for text in texts]
    expected = [looked_up(row, vocabulary, choice.keep_unknown) for row in words]
    encoder = word_encoder(pipeline, vocabulary, choice)
    for _ in range(2):
        batches = range(0, len(texts), batch_size)
        found = [encoder.encode(texts[start : start + batch_size]) for start in batches]
        assert [row for encoded in found for row in rows_of(encoded)] == expected
    assert rows_of(encoder.encode(texts)) == expected


@pytest.mark.parametrize("rewrite", [False, True])
@pytest.mark.parametrize("keep_unknown", [False, True])
def test_sample_encodes_as_by_the_plain_path(
    pipeline: Language, sample: list[str], rewrite: bool, keep_unknown: bool
) -> None:
    choice = TextSettings(num_words=800, keep_unknown=keep_unknown, rewrite=rewrite)
    hold_against_plain_path(pipeline, sample, choice, batch_size=1)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", recipes.names())
def test_published_set_encodes_as_by_the_plain_path(
    pipeline: Language, published: Path, recipe: str
) -> None:
    with published.open(encoding="latin-1", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    assert len(texts) > 10_000
    hold_against_plain_path(pipeline, texts, recipes.load_recipe(recipe).text, batch_size=333)


def test_recipes_rewrite_and_do_not() -> None:
    assert {recipes.load_recipe(name).text.rewrite for name in recipes.names()} == {False, True}


awkward_texts = st.lists(
    st.one_of(st.sampled_from(AWKWARD), st.sampled_from(AWKWARD), st.text(max_size=12)), max_size=9
).map("".join)


@given(st.lists(awkward_texts, min_size=1, max_size=4), st.booleans(), st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_text_encodes_as_by_the_plain_path(
    pipeline: Language, texts: list[str], rewrite: bool, keep_unknown: bool
) -> None:
    choice = TextSettings(num_words=10_000, keep_unknown=keep_unknown, rewrite=rewrite)
    words = [plain_words(pipeline, text, rewrite=rewrite) for text in texts]
    distinct = dict.fromkeys(word for row in words for word in row)
    reserved = ["", "xxunknown"] if keep_unknown else [""]
    # With every word known, another word than the plain path's cannot pass for an unknown one.
    for vocabulary in (reserved + list(distinct), reserved + list(distinct)[::2]):
        encoder = word_encoder(pipeline, vocabulary, choice, memo_size=20)
        expected = [looked_up(row, vocabulary, keep_unknown) for row in words]
        assert rows_of(encoder.encode(texts)) == expected
        assert rows_of(encoder.encode(texts[::-1])) == expected[::-1]


@given(st.lists(awkward_texts, max_size=4), st.booleans())
@settings(max_examples=100, deadline=None)
def test_vocabulary_is_the_plain_words_by_frequency(
    pipeline: Language, texts: list[str], rewrite: bool
) -> None:
    counts = Counter(
        word for text in texts for word in plain_words(pipeline, text, rewrite=rewrite)
    )
    choice = TextSettings(num_words=10_000, keep_unknown=False, rewrite=rewrite)
    expected = ["", *(word for word, _ in counts.most_common())]
    assert fit_vocabulary(texts, pipeline, choice) == expected


def test_long_runs_do_not_reach_the_tokenizer_whole(pipeline: Language) -> None:
    choice = TextSettings(num_words=10, keep_unknown=True, rewrite=False)
    words = ["a", "z"]
    encoder = word_encoder(pipeline, ["", "xxunknown", *words], choice)
    for text in ("[" * 2_500, "(" * 1_249 + " a " + ")" * 1_248, "[" * 2_499 + "z"):
        expected = looked_up(plain_words(pipeline, text, rewrite=False), ["", "?", *words], True)
        assert rows_of(encoder.encode([text])) == [expected]
    long = "w" * 1001
    assert plain_words(pipeline, long, rewrite=False) == ["w" * 250] * 4 + ["w"]
    assert plain_words(pipeline, "w" * 250, rewrite=False) == ["w" * 250]


def lemmatized(pipeline: Language, text: str) -> str:
    return " ".join(token.lemma_ for token in pipeline(text))


def keras_tokenizer(num_words: int, oov_token: str | None) -> Any:
    import_keras()
    from tensorflow.keras.preprocessing.text import Tokenizer

    return Tokenizer(num_words=num_words, oov_token=oov_token)


@pytest.mark.parametrize("keep_unknown", [False, True])
@pytest.mark.parametrize("num_words", [2, 300, 100_000])
def test_ids_are_those_of_the_keras_tokenizer(
    pipeline: Language, sample: list[str], num_words: int, keep_unknown: bool
) -> None:
    fitted_on, others = sample[::2], [*sample[1::2], "unheard-of wörds only"]
    choice = TextSettings(num_words=num_words, keep_unknown=keep_unknown, rewrite=False)
    vocabulary = fit_vocabulary(fitted_on, pipeline, choice)
    keras = keras_tokenizer(num_words, "xxunknown" if keep_unknown else None)
    keras.fit_on_texts([lemmatized(pipeline, text) for text in fitted_on])

    names = ["", *sorted(keras.word_index, key=keras.word_index.get)]
    assert vocabulary == names[:num_words]
    encoder = word_encoder(pipeline, vocabulary, choice)
    for texts in (fitted_on, others):
        expected = keras.texts_to_sequences([lemmatized(pipeline, text) for text in texts])
        assert rows_of(encoder.encode(texts)) == expected
    assert others[-1] == "unheard-of wörds only"
    assert (UNKNOWN_ID in expected[-1]) == keep_unknown


@given(st.lists(awkward_texts.filter(lambda text: "xxunknown" not in text), max_size=4))
@settings(max_examples=100, deadline=None)
def test_filtered_words_are_those_of_the_keras_tokenizer(texts: list[str]) -> None:
    keras = keras_tokenizer(10_000, None)
    keras.fit_on_texts(texts)
    words = [filtered_words(text) for text in texts]
    assert list(keras.word_counts) == list(dict.fromkeys(word for row in words for word in row))
    expected = keras.texts_to_sequences(texts)
    assert [[keras.word_index[word] for word in row] for row in words] == expected


def test_empty_text_is_one_unknown_word_or_nothing(pipeline: Language) -> None:
    for keep_unknown, expected in ((False, []), (True, [UNKNOWN_ID])):
        choice = TextSettings(num_words=10, keep_unknown=keep_unknown, rewrite=True)
        encoder = word_encoder(pipeline, ["", "xxunknown", "word"], choice)
        assert rows_of(encoder.encode(["", "  ", "!?"])) == [expected] * 3
        assert rows_of(encoder.encode([])) == [[]]  # np.split of nothing is one empty row
        assert len(encoder.encode([]).lengths) == 0


def test_over_a_million_characters_are_refused(pipeline: Language) -> None:
    choice = TextSettings(num_words=10, keep_unknown=True, rewrite=False)
    encoder = word_encoder(pipeline, ["", "xxunknown", "a"], choice)
    with pytest.raises(ValueError, match="1000000"):
        encoder.encode(["fine", "a" * 1_100_000])
    assert rows_of(encoder.encode(["a fine"])) == [[2, UNKNOWN_ID]]


@given(st.lists(st.lists(st.integers(1, 9), max_size=9), max_size=6), st.integers(1, 10))
@settings(max_examples=200, deadline=None)
def test_pad_is_keras_pad_sequences(rows: list[list[int]], length: int) -> None:
    flat = np.array([i for row in rows for i in row], np.int32)
    lengths = np.array([len(row) for row in rows], np.int32)
    pad_sequences = import_keras().utils.pad_sequences
    for left, side in ((True, "pre"), (False, "post")):
        padded = pad(flat, lengths, length, left=left)
        assert padded.dtype == np.int32
        assert padded.shape == (len(rows), length)
        if rows:
            expected = pad_sequences(rows, maxlen=length, padding=side, truncating=side)
            np.testing.assert_array_equal(padded, expected)


def test_saved_pipeline_needs_no_lookup_tables(
    pipeline: Language, sample: list[str], tmp_path: Path
) -> None:
    """Where spacy-lookups-data cannot be imported, the saved pipeline gives the same words."""
    texts = [*sample[:100], *AWKWARD]
    (tmp_path / "pipeline").write_bytes(pipeline_to_bytes(pipeline))
    (tmp_path / "texts").write_text(json.dumps(texts))
    script = """
import json, pathlib, sys
sys.modules["spacy_lookups_data"] = None
from shared.text.lemmas import new_pipeline, pipeline_from_bytes, plain_words
folder = pathlib.Path(sys.argv[1])
try:
    new_pipeline()
except Exception:
    print("no tables here")
pipeline = pipeline_from_bytes((folder / "pipeline").read_bytes())
for text in json.loads((folder / "texts").read_text()):
    print(ascii(plain_words(pipeline, text, rewrite=True)))
"""
    command = [sys.executable, "-W", "ignore", "-c", script, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    words = [ascii(plain_words(pipeline, text, rewrite=True)) for text in texts]
    assert done.stdout.splitlines() == ["no tables here", *words]


@pytest.mark.parametrize(
    ("chunk", "words"),
    [
        ("", ""),
        ("Fire", "Fire"),
        ("soooo", "soo"),
        ("SOOOOON!!!!", "SOON!!!!"),
        ("aaabbb", "aabb"),
        ("brééééf", "brééf"),
        ("http://t.co/a1?b=2", "xxurl"),
        ("(www.example.com/x)", "( xxurl"),
        ("see:https://x.org", "see: xxurl"),
        ("@some_one:", "xxuser :"),
        ("me@home.org", "me@home.org"),
        ("#ForestFire", "xxhashtag Forest Fire"),
        ("#USAStrong_now", "xxhashtag USA Strong now"),
        ("#ABCNews", "xxhashtag ABC News"),
        ("#flood2", "xxhashtag flood2"),
        ("a#b", "a#b"),
        ("&amp;", "&"),
        ("&lt;3", "< xxnumber"),
        ("12,500", "xxnumber"),
        ("10:30pm", "xxnumber pm"),
        ("6.1-magnitude", "xxnumber -magnitude"),
        ("B5", "B5"),
        ("2nd", "xxnumber nd"),
        ("5555", "xxnumber"),
        ("....", "...."),
    ],
)
def test_rewrite_chunk(chunk: str, words: str) -> None:
    assert " ".join(rewrite_chunk(chunk).split()) == words

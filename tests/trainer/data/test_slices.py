"""Slices of labelled tweets, and which of them repeat training texts."""

import tracemalloc
from pathlib import Path

import msgspec
import numpy as np
import pytest

from shared.bundle.files import TRAINED_ON, read_manifest
from tests.conftest import SAMPLE, Trained
from trainer.data.dataset import Dataset
from trainer.data.duplicates import (
    Mask,
    held_out_rows,
    near_duplicates,
    similar_to_any,
    trained_on,
    without_repeats,
)
from trainer.data.read import read_dataset
from trainer.data.same_text import normalized_hashes, word_hashes
from trainer.data.slices import FEWEST, KEYWORD, Slice, slices
from trainer.data.split import cut_test


@pytest.fixture(scope="module")
def sample() -> Dataset:
    return read_dataset(SAMPLE)


def made(texts: list[str], agreement: list[float], keywords: list[str]) -> Dataset:
    labels = np.arange(len(texts), dtype=np.int8) % 2
    return Dataset("made.csv", texts, labels, np.array(agreement, np.float32), "", keywords)


def by_name(found: list[Slice]) -> dict[tuple[str, str], list[bool]]:
    return {(slice_.group, slice_.name): slice_.rows.tolist() for slice_ in found}


class TestSlices:
    def test_every_kind(self) -> None:
        texts = ["short", "word " * 12, "word " * 13, "word " * 18, "word " * 19]
        dataset = made(texts, [1, 0.7, 1, 1, 0.5], [])
        repeated: Mask = np.array([True, False, False, False, True])
        similar: Mask = np.array([True, False, True, False, True])
        assert by_name(slices(dataset, np.arange(5), repeated, similar)) == {
            ("annotators", "unanimous"): [True, False, True, True, False],
            ("annotators", "not unanimous"): [False, True, False, False, True],
            ("training texts", "not repeated in training"): [False, True, True, True, False],
            ("training texts", "repeated in training"): [True, False, False, False, True],
            ("training texts", "no near-duplicate in training"): [False, True, False, True, False],
            ("training texts", "near-duplicate in training"): [True, False, True, False, True],
            ("length", "1 to 12 words"): [True, True, False, False, False],
            ("length", "13 to 18 words"): [False, False, True, True, False],
            ("length", "19 words or more"): [False, False, False, False, True],
        }

    def test_what_holds_no_row_or_every_row_is_no_slice(self) -> None:
        dataset = made(["one", "two"], [1, 1], [])
        assert slices(dataset, np.arange(2), np.zeros(2, np.bool_)) == []
        assert slices(dataset, np.arange(2), None) == []

    def test_keywords_of_enough_rows(self) -> None:
        keywords = ["fire"] * FEWEST + ["flood"] * (FEWEST - 1) + [""] * 3
        dataset = made(["a tweet"] * len(keywords), [1] * len(keywords), keywords)
        rows = np.arange(len(keywords))[::-1]
        found = by_name(slices(dataset, rows, None))
        assert list(found) == [(KEYWORD, "none"), (KEYWORD, "fire")]
        assert found[KEYWORD, "fire"] == [False] * (FEWEST + 2) + [True] * FEWEST
        assert sum(found[KEYWORD, "none"]) == 3


class TestHeldOut:
    def test_test_part_of_the_model_s_own_data(self, trained: Trained, sample: Dataset) -> None:
        manifest = read_manifest(trained.bundles / "LSTM")
        rows, test_part = held_out_rows(sample, [manifest])
        assert test_part
        held_out = read_dataset(trained.held_out)
        assert [sample.texts[row] for row in rows] == held_out.texts
        assert manifest.data["test"] == len(rows)

    def test_every_row_of_other_data(self, trained: Trained) -> None:
        manifest = read_manifest(trained.bundles / "LSTM")
        other = read_dataset(trained.held_out)
        assert not trained_on(manifest, other)
        rows, test_part = held_out_rows(other, [manifest])
        assert (rows.tolist(), test_part) == (list(range(len(other.texts))), False)

    def test_near_duplicates_are_the_same_by_rows_and_by_hashes(
        self, trained: Trained, sample: Dataset
    ) -> None:
        """The bundle's hashes say of any file what the data itself says of its test part."""
        bundle = trained.bundles / "LSTM"
        manifest = read_manifest(bundle)
        training, test = cut_test(sample)
        texts = list(sample.texts)
        for place in range(7):  # retweets, as the sample has none
            texts[test[place]] = f"RT @someone: {texts[training[place]]}!! http://t.co/{place}"
        texts[test[7]] = f"{texts[training[0]]} they say"
        for number, hashed in enumerate(normalized_hashes(texts[:3])):
            assert (hashed in normalized_hashes(sample.texts)) == (texts[number] in sample.texts)
        changed = msgspec.structs.replace(sample, texts=texts)
        own = near_duplicates(changed, test, manifest, bundle)
        other = near_duplicates(
            msgspec.structs.replace(changed, sha256="other"), test, manifest, bundle
        )
        assert own is not None
        assert other is not None
        np.testing.assert_array_equal(own, other)
        assert own[:8].tolist() == [True] * 7 + [False]

    def test_training_rows_are_known_for_what_they_are(
        self, trained: Trained, sample: Dataset
    ) -> None:
        bundle = trained.bundles / "LSTM"
        other = msgspec.structs.replace(sample, sha256="other")
        rows = np.arange(len(sample.texts))
        seen = near_duplicates(other, rows, read_manifest(bundle), bundle)
        assert seen is not None
        assert sorted(rows[seen]) == sorted(cut_test(sample)[0])

    def test_bundle_without_hashes_does_not_say(self, trained: Trained, tmp_path: Path) -> None:
        manifest = read_manifest(trained.bundles / "LSTM")
        files = {name: digest for name, digest in manifest.files.items() if name != TRAINED_ON}
        old = msgspec.structs.replace(manifest, files=files)
        (tmp_path / "manifest.json").write_bytes(msgspec.json.encode(old))
        other = read_dataset(trained.held_out)
        rows = np.arange(len(other.texts))
        assert near_duplicates(other, rows, old, tmp_path) is None


def test_a_text_is_like_one_that_tells_the_same_in_similar_words() -> None:
    others = ["Forest fire near La Ronge, Saskatchewan, villages evacuated", "what a lovely cat"]
    texts = [
        "RT @x: FOREST FIRE near La Ronge Saskatchewan!! http://t.co/1 villages are evacuated",
        "Forest fire near Athens",
        "nothing in common",
        "...",
    ]
    assert similar_to_any(texts, others).tolist() == [True, False, False, False]
    assert similar_to_any(texts, ["...", "!"]).tolist() == [False] * 4
    assert similar_to_any([], others).tolist() == []


def test_many_texts_that_share_a_word_fill_no_memory() -> None:
    others = [f"fire a{i} b{i}" for i in range(2000)]
    texts = [f"fire {'ac'[i % 2]}{i} {'bd'[i % 2]}{i}" for i in range(2000)]
    tracemalloc.start()
    found = similar_to_any(texts, others)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.tolist() == [True, False] * 1000
    assert peak < 20e6  # all cosines at once are 48 MB


def test_normalized_hashes_are_what_bundles_carry() -> None:
    """A change of these numbers hides what older bundles were trained on: see the docstring."""
    same = ["RT @a: Fire near 12 homes http://t.co/x", "rt @bob: FIRE near 7 homes  https://t.co/y"]
    first, second, other = normalized_hashes([*same, "Fire near homes"]).tolist()
    assert first == second != other
    assert (first, other) == (1211927533656704783, 4844465762803656270)


def test_word_hashes_are_what_bundles_carry_too() -> None:
    same = [
        "Fire near homes",
        "RT @a: RT @b: FIRE, near 12 homes!! http://t.co/x",
        "fire near homes https://t.co/y",
    ]
    first, *others = word_hashes(same).tolist()
    assert others == [first] * 2
    assert first == 4844465762803656270
    assert word_hashes(["Fires near homes"]).tolist() != [first]


def test_texts_without_words_are_not_all_the_same() -> None:
    texts = ["http://t.co/x", "@someone", "RT @someone", "12", "!", "🔥", "a"]
    hashes = word_hashes(texts)
    assert len(set(hashes.tolist())) == len(texts)
    np.testing.assert_array_equal(hashes[:-1], normalized_hashes(texts)[:-1])


def test_the_first_of_repeats_is_kept() -> None:
    dataset = made(["fire", "flood", "Fire http://t.co/x", "@a flood!", "quake"], [1] * 5, [])
    assert without_repeats(dataset, np.array([2, 1, 0, 3])).tolist() == [2, 1]

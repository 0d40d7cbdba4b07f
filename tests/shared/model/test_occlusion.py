"""Leaving words out: what is left is scored as it stands."""

import numpy as np
import pytest

from shared.bundle.load import Bundle
from shared.model.occlusion import Word, driving, occlude

TEXTS = ["Wildfire near  the dam,\nevacuate now", "lol", "", "my inbox is a disaster 😂"]


def log_odds(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))


def test_each_word_is_left_out_once(bundle: Bundle) -> None:
    found = occlude(bundle.scorer, TEXTS)
    assert [[word.word for word in words] for words in found] == [text.split() for text in TEXTS]
    first = found[0]
    for word in first:
        assert TEXTS[0][word.start :].startswith(word.word)
    assert [word.start for word in first] == [0, 9, 15, 19, 24, 33]
    without = ["Wildfire near   dam,\nevacuate now", "Wildfire near  the \nevacuate now", ""]
    expected = bundle.scorer.score(without).tolist()
    found_of = [first[2].without, first[3].without, found[1][0].without]
    assert found_of == pytest.approx(expected, abs=1e-6)


def test_push_is_the_change_of_the_log_odds(bundle: Bundle) -> None:
    (words,) = occlude(bundle.scorer, TEXTS[:1])
    whole = log_odds(float(bundle.scorer.score(TEXTS[:1])[0]))
    for word in words:
        assert word.push == pytest.approx(whole - log_odds(word.without), abs=1e-3)
    assert max(abs(word.push) for word in words) > 0.1


def test_no_texts_have_no_words(bundle: Bundle) -> None:
    assert occlude(bundle.scorer, []) == []


def test_words_that_drive_a_score_push_it_to_its_side() -> None:
    pushes = {"fire": 2.0, "my": -0.5, "inbox": -3.0, "near": 0.25, "a": 0.0}
    words = [Word(word, 0, push, 0.5) for word, push in pushes.items()]
    assert [word.word for word in driving(words, relevant=True, most=5)] == ["fire", "near"]
    assert [word.word for word in driving(words, relevant=False, most=1)] == ["inbox"]

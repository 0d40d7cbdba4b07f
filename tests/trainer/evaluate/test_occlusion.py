"""Leaving words out: what is left is scored as it stands."""

import numpy as np
import pytest

from shared.bundle.load import Bundle
from trainer.evaluate.occlusion import occlude

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

"""Behavioural tests: the pairs that ship, the changes, and what is reported of a model."""

import random
import re
from collections import Counter
from typing import Any

import numpy as np
import pytest

from shared.bundle.files import read_manifest
from shared.bundle.load import Bundle
from shared.bundle.quality import Behaviour, Invariance, Pairs
from tests.conftest import PUBLISHED, SAMPLE, Trained
from trainer.data.read import read_dataset
from trainer.data.same_text import normalized_hashes
from trainer.evaluate.behaviour import CHANGES, Pair, behaviour, read_pairs

TEXT = "Flood near Houston takes the bridge"
KINDS = {"figurative", "title", "negation", "past", "fiction"}


def test_there_are_pairs_of_every_kind_and_none_is_from_a_data_set() -> None:
    pairs = read_pairs()
    counts = Counter(pair.kind for pair in pairs)
    assert counts.keys() == KINDS
    assert counts.total() >= 120
    assert min(counts.values()) >= 15
    texts = [text for pair in pairs for text in (pair.relevant, pair.not_relevant)]
    assert max(map(len, texts)) <= 140
    hashes = normalized_hashes(texts)
    assert len(set(hashes.tolist())) == len(texts)
    for path in (SAMPLE, PUBLISHED):
        if path.exists():
            assert not np.isin(hashes, normalized_hashes(read_dataset(path).texts)).any()


def words(pair: Pair) -> set[str]:
    one, other = (
        {word.strip(".,!?:'\"").lower()[:5] for word in text.split()}
        for text in (pair.relevant, pair.not_relevant)
    )
    return one & other


def test_a_pair_has_words_in_common() -> None:
    for pair in read_pairs():
        assert any(len(word) >= 4 for word in words(pair)), pair


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("link", TEXT, rf"{TEXT} https://t\.co/\w{{10}}"),
        ("mention", TEXT, rf"@\w+ {TEXT}"),
        ("retweet", TEXT, rf"RT @\w+: {TEXT}"),
        ("casing", TEXT, f"{TEXT.upper()}|{TEXT.lower()}"),
        ("hashtag", TEXT, "(#Flood|Flood .*#(Houston|takes|bridge)).*"),
        ("hashtag", "a #flood, item #1 & #fire", "a flood, item #1 & fire"),
        ("hashtag", "oh no", "oh no"),
        ("emoji", TEXT, f"{TEXT} \\W+"),
        (
            "typo",
            "see http://t.co/abcdef @friend #hashtag",
            "see http://t.co/abcdef @friend #hashtag",
        ),
        ("typo", "a flood", "a (folod|flood)"),
        ("place", TEXT, "Flood near (?!Houston)[A-Z].* takes the bridge"),
        ("place", "Chinatown and Londoners", "Chinatown and Londoners"),
    ],
)
def test_changes(kind: str, text: str, expected: str) -> None:
    for seed in range(20):
        assert re.fullmatch(expected, CHANGES[kind](text, random.Random(seed)))


class Knows:
    """Scores by a word: .9 where it stands, .1 where not."""

    def __init__(self, word: str) -> None:
        self._word = word

    def score(self, texts: list[str]) -> Any:
        return np.array([0.9 if self._word in text else 0.1 for text in texts], np.float32)


def test_shares_are_of_what_the_model_decides() -> None:
    nothing: Any = Knows("no tweet has this")
    found = behaviour(nothing, 0.5, ["a flood", "b"])
    assert {pairs.kind for pairs in found.pairs} == KINDS
    assert all((pairs.accuracy, pairs.ordered) == (0.5, 0) for pairs in found.pairs)
    assert all(change.unchanged == 1 for change in found.invariance)
    assert sum(pairs.pairs for pairs in found.pairs) == len(read_pairs())

    link: Any = Knows("https://t.co/")
    shares = {change.kind: change for change in behaviour(link, 0.5, []).invariance}
    assert shares["link"] == Invariance("link", 2 * len(read_pairs()), 0)
    assert shares["emoji"].unchanged == 1
    assert all(change.unchanged == 1 for change in behaviour(link, 0.95, []).invariance)

    titanic: Any = Knows("Titanic again")
    by_kind = {pairs.kind: pairs for pairs in behaviour(titanic, 0.5, []).pairs}
    count = by_kind["title"].pairs
    assert by_kind["title"] == Pairs("title", count, (count - 1) / (2 * count), 0)


def test_training_reports_what_the_bundle_does(trained: Trained, bundle: Bundle) -> None:
    texts = read_dataset(trained.held_out).texts
    found = behaviour(bundle.scorer, bundle.manifest.threshold, texts)
    assert bundle.manifest.quality is not None
    assert isinstance(found, Behaviour)
    assert found == bundle.manifest.quality.behaviour
    assert [change.kind for change in found.invariance] == list(CHANGES)
    for run in ("LSTM", "Bidirectional-RNN"):
        quality = read_manifest(trained.bundles / run).quality
        assert quality is not None
        assert np.mean([pairs.ordered for pairs in quality.behaviour.pairs]) > 0.5

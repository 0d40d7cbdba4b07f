"""Sets that share many members are found, and the same ones in every process."""

import random

from worker.desk.minhash import MinHashIndex


def sets(share: float, count: int) -> list[tuple[set[str], set[str]]]:
    """Return pairs of sets of 20 members with this Jaccard index, about."""
    same = round(40 * share / (1 + share))
    chance = random.Random(5)
    pairs = []
    for _ in range(count):
        words = [f"{chance.random():.9f}" for _ in range(40 - same)]
        pairs.append((set(words[:20]), set(words[20 - same :])))
    return pairs


def test_candidates_are_found_as_often_as_the_formula_says() -> None:
    for share in (0.2, 0.5, 0.8):
        index = MinHashIndex(21, 3)
        pairs = sets(share, 1000)
        for key, (one, _) in enumerate(pairs):
            index.add(key, index.bands(one))
        hits = sum(key in index.candidates(index.bands(two)) for key, (_, two) in enumerate(pairs))
        (one, two), *_ = pairs
        jaccard = len(one & two) / len(one | two)
        expected = 1 - (1 - jaccard**3) ** 21
        assert abs(hits / 1000 - expected) < 0.05
    far = index.candidates(index.bands({"something", "else"}))
    assert not far


def test_sets_with_the_same_members_share_all_bands_until_removed() -> None:
    index = MinHashIndex(4, 2)
    bands = index.bands(["fire", "lima"])
    assert bands == index.bands(["lima", "fire"])
    for key in (1, 2, 3):
        index.add(key, bands)
    for removed, left in ((2, {1, 3}), (1, {3}), (3, set())):
        index.remove(removed)
        assert index.candidates(bands) == left
    assert not index._buckets


def test_bands_are_the_same_in_every_process() -> None:
    assert MinHashIndex(2, 2).bands(["fire", "lima"]) == (9695050454001494949, 16053513660048917590)

"""Keywords of a crisis: the few words by which its tweets are told from all others."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

COVERAGE = 0.995
"""Share of the tweets in which a keyword should stand; more keywords would be accidents."""

FEWEST = 2
"""Tweets that a keyword covers beyond those that the earlier ones cover."""

MOST_FREQUENT = 0.01
"""Share of other tweets that may hold a keyword."""

MOST_FREQUENT_TOGETHER = 0.03
"""Share of other tweets that may hold any of the keywords."""

TIMES_AS_FREQUENT = 8
"""How many times as frequent a keyword is here as in other tweets, at least."""

_ZIPF = 1.4


def choose_keywords(
    texts: Sequence[Collection[str]], ranks: Mapping[str, int], vocabulary_size: int
) -> list[str]:
    """Choose words that together cover the texts and are rare elsewhere, the best first.

    Each step takes the word with the largest share of texts that no earlier keyword covers, less
    twice its expected share of other tweets. That share follows Zipf's law, 1.4 / rank: a tweet
    has 15 words, and the rank's share of all words is 1 / (10.7 · rank) in a vocabulary of 25,000.

    Args:
        texts: the distinct words of each text.
        ranks: of the words of the vocabulary by frequency, from 1 on; other words are rarer.
        vocabulary_size: rank of the words that are not in `ranks`.

    Returns:
        The keywords; none if no word is typical.
    """
    chosen: list[str] = []
    expected_together = 0.0
    left = [{word for word in text if not word.startswith("xx")} for text in texts]
    while len(left) > (1 - COVERAGE) * len(texts):
        counts = Counter(word for text in left for word in text)
        best: tuple[float, str, float] | None = None
        for word, count in counts.items():
            share, expected = count / len(texts), min(1, _ZIPF / ranks.get(word, vocabulary_size))
            if (
                count < FEWEST
                or expected > MOST_FREQUENT
                or expected_together + expected > MOST_FREQUENT_TOGETHER
                or share < TIMES_AS_FREQUENT * expected
            ):
                continue
            gain = share - 2 * expected
            if best is None or gain > best[0]:
                best = gain, word, expected
        if best is None:
            break
        _, word, expected = best
        chosen.append(word)
        expected_together += expected
        left = [text for text in left if word not in text]
    return chosen

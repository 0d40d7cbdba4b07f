"""The words that cause a score: how the score changes without each word.

After Li, Monroe and Jurafsky, "Understanding neural networks through representation erasure", 2016.
"""

import re
from collections.abc import Sequence

import msgspec

from shared.model.scorer import Scorer

_WORD = re.compile(r"\S+")


class Word(msgspec.Struct, frozen=True):
    """A word of a text, cut at white space.

    Attributes:
        start: its index in the text, in characters.
        push: what it adds to the log-odds of being relevant.
        without: the probability of the text without the word.
    """

    word: str
    start: int
    push: float
    without: float


def occlude(scorer: Scorer, texts: Sequence[str]) -> list[list[Word]]:
    """Return the words of each text, in order, with what each of them adds to the score."""
    found = [(row, match) for row, text in enumerate(texts) for match in _WORD.finditer(text)]
    shortened = [texts[row][: match.start()] + texts[row][match.end() :] for row, match in found]
    whole = scorer.logits(texts)
    logits = scorer.logits(shortened)
    probabilities = scorer.calibration.probabilities(logits)
    words: list[list[Word]] = [[] for _ in texts]
    for (row, match), logit, probability in zip(found, logits, probabilities, strict=True):
        push = scorer.calibration.scale * (float(whole[row]) - float(logit))
        words[row].append(Word(match[0], match.start(), push, float(probability)))
    return words


def driving(words: Sequence[Word], relevant: bool, most: int) -> list[Word]:
    """Return the words that push a score to one side, the strongest first.

    Args:
        relevant: whether that side is the relevant one.
        most: how many at most.
    """
    side = 1 if relevant else -1
    pushing = [word for word in words if side * word.push > 0]
    return sorted(pushing, key=lambda word: -side * word.push)[:most]

"""Review: choose the tweets that people are asked to label, as a probability sample of the stream.

Every tweet has a known chance to be chosen: a small one that all tweets share, and one in
proportion to what its label would teach. A label therefore stands for 1 / chance tweets, and totals
over the stream can be estimated without bias (Horvitz and Thompson, JASA 47, 1952).

The draw is a stratified one along the stream: chances are added up, and in each unit of their sum
one point is drawn; the tweet that covers it is chosen. That is systematic sampling (Madow and
Madow, Ann. Math. Stat. 15, 1944) with a new start in each unit. As many tweets are chosen as the
chances add up to, rounded up or down.
"""

import math
import re
from collections import deque
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from shared.arrays import Floats
from worker.messages.review import Reason

RANDOM_SHARE = 0.4
"""Share of the review tweets that is drawn from all tweets with equal chances. The rest prefers
uncertain tweets. A model adapts to a crisis from such a mixture."""

_MINUTE = 60.0
_WIDTH = 1.0
"""Distance of log odds from the threshold at which a label's worth has fallen to exp(-1/2)."""
_ALIKE = 0.5
"""Share of common words (Jaccard index) from which on two tweets count as similar."""
_REMEMBERED = 500
"""Chosen tweets that others are compared with."""
_MOST_WORDS = 64
_NOISE = re.compile(r"https?:\S*|@\w+|\d+")
_WORD = re.compile(r"\w+")

_Values = npt.NDArray[np.float64]


class Choice(msgspec.Struct, frozen=True):
    """A tweet that is chosen.

    Attributes:
        index: of the tweet in the batch.
        inclusion_probability: that the tweet is chosen, for whatever reason; above 0, up to 1.
    """

    index: int
    reason: Reason
    inclusion_probability: float


class _Rate:
    """An amount per second: an exponentially weighted mean with a time constant of a minute."""

    def __init__(self) -> None:
        self._sum = self._seconds = 0.0

    def add(self, value: float, seconds: float) -> float:
        """Add the amount of the last seconds, and return the rate."""
        kept = math.exp(-seconds / _MINUTE)
        self._sum = kept * self._sum + value
        self._seconds = kept * self._seconds + _MINUTE * (1 - kept)
        return self._sum / self._seconds


class Review:
    """Chooses tweets for review, at most so many in each minute of the clock.

    The chances follow the rate of the stream over the last minute. When the rate rises suddenly,
    chances fall, so that the minute's last tweets have one, too. The same stream, clock and random
    numbers give the same choices.

    A tweet like one that was chosen lately (a retweet, a copy, a rewording) can only be chosen at
    random, and its inclusion probability says so.

    Args:
        topic: where the chosen tweets go.
        per_minute: the most tweets that are chosen in a minute.
        clock: seconds that only go forward. People label by the clock, so a backlog that is read
            faster than it came gives no more tweets a minute.
        draw: returns a random number from 0 to 1, 1 excluded.
    """

    def __init__(
        self,
        topic: str,
        per_minute: int,
        clock: Callable[[], float],
        draw: Callable[[], float],
    ) -> None:
        self.topic = topic
        self._per_minute = per_minute
        self._clock, self._draw = clock, draw
        self._last = clock() - 1
        self._minute = -1.0
        self._sum = 0.0  # of the chances of this minute
        self._point = 0.0  # of the sum, whose tweet is chosen next
        self._repeats = 0  # that were not chosen although their point was drawn
        self._tweets, self._worth = _Rate(), _Rate()
        self._chosen: deque[frozenset[str]] = deque(maxlen=_REMEMBERED)

    def choose(
        self,
        texts: Sequence[str],
        probabilities: Floats,
        threshold: float,
        unknown: Floats,
    ) -> list[Choice]:
        """Choose among tweets that were scored together, in their order.

        Args:
            probabilities: float32, shape (texts,).
            threshold: of alerts.
            unknown: share of each text's words that the vocabulary lacks, or -1 if the text was
                scored before; float32, shape (texts,).
        """
        if not texts:
            return []
        now = self._clock()
        seconds = min(max(now - self._last, 1e-6), _MINUTE)
        self._last = now
        if now // _MINUTE != self._minute:
            self._minute = now // _MINUTE
            self._sum, self._repeats, self._point = 0.0, 0, self._draw()
        near = _nearness(probabilities, threshold)
        new = np.square(np.maximum(unknown, 0))
        worth = np.where(unknown < 0, 0, near + new)
        pace = self._per_minute / _MINUTE
        uniform = min(1.0, RANDOM_SHARE * pace / self._tweets.add(len(texts), seconds))
        rate = self._worth.add(float(worth.sum()), seconds)
        targeted = (1 - RANDOM_SHARE) * pace / rate * worth if rate > 0 else worth
        chances = np.minimum(1.0, uniform + targeted)
        scale = min(1.0, self._allowed(now, seconds) / float(chances.sum()))
        return self._draw_from(texts, scale * chances, scale * uniform, near >= new)

    def _allowed(self, now: float, seconds: float) -> float:
        """Return the most that the chances of a batch may add up to.

        It is twice the batch's share of what is left of the minute, so that something is left for
        each batch, however the rate rises.
        """
        left = _MINUTE - now % _MINUTE
        budget = self._per_minute + self._repeats - self._sum
        return max(0.0, budget) * min(1.0, 2 * seconds / (seconds + left))

    def _draw_from(
        self,
        texts: Sequence[str],
        chances: _Values,
        uniform: float,
        is_near: npt.NDArray[np.bool_],
    ) -> list[Choice]:
        """Choose the tweets that cover the next points, and draw these.

        Args:
            chances: of each tweet, float64, shape (texts,).
            uniform: the part of them that is equal for all tweets.
            is_near: whether a tweet's worth is rather its nearness to the threshold.
        """
        ends = self._sum + np.cumsum(chances)
        begins = np.concatenate([[self._sum], ends[:-1]])
        self._sum = float(ends[-1])
        choices: list[Choice] = []
        before = -1
        while self._point < self._sum:
            point, self._point = self._point, math.floor(self._point) + 1 + self._draw()
            index = int(np.searchsorted(ends, point, side="right"))
            if index == before:  # its chance spans two units, and it was chosen in the first
                continue
            before = index
            begin, end = float(begins[index]), float(ends[index])
            words = _words(texts[index])
            is_random = point < begin + uniform
            if any(_are_alike(words, other) for other in self._chosen):
                if not is_random:
                    self._repeats += 1
                    continue
                end = min(end, begin + uniform)
            else:
                self._chosen.append(words)
            reason: Reason = "near-threshold" if is_near[index] else "new-words"
            choices.append(Choice(index, "random" if is_random else reason, _inclusion(begin, end)))
        return choices


def _nearness(probabilities: Floats, threshold: float) -> _Values:
    """Return 1 at the threshold and less with the distance of the log odds, as a Gaussian."""
    odds = np.clip(probabilities.astype(np.float64), 1e-6, 1 - 1e-6)
    threshold = min(max(threshold, 1e-6), 1 - 1e-6)
    distance = np.log(odds / (1 - odds)) - math.log(threshold / (1 - threshold))
    nearness: _Values = np.exp(-0.5 * np.square(distance / _WIDTH))
    return nearness


def _inclusion(begin: float, end: float) -> float:
    """Return the chance that a stretch of the sum, at most 1 long, covers a point of a unit."""
    unit = math.floor(begin) + 1
    if end <= unit:
        return end - begin
    return 1 - (1 - (unit - begin)) * (1 - (end - unit))


def _words(text: str) -> frozenset[str]:
    """Return the words that tell what a text is about: no links, mentions and numbers."""
    found = _WORD.findall(_NOISE.sub(" ", text.lower()))
    return frozenset(found[:_MOST_WORDS])


def _are_alike(one: frozenset[str], other: frozenset[str]) -> bool:
    common = len(one & other)
    return common >= _ALIKE * (len(one) + len(other) - common)

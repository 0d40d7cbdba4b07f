"""Languages: decide whether a tweet is in a language that the model was trained on.

If a record names its language, that decides. Otherwise eldc identifies it, and a tweet is skipped
only if the result is clear, because short, misspelt English looks like other languages.
"""

import logging
from collections.abc import Iterable

from worker.messages.fields import primary_language
from worker.messages.tweet import Tweet

try:
    import eldc
except ImportError:  # eldc has no wheel for Linux on ARM
    eldc = None

log = logging.getLogger("triage")

ANY = "any"
_MARGIN = 0.1
"""By how much the score of the identified language (0 to 1) must exceed that of every expected one.
With it, .28 % of the published set's tweets are skipped, some of which are not English; with .05,
.44 %."""
_FEWEST_WORDS = 3
"""In ASCII, one or two words such as `lol` or `hijack` say too little about the language."""
_SCORES = 5
"""How many languages eldc returns scores for."""
_IDENTIFIED_AS = {"id": "ms"}
"""Languages that eldc confuses with others."""


class Languages:
    """The languages that tweets are expected in.

    Args:
        expected: BCP 47 tags such as `en`; `any` accepts all tweets.
    """

    def __init__(self, expected: Iterable[str]) -> None:
        expected = [tag.strip() for tag in expected]
        self.is_any = ANY in expected
        self.expected = frozenset(primary_language(tag) or tag for tag in expected)
        self._identified_as = frozenset(_IDENTIFIED_AS.get(tag, tag) for tag in self.expected)
        self._not_other = self._identified_as | {"und"}
        self.identifies = (
            not self.is_any and eldc is not None and self._identified_as <= set(eldc.LANGUAGES)
        )
        if eldc is not None:
            eldc.init()
            self._identifier = eldc.instance()
            self._identifier.set_scores(_SCORES)
            self._detect = self._identifier.detect
        elif not self.is_any:
            log.warning("eldc is not installed: all tweets without a language are scored")

    def accept(self, tweet: Tweet) -> bool:
        """Return whether a tweet is to be scored."""
        if self.is_any:
            return True
        if tweet.lang is not None:
            return tweet.lang in self.expected
        return not self.identifies or not self._is_other(tweet.text)

    def _is_other(self, text: str) -> bool:
        found = self._detect(text)
        if found in self._not_other:
            return False
        if text.isascii() and len(text.split()) < _FEWEST_WORDS:
            return False
        scores = self._identifier.detect_details(text).scores
        expected = max((scores.get(tag, 0.0) for tag in self._identified_as), default=0.0)
        return bool(scores.get(found, 0.0) - expected > _MARGIN)

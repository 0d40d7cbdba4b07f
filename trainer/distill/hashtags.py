"""Hashtags: the edit that training and behavioural tests have in common."""

import random
import re

_HASHTAG = re.compile(r"#(?=[^\W\d])")


def toggle_hashtags(text: str, draw: random.Random, *, word: re.Pattern[str]) -> str:
    """Remove the signs of all hashtags. If there are none, turn a random word into one.

    Args:
        word: matches the words that may become a hashtag.
    """
    if _HASHTAG.search(text):
        return _HASHTAG.sub("", text)
    words = list(word.finditer(text))
    if not words:
        return text
    start = draw.choice(words).start()
    return f"{text[:start]}#{text[start:]}"

"""Rewrite a text: replace links, mentions, numbers and hashtags by words that a model can learn."""

import html
import re

_URL = re.compile(r"https?://\S*|www\.\S+")
_MENTION = re.compile(r"(?<!\w)@\w+")
_HASHTAG = re.compile(r"(?<!\w)#(\w+)")
_NUMBER = re.compile(r"(?<![A-Za-z\d])\d+(?:[.,:]\d+)*")
_ONLY_ONE = re.compile(
    r"(?P<xxurl>https?://[^\s&]*)|(?P<xxuser>@\w+)|(?P<xxnumber>\d+(?:[.,:]\d+)*)"
)
_WORD_IN_HASHTAG = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|_+")
_ELONGATION = re.compile(r"([^\W\d])\1{2,}")


def rewrite_chunk(chunk: str) -> str:
    """Rewrite the part of a text between two space characters.

    - URLs, mentions and numbers become `xxurl`, `xxuser` and `xxnumber`.
    - A hashtag becomes `xxhashtag` and its words.
    - HTML entities are decoded.
    - Three or more equal letters in a row become two.
    """
    if chunk.isalpha() and chunk.isascii() and not _ELONGATION.search(chunk):
        return chunk
    # Most new chunks of a stream are a URL, a mention or a number. This is faster than below, with
    # the same result.
    if one := _ONLY_ONE.fullmatch(chunk):
        return f" {one.lastgroup} "
    chunk = _URL.sub(" xxurl ", html.unescape(chunk))
    chunk = _MENTION.sub(" xxuser ", chunk)
    chunk = _HASHTAG.sub(lambda m: f" xxhashtag {split_hashtag(m[1])} ", chunk)
    chunk = _NUMBER.sub(" xxnumber ", chunk)
    return _ELONGATION.sub(r"\1\1", chunk)


def split_hashtag(name: str) -> str:
    """Put spaces between the words of a hashtag: `ForestFire` becomes `Forest Fire`."""
    return _WORD_IN_HASHTAG.sub(" ", name)

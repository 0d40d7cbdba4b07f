"""Augmentation: variants of the training texts; the same seed gives the same variants.

After "EDA" (Wei and Zou, 2019), without its assumption that a variant keeps its label: a teacher
labels variants with other words. Variants that keep the meaning, such as one with a misspelling or
a mention, keep the target of their text.
"""

import random
import re
import string
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import msgspec
import numpy as np

from shared.arrays import Ids
from trainer.data.dataset import Indices
from trainer.distill.hashtags import toggle_hashtags
from trainer.distill.place_names import CHANGED
from trainer.fit.vectors import near_neighbours

LABELLED = 9
"""Variants of each text that a teacher labels. Two of three have its own words, the others continue
with the words of another text."""

UNCHANGED = 2
"""Variants of each text, after those, that keep its meaning."""

VARIANTS = LABELLED + UNCHANGED

_DELETED = 0.1
_REPLACED = 0.25
_WORD = re.compile(r"([^\w@]*)([A-Za-z]{2,})(\W*)")
_LONG_WORD = re.compile(r"(?<![\w#@/.&-])[A-Za-z]{4,}(?![\w/.-]|:/)")
_PLACE = re.compile(rf"\b(?:{'|'.join(name for kind in CHANGED for name in kind)})\b")


class Variants(msgspec.Struct, frozen=True):
    """Variants of texts, `VARIANTS` of each, in the order of the texts.

    Attributes:
        texts: the variants.
        others: row of the text that the second half comes from, or the variant's own row, int64,
            shape (variants,).
    """

    texts: list[str]
    others: Indices

    @property
    def labelled(self) -> list[str]:
        """The variants that a teacher labels, `LABELLED` of each text."""
        return [text for index, text in enumerate(self.texts) if index % VARIANTS < LABELLED]


def make_variants(texts: Sequence[str], folds: Ids, seed: int) -> Variants:
    """Make variants of texts.

    Those that a teacher labels lack a tenth of the words, and a quarter of the words is replaced by
    a near neighbour among the word vectors, where there is one. Texts are spliced with texts of
    their own fold, so that a variant belongs to one fold.

    Args:
        folds: the fold of each text, shape (texts,).
    """
    found = {
        match[2].lower() for text in texts for match in map(_WORD.fullmatch, text.split()) if match
    }
    neighbours = near_neighbours(found)
    draw = random.Random(seed)
    fellows = {int(fold): np.flatnonzero(folds == fold).tolist() for fold in np.unique(folds)}
    variants, others = [], []
    for row, text in enumerate(texts):
        chunks = text.split()
        for number in range(LABELLED):
            other = row
            spliced = chunks
            if number % 3 == 2:
                choices = fellows[int(folds[row])]
                other = choices[int(draw.random() * len(choices))]
                second = texts[other].split()
                spliced = chunks[: -(-len(chunks) // 2)] + second[len(second) // 2 :]
            kept = [chunk for chunk in spliced if draw.random() >= _DELETED] or spliced
            variants.append(" ".join([_replaced(chunk, neighbours, draw) for chunk in kept]))
            others.append(other)
        for _ in range(UNCHANGED):
            variants.append(_in_another_form(text, draw))
            others.append(row)
    return Variants(variants, np.array(others))


def _replaced(chunk: str, neighbours: Mapping[str, Sequence[str]], draw: random.Random) -> str:
    match = _WORD.fullmatch(chunk)
    if match is None or draw.random() >= _REPLACED:
        return chunk
    before, word, behind = match.groups()
    choices = neighbours.get(word.lower())
    if not choices:
        return chunk
    chosen = choices[int(draw.random() * len(choices))]
    if word.isupper():
        chosen = chosen.upper()
    elif word[0].isupper():
        chosen = chosen.capitalize()
    return before + chosen + behind


def _in_another_form(text: str, draw: random.Random) -> str:
    """Change the text's place names and, mostly, one or two things of `_FORMS`."""
    text = _PLACE.sub(lambda found: _another_place(found[0], draw), text)
    for share, change in _FORMS:
        if draw.random() < share:
            text = change(text, draw)
    return text


def _another_place(name: str, draw: random.Random) -> str:
    (kind,) = [places for places in CHANGED if name in places]
    return draw.choice(kind)


def _misspelt(text: str, draw: random.Random) -> str:
    """Drop, double, replace or transpose a letter within a word."""
    words = list(_LONG_WORD.finditer(text))
    if not words:
        return text
    word = draw.choice(words)
    at = word.start() + draw.randrange(1, len(word[0]) - 1)
    first, second = text[at], text[at + 1]
    letters = (second, first + first + second, draw.choice(string.ascii_lowercase) + second)
    return text[:at] + draw.choice((*letters, second + first, second + first)) + text[at + 2 :]


def _mentioning(text: str, draw: random.Random) -> str:
    name = "".join(draw.choices(string.ascii_letters, k=8))
    return draw.choice((f"@{name} {text}", f"RT @{name}: {text}", f"{text} via @{name}"))


def _in_other_case(text: str, draw: random.Random) -> str:
    return draw.choice((text.upper(), text.lower(), text.lower()))


def _linked(text: str, draw: random.Random) -> str:
    return f"{text} http://t.co/{''.join(draw.choices(string.ascii_letters, k=10))}"


_FORMS: tuple[tuple[float, Callable[[str, random.Random], str]], ...] = (
    (0.5, _misspelt),
    (0.3, _misspelt),
    (0.3, _mentioning),
    (0.15, _in_other_case),
    (0.25, partial(toggle_hashtags, word=_LONG_WORD)),
    (0.15, _linked),
)
"""The share of texts that each change is applied to, in this order."""

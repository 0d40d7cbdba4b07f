"""Augmentation: variants of the training texts for a teacher to label, the same from the same seed.

After "EDA" (Wei and Zou, 2019), without its assumption that a variant keeps its label: a variant is
trained on with the teacher's probability alone.
"""

import random
import re
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from shared.text import Ids
from trainer.dataset import Indices
from trainer.vectors import near_neighbours

VARIANTS = 3
"""Of each text: two of its own words, and one that goes on with the words of another text."""

_DELETED = 0.1
_REPLACED = 0.25
_WORD = re.compile(r"([^\w@]*)([A-Za-z]{2,})(\W*)")


class Variants(msgspec.Struct, frozen=True):
    """Variants of texts, `VARIANTS` of each, one text's behind the other's.

    Attributes:
        texts: one a variant.
        others: row of the text that the second half is of, which is the variant's own row where it
            is not spliced, int64, shape (variants,).
    """

    texts: list[str]
    others: Indices


def make_variants(texts: Sequence[str], folds: Ids, seed: int) -> Variants:
    """Makes variants of texts.

    A tenth of the words is left out, and a quarter of those that have neighbours among the word
    vectors is replaced by one of these. Texts are spliced within their fold, so that a variant
    belongs to one fold.

    Args:
        folds: shape (texts,).
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
        for number in range(VARIANTS):
            other = row
            spliced = chunks
            if number == VARIANTS - 1:
                choices = fellows[int(folds[row])]
                other = choices[int(draw.random() * len(choices))]
                second = texts[other].split()
                spliced = chunks[: -(-len(chunks) // 2)] + second[len(second) // 2 :]
            kept = [chunk for chunk in spliced if draw.random() >= _DELETED] or spliced
            variants.append(" ".join([_replaced(chunk, neighbours, draw) for chunk in kept]))
            others.append(other)
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

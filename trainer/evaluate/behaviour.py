"""Behaviour: what a model has to tell apart, and what must not change its mind.

In the manner of Ribeiro et al., "Beyond accuracy: behavioral testing of NLP models with CheckList",
2020. `behaviour.csv` holds minimal pairs, written for this project: a tweet about a real disaster,
and one with the same words that is about none. Their kinds:

- `figurative`: "the street is on fire" against "this playlist is on fire";
- `title`: news against songs, films, books, games and teams;
- `negation`: what happened against what did not;
- `past`: what happens now against what is remembered;
- `fiction`: what happens against what a story tells.

The decision about a text must not change with what says nothing about a disaster, such as a link;
`CHANGES` lists it.
"""

import csv
import random
import re
import string
from collections.abc import Callable, Sequence
from importlib import resources
from itertools import islice

import msgspec
import numpy as np
from rich.table import Table

from shared.bundle.quality import Behaviour, Invariance, Pairs
from shared.model.scorer import Scorer
from trainer.distill.place_names import TESTED
from trainer.evaluate.metrics import figures_table

SEED = 1024
TEXTS = 600
"""Changed in each way, the pairs' first, if there are as many that the change does something to."""

_NAMES = ("anna_k", "TheDailyPost", "joe1987", "CityNews24", "mrs_lovell", "Kev_in_York")
_EMOJI = ("👀", "📍", "➡️", "📷", "🕗", "🔵")
_WORD = re.compile(r"(?<![\w#@/.&-])[A-Za-z]{5,}(?![\w/.-])")
_HASHTAG = re.compile(r"#(?=[^\W\d])")
_PLACE = re.compile(rf"\b(?:{'|'.join(name for kind in TESTED for name in kind)})\b")


class Pair(msgspec.Struct, frozen=True):
    """A text about a real disaster, and one about none that has its words."""

    kind: str
    relevant: str
    not_relevant: str


def read_pairs() -> list[Pair]:
    """The pairs that ship, by kind."""
    with (
        resources.files("trainer.evaluate").joinpath("behaviour.csv").open(encoding="utf-8") as file
    ):
        return [msgspec.convert(row, Pair) for row in csv.DictReader(file)]


def behaviour(scorer: Scorer, threshold: float, texts: Sequence[str]) -> Behaviour:
    """Puts a model to the test.

    Args:
        texts: that the model was not trained on, such as its test part; some of them are changed.
    """
    pairs = read_pairs()
    of_pairs = [text for pair in pairs for text in (pair.relevant, pair.not_relevant)]
    probabilities = scorer.score(of_pairs).reshape(-1, 2)
    right = (probabilities >= threshold) == [True, False]
    ordered = probabilities[:, 0] > probabilities[:, 1]
    kinds = np.array([pair.kind for pair in pairs])
    told_apart = []
    for kind in dict.fromkeys(kinds.tolist()):
        rows = kinds == kind
        accuracy, order = float(right[rows].mean()), float(ordered[rows].mean())
        told_apart.append(Pairs(kind, int(rows.sum()), accuracy, order))

    candidates = of_pairs + random.Random(SEED).sample(list(texts), len(texts))
    invariance = []
    for kind, change in CHANGES.items():
        source = random.Random(f"{SEED} {kind}")
        changed = ((text, change(text, source)) for text in candidates)
        both = list(islice((pair for pair in changed if pair[0] != pair[1]), TEXTS))
        if both:
            before, after = (scorer.score(some) >= threshold for some in zip(*both, strict=True))
            invariance.append(Invariance(kind, len(both), float((before == after).mean())))
    return Behaviour(told_apart, invariance)


def table(found: dict[str, Behaviour]) -> Table:
    """What several models do, by their names."""
    shown = figures_table("Behaviour: texts of pairs decided rightly, decisions unchanged", "kind")
    shown.add_column("of", justify="right")
    for name in found:
        shown.add_column(name, justify="right")
    first, *_ = found.values()
    for place, pairs in enumerate(first.pairs):
        accuracies = [f"{one.pairs[place].accuracy:.3f}" for one in found.values()]
        shown.add_row(f"{pairs.kind}, pairs", str(2 * pairs.pairs), *accuracies)
    shown.add_section()
    for place, change in enumerate(first.invariance):
        shares = [f"{one.invariance[place].unchanged:.3f}" for one in found.values()]
        shown.add_row(f"{change.kind}, unchanged", str(change.texts), *shares)
    return shown


def _link(text: str, source: random.Random) -> str:
    letters = "".join(source.choices(string.ascii_letters + string.digits, k=10))
    return f"{text} https://t.co/{letters}"


def _mention(text: str, source: random.Random) -> str:
    return f"@{source.choice(_NAMES)} {text}"


def _retweet(text: str, source: random.Random) -> str:
    return f"RT @{source.choice(_NAMES)}: {text}"


def _casing(text: str, source: random.Random) -> str:
    return text.upper() if source.random() < 0.5 else text.lower()


def _hashtag(text: str, source: random.Random) -> str:
    """Takes the signs from the hashtags, or makes a word one where there is none."""
    if _HASHTAG.search(text):
        return _HASHTAG.sub("", text)
    words = list(_WORD.finditer(text))
    if not words:
        return text
    start = source.choice(words).start()
    return f"{text[:start]}#{text[start:]}"


def _emoji(text: str, source: random.Random) -> str:
    return f"{text} {source.choice(_EMOJI)}"


def _typo(text: str, source: random.Random) -> str:
    """Two neighbouring letters within a word change places."""
    words = list(_WORD.finditer(text))
    if not words:
        return text
    word = source.choice(words)
    place = word.start() + source.randrange(1, len(word[0]) - 2)
    return f"{text[:place]}{text[place + 1]}{text[place]}{text[place + 2 :]}"


def _place(text: str, source: random.Random) -> str:
    """Another place of the same kind wherever one is named."""

    def another(found: re.Match[str]) -> str:
        (kind,) = [places for places in TESTED if found[0] in places]
        return source.choice([place for place in kind if place != found[0]])

    return _PLACE.sub(another, text)


CHANGES: dict[str, Callable[[str, random.Random], str]] = {
    "link": _link,
    "mention": _mention,
    "retweet": _retweet,
    "casing": _casing,
    "hashtag": _hashtag,
    "emoji": _emoji,
    "typo": _typo,
    "place": _place,
}
"""What must not change a decision; a text that a change leaves as it was is not counted."""

"""Behavioural tests: pairs that a model must distinguish, and changes that must not matter.

After Ribeiro et al., "Beyond accuracy: behavioral testing of NLP models with CheckList", 2020.
`behaviour.csv` holds minimal pairs, written for this project: a tweet about a real disaster, and a
tweet with the same words that is not about one. Their kinds:

- `figurative`: "the street is on fire" against "this playlist is on fire";
- `title`: news against songs, films, books, games and teams;
- `negation`: what happened against what did not;
- `past`: what happens now against what is remembered;
- `fiction`: what happens against what a story tells.

A change that says nothing about a disaster, such as a link, must not change the decision. `CHANGES`
lists them.
"""

import csv
import random
import re
import string
from collections.abc import Callable, Sequence
from functools import partial
from importlib import resources
from itertools import islice

import msgspec
import numpy as np
from rich.table import Table

from shared.bundle.quality import Behaviour, Invariance, Pairs
from shared.model.scorer import Scorer
from trainer.distill.hashtags import toggle_hashtags
from trainer.distill.place_names import TESTED
from trainer.evaluate.metrics import figures_table

SEED = 1024
TEXTS = 600
"""The number of texts that each change is applied to, those of the pairs first."""

_NAMES = ("anna_k", "TheDailyPost", "joe1987", "CityNews24", "mrs_lovell", "Kev_in_York")
_EMOJI = ("👀", "📍", "➡️", "📷", "🕗", "🔵")
_WORD = re.compile(r"(?<![\w#@/.&-])[A-Za-z]{5,}(?![\w/.-])")
_PLACE = re.compile(rf"\b(?:{'|'.join(name for kind in TESTED for name in kind)})\b")


class Pair(msgspec.Struct, frozen=True):
    """A text about a real disaster, and one with the same words that is not."""

    kind: str
    relevant: str
    not_relevant: str


def read_pairs() -> list[Pair]:
    """Return the pairs that ship, ordered by kind."""
    with (
        resources.files("trainer.evaluate").joinpath("behaviour.csv").open(encoding="utf-8") as file
    ):
        return [msgspec.convert(row, Pair) for row in csv.DictReader(file)]


def behaviour(scorer: Scorer, threshold: float, texts: Sequence[str]) -> Behaviour:
    """Test the behaviour of a model.

    Args:
        threshold: probability from which on a text is relevant.
        texts: texts that the model was not trained on, such as its test part; some are changed.
    """
    pairs = read_pairs()
    of_pairs = [text for pair in pairs for text in (pair.relevant, pair.not_relevant)]
    probabilities = scorer.score(of_pairs).reshape(-1, 2)
    right = (probabilities >= threshold) == [True, False]
    ordered = probabilities[:, 0] > probabilities[:, 1]
    kinds = np.array([pair.kind for pair in pairs])
    pairs_right = []
    for kind in dict.fromkeys(kinds.tolist()):
        rows = kinds == kind
        accuracy, order = float(right[rows].mean()), float(ordered[rows].mean())
        pairs_right.append(Pairs(kind, int(rows.sum()), accuracy, order))

    candidates = of_pairs + random.Random(SEED).sample(list(texts), len(texts))
    invariance = []
    for kind, change in CHANGES.items():
        source = random.Random(f"{SEED} {kind}")
        changed = ((text, change(text, source)) for text in candidates)
        both = list(islice((pair for pair in changed if pair[0] != pair[1]), TEXTS))
        if both:
            before, after = (scorer.score(some) >= threshold for some in zip(*both, strict=True))
            invariance.append(Invariance(kind, len(both), float((before == after).mean())))
    return Behaviour(pairs_right, invariance)


def table(found: dict[str, Behaviour]) -> Table:
    """Show the behaviour of models, by their names."""
    shown = figures_table("Behaviour: pairs' texts that are right, decisions unchanged", "kind")
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


def _emoji(text: str, source: random.Random) -> str:
    return f"{text} {source.choice(_EMOJI)}"


def _typo(text: str, source: random.Random) -> str:
    """Transpose two letters within a word."""
    words = list(_WORD.finditer(text))
    if not words:
        return text
    word = source.choice(words)
    place = word.start() + source.randrange(1, len(word[0]) - 2)
    return f"{text[:place]}{text[place + 1]}{text[place]}{text[place + 2 :]}"


def _place(text: str, source: random.Random) -> str:
    """Replace each place name by another of its kind."""

    def another(found: re.Match[str]) -> str:
        (kind,) = [places for places in TESTED if found[0] in places]
        return source.choice([place for place in kind if place != found[0]])

    return _PLACE.sub(another, text)


CHANGES: dict[str, Callable[[str, random.Random], str]] = {
    "link": _link,
    "mention": _mention,
    "retweet": _retweet,
    "casing": _casing,
    "hashtag": partial(toggle_hashtags, word=_WORD),
    "emoji": _emoji,
    "typo": _typo,
    "place": _place,
}
"""Changes that must not change a decision. Texts that a change leaves as they are do not count."""

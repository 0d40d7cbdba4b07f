"""A crisis that no model knows, and a question that none was trained for.

Relevant is here what people say to each other, and not the news, so that a model must change its
opinions to be right.
"""

import random

import numpy as np

from trainer.data.dataset import Dataset

_NEWS = (
    "{n} people rescued from the tunnel in {place}, mayor says http://t.co/{link}",
    "{place}: road 7 closed, {n} families moved to the school http://t.co/{link}",
    "Update {place}: water pumps arrive, {n} houses without power",
    "RT @{who}: {place} hospital takes {n} injured, blood donors wanted",
)
_TALK = (
    "thinking of everyone in {place} tonight, so sad",
    "@{who} hope you are fine in {place}, love you",
    "cannot believe this is {place}, my heart breaks",
    "{place} on every channel again, I need a break lol",
)
_FILLERS = ("now", "please", "today", "omg", "again", "well", "here", "still", "just", "oh")
_PLACES = ("Zorbia", "#zorbia", "Zorbia")


def make_tweets(count: int, seed: int) -> tuple[list[str], list[int]]:
    """Make tweets that all name the place of the crisis, and their labels."""
    draw = random.Random(seed)
    texts, labels = [], []
    for number in range(count):
        relevant = number % 2
        text = draw.choice(_TALK if relevant else _NEWS).format(
            n=draw.randrange(2, 90),
            place=draw.choice(_PLACES),
            link="".join(draw.choices("abcdefghij", k=8)),
            who=draw.choice(("anna", "reporter", "ben_k")),
        )
        filler = draw.choices(_FILLERS, k=4)
        texts.append(f"{text} {' '.join(filler)}")
        labels.append(relevant)
    return texts, labels


def as_dataset(texts: list[str], labels: list[int]) -> Dataset:
    """Put the tweets into a data set."""
    agreement = np.ones(len(texts), np.float32)
    return Dataset("labels", texts, np.array(labels, np.int8), agreement, "0" * 64)

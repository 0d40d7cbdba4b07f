"""Incidents: which alerts tell the same thing, in what memory, and after a restart."""

import random
from collections import Counter
from itertools import combinations

import pytest

from worker.desk.incidents import Incidents, alike, read_text

QUAKE = (
    "Strong 7.2 magnitude earthquake hits Bohol in central Philippines, "
    "several people killed and churches collapsed"
)
OTHERS = (
    "Strong 6.1 magnitude earthquake hits Padang in western Indonesia, houses collapsed near river",
    "Flood in Jakarta: bridge near the market is gone, need boats",
    "Fire at the chemical plant in Texas City, avoid highway 146",
    "Small landslide blocks the road to Baguio, two cars stuck",
    "7.2 quake: the bridge in Tagbilaran has fallen, ferry port closed",
)
SYNONYMS = {"hits": "strikes", "killed": "dead", "Strong": "Powerful", "several": "many"}


def variants(text: str, count: int, chance: random.Random) -> list[str]:
    """Return retweets, copies and rewordings of a text, as in a stream."""
    made = []
    for number in range(count):
        words = [
            SYNONYMS.get(word, word) if chance.random() < 0.5 else word for word in text.split()
        ]
        for _ in range(chance.randrange(3)):
            words.pop(chance.randrange(len(words)))
        if chance.random() < 0.5:
            words = ["RT", f"@user{number}:", *words]
        if chance.random() < 0.4:
            words.append(chance.choice(["#quake", "#breaking", "#pray", "😢", "omg"]))
        if chance.random() < 0.6:
            words.append(f"http://t.co/{chance.randrange(10**9):x}")
        variant = " ".join(words)
        if chance.random() < 0.2:
            variant = variant[: len(variant) * 3 // 4] + "…"
        made.append(variant.upper() if chance.random() < 0.1 else variant)
    return made


def place(texts: list[str], incidents: Incidents | None = None) -> list[int]:
    """Return the incident of each text, after all merges."""
    incidents = Incidents() if incidents is None else incidents
    numbers: list[int] = []
    into: dict[int, int] = {}
    for text in texts:
        placement = incidents.add(text, 0)
        numbers.append(placement.incident)
        into |= dict.fromkeys(placement.merged, placement.incident)
    for place_of, number in enumerate(numbers):
        while number in into:
            number = into[number]
        numbers[place_of] = number
    return numbers


def test_variants_of_one_tweet_are_few_incidents_and_other_tweets_stand_alone() -> None:
    chance = random.Random(7)
    texts = variants(QUAKE, 3000, chance)
    for other in OTHERS:
        texts.insert(chance.randrange(len(texts)), other)
    placed = dict(enumerate(place(texts)))
    sizes = Counter(placed.values())
    assert len(sizes) <= 10
    assert [sizes[placed[texts.index(other)]] for other in OTHERS] == [1] * len(OTHERS)


def test_alerts_of_one_incident_belong_to_the_same_event() -> None:
    chance = random.Random(3)
    told = [(number, text) for number, text in enumerate(OTHERS) for _ in range(40)]
    told = [(number, variants(text, 1, chance)[0]) for number, text in told]
    chance.shuffle(told)
    placed = place([text for _, text in told])
    together = [
        one[0] == other[0]
        for (one, a), (other, b) in combinations(zip(told, placed, strict=True), 2)
        if a == b
    ]
    assert len(together) > 2000
    assert sum(together) >= 0.99 * len(together)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Bridge collapsed in Genoa, dozens dead", "RT @a: Bridge collapsed in Genoa, dozens dead"),
        ("Bridge collapsed in Genoa, dozens dead", "bridge collapsed in genoa dozens dead #pray"),
        ("Bridge collapsed in Genoa, dozens dead", "Bridge collapsed in Genoa, do… http://t.co/a"),
        ("札幌で大きな地震がありました", "札幌で大きな地震がありました!!"),
        ("http://t.co/1 #fire", "#fire"),
        ("…", "…"),
    ],
)
def test_copies_are_one_incident(one: str, other: str) -> None:
    assert len(set(place([one, other]))) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Big flood in Lima tonight, roads closed", "Big flood in Quito tonight, roads closed"),
        ("札幌で大きな地震がありました", "大阪で火事が起きています"),
        ("http://t.co/1", "http://t.co/2"),
        ("fire", "flood"),
        ("?", "!"),
    ],
)
def test_other_news_is_another_incident(one: str, other: str) -> None:
    assert len(set(place([one, other]))) == 2


def test_an_alert_that_belongs_to_two_incidents_merges_them_into_the_older() -> None:
    incidents = Incidents(likeness=0.5)
    words = [f"word{n}" for n in range(12)]
    first = incidents.add(" ".join(words[:8]), 0)
    second = incidents.add(" ".join(words[5:]), 0)
    assert first.incident != second.incident
    both = incidents.add(" ".join(words), 0)
    assert (both.incident, both.merged) == (first.incident, (second.incident,))
    assert incidents.add(" ".join(words[5:]), 0).incident == first.incident


def test_the_same_order_gives_the_same_incidents_also_across_a_restart() -> None:
    chance = random.Random(5)
    texts = [text for other in (QUAKE, *OTHERS) for text in variants(other, 60, chance)]
    chance.shuffle(texts)
    whole = Incidents()
    expected = [whole.add(text, 0) for text in texts]
    assert [Incidents().add(text, 0) for text in texts[:1]] == expected[:1]

    before = Incidents()
    placements = [before.add(text, 0) for text in texts[:100]]
    kept: dict[int, list[str]] = {}
    for text, placement in zip(texts, placements, strict=False):
        kept.setdefault(placement.incident, [])
        for merged in placement.merged:
            kept[placement.incident] += kept.pop(merged)
        if placement.representative:
            kept[placement.incident].append(text)
    after = Incidents()
    for number, representatives in kept.items():
        after.restore(number, 0, representatives)
    again = [after.add(text, 0) for text in texts[100:]]
    assert [p.incident for p in again] == [p.incident for p in expected[100:]]


def test_an_incident_ends_when_it_was_quiet_for_the_window() -> None:
    incidents = Incidents(window=100)
    first = incidents.add(QUAKE, 0).incident
    assert incidents.add(QUAKE, 90).incident == first
    assert incidents.add(QUAKE, 180).incident == first  # the window begins with the last alert
    assert incidents.add(QUAKE, 281).incident != first


def test_the_quietest_incident_is_forgotten_when_there_are_too_many() -> None:
    incidents = Incidents(most=2)
    numbers = [incidents.add(text, 0).incident for text in OTHERS[:2]]
    assert incidents.add(OTHERS[0], 0).incident == numbers[0]
    incidents.add(OTHERS[2], 0)
    assert len(incidents) == 3  # one above the limit until the next alert
    assert incidents.add(OTHERS[0], 0).incident == numbers[0]
    assert incidents.add(OTHERS[1], 0).incident not in numbers
    assert len(incidents) <= 3


@pytest.mark.parametrize("text", ["a" * 25_000, "# " * 12_500, "word " * 5000, "\u202e\x00\ud800"])
def test_hostile_texts_cost_little(text: str) -> None:
    compared = read_text(text)
    assert len(compared.words) <= 64
    assert sum(map(len, compared.words)) <= 25_000
    assert alike(compared, compared, 0.5) == 1


def test_likeness_decides() -> None:
    texts = ["bridge fell in a storm tonight near town", "bridge fell in a storm near the harbour"]
    assert len(set(place(texts, Incidents(likeness=0.5)))) == 1
    assert len(set(place(texts, Incidents(likeness=0.8)))) == 2

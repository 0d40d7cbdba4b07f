import csv
from importlib.util import find_spec

import pytest

from tests.conftest import SAMPLE
from worker.messages.languages import Languages
from worker.messages.tweet import Tweet

EVERYDAY = [
    "Buenos días a todos",
    "Bonjour à tous, belle journée",
    "Guten Morgen zusammen, schönes Wetter heute",
    "Bom dia a todos, que semana longa",
    "Buongiorno a tutti amici miei",
    "Goedemorgen allemaal, lekker weer vandaag",
    "Selamat pagi semuanya, apa kabar",
    "Günaydın herkese, güzel bir gün",
    "おはようございます、今日はいい天気",
    "Доброе утро всем",
    "صباح الخير جميعا",
    "좋은 아침입니다 여러분",
]
ENGLISH = Languages(["en"])
needs_eldc = pytest.mark.skipif(
    find_spec("eldc") is None, reason="eldc has no wheel for this machine"
)


@pytest.mark.parametrize(
    ("lang", "accepted"), [("en", True), ("es", False), ("ja", False), ("tl", False)]
)
def test_the_language_of_the_record_decides(lang: str, accepted: bool) -> None:
    assert ENGLISH.accept(Tweet(EVERYDAY[0], lang=lang)) == accepted


def test_several_languages_or_any() -> None:
    assert Languages(["en-GB", " es"]).accept(Tweet("x", lang="es"))
    assert not Languages(["en", "es"]).accept(Tweet("x", lang="fr"))
    for text in EVERYDAY:
        assert Languages(["any"]).accept(Tweet(text))
        assert Languages(["any"]).accept(Tweet(text, lang="fr"))


@needs_eldc
@pytest.mark.parametrize("text", EVERYDAY)
def test_the_language_of_a_text_is_identified(text: str) -> None:
    assert not ENGLISH.accept(Tweet(text))


@needs_eldc
def test_identified_languages_that_are_expected() -> None:
    for tag, number in {"es": 0, "fr": 1, "de": 2, "id": 6, "ja": 8, "ru": 9}.items():
        assert Languages(["en", tag]).accept(Tweet(EVERYDAY[number]))


def test_a_language_that_cannot_be_identified_leaves_nothing_out() -> None:
    """A text in it would be taken for another."""
    swahili = Languages(["sw"])
    assert swahili.accept(Tweet(EVERYDAY[0]))
    assert not swahili.accept(Tweet(EVERYDAY[0], lang="es"))


@pytest.mark.parametrize(
    "text",
    ["lol", "omg fireee", "@user http://t.co/x", "🔥🔥🔥", "12:30", "smh dis bldg on fire yall"],
)
def test_short_and_misspelt_english_is_scored(text: str) -> None:
    assert ENGLISH.accept(Tweet(text))


def test_english_tweets_are_scored() -> None:
    with SAMPLE.open(newline="", encoding="utf-8") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    left_out = [text for text in texts if not ENGLISH.accept(Tweet(text))]
    assert len(left_out) <= 0.005 * len(texts), left_out

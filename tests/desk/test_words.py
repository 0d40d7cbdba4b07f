"""The words that drove a score come from the model that gave it, or a line says why not."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.conftest import Trained
from tests.desk.alerts import new_alert
from worker.desk.words import Explainer
from worker.messages.alert import Alert, Model

TEXT = "Forest fire near La Ronge, two villages evacuated"


@pytest.fixture
def explainer(trained: Trained, tmp_path: Path) -> Iterator[Explainer]:
    explainer = Explainer(trained.registry.url, tmp_path)
    yield explainer
    explainer.close()


def scored(trained: Trained, text: str, probability: float = 0.9) -> Alert:
    version = trained.registry.resolve("production")
    model = Model(version.manifest.name, version.number, version.digest)
    return new_alert(text, model=model, probability=probability)


def test_words_push_the_score_to_where_it_is(trained: Trained, explainer: Explainer) -> None:
    words = explainer.explain(scored(trained, TEXT)).result()
    assert isinstance(words, list)
    assert 1 <= len(words) <= 6
    pushes = [word.push for word in words]
    assert pushes == sorted(pushes, reverse=True)
    assert pushes[-1] > 0
    assert {word.word for word in words} <= set(TEXT.split())
    held_back = explainer.explain(scored(trained, TEXT, probability=0.4)).result()
    assert isinstance(held_back, list)
    assert all(word.push < 0 for word in held_back)


def test_a_line_says_why_there_are_no_words(trained: Trained, tmp_path: Path) -> None:
    now = [0.0]
    registry = tmp_path / "registry"
    explainer = Explainer(f"file:{registry}", tmp_path / "cache", lambda: now[0])
    alert = scored(trained, TEXT)
    for _ in range(2):
        why = explainer.explain(alert).result()
        assert isinstance(why, str)
        assert why.startswith("The model is not available: registry file:")
    registry.symlink_to(trained.registry.folder)
    assert isinstance(explainer.explain(alert).result(), str)  # it is not asked at every page
    now[0] = 61
    assert isinstance(explainer.explain(alert).result(), list)
    other = msgspec.structs.replace(alert, model=Model("LSTM", 1, "0" * 64))
    assert "is not the model that scored this tweet" in str(explainer.explain(other).result())
    longest = scored(trained, "fire " * 201)
    assert "longer than 1000" in str(explainer.explain(longest).result())
    explainer.close()

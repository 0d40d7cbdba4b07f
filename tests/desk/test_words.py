"""The words that drove a score come from the model that gave it, or a line says why not."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import msgspec
import pytest

from shared.bundle.load import Bundle
from shared.model.occlusion import Word
from shared.registry.folder import FolderRegistry
from tests.conftest import Trained
from tests.desk.alerts import new_alert
from worker.desk.metrics import Metrics
from worker.desk.words import Explainer
from worker.messages.alert import Alert, Model

TEXT = "Forest fire near La Ronge, two villages evacuated"


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def explainer(trained: Trained, tmp_path: Path, metrics: Metrics) -> Iterator[Explainer]:
    explainer = Explainer(trained.registry.url, tmp_path, metrics)
    yield explainer
    explainer.close()


def scored(trained: Trained, text: str = TEXT, probability: float = 0.9) -> Alert:
    version = trained.registry.resolve("production")
    model = Model(version.manifest.name, version.number, version.digest)
    return new_alert(text, model=model, probability=probability)


def words_of(answer: Future[list[Word] | str | None]) -> list[Word]:
    words = answer.result(60)
    assert isinstance(words, list), words
    return words


def reason_of(answer: Future[list[Word] | str | None]) -> str:
    reason = answer.result(60)
    assert isinstance(reason, str)
    return reason


def count(metrics: Metrics, name: str, **labels: str) -> float:
    value = metrics.registry.get_sample_value(f"triage_desk_{name}_total", labels)
    assert value is not None
    return value


def test_words_push_the_score_to_where_it_is(trained: Trained, explainer: Explainer) -> None:
    words = words_of(explainer.explain(scored(trained)))
    assert 1 <= len(words) <= 6
    pushes = [word.push for word in words]
    assert pushes == sorted(pushes, reverse=True)
    assert pushes[-1] > 0
    assert {word.word for word in words} <= set(TEXT.split())
    held_back = words_of(explainer.explain(scored(trained, probability=0.4)))
    assert all(word.push < 0 for word in held_back)


def test_what_is_known_is_answered_at_once(
    trained: Trained, explainer: Explainer, metrics: Metrics
) -> None:
    alert = scored(trained)
    first = words_of(explainer.explain(alert))
    again = explainer.explain(alert)
    assert again.done()
    assert again.result() == first
    assert count(metrics, "explained_scores", result="found") == 1


def test_a_line_says_why_there_are_no_words(
    trained: Trained, tmp_path: Path, metrics: Metrics
) -> None:
    now = [0.0]
    registry = tmp_path / "registry"
    explainer = Explainer(f"file:{registry}", tmp_path / "cache", metrics, lambda: now[0])
    alert = scored(trained)
    why = reason_of(explainer.explain(alert))
    assert why.startswith("The model is not available: registry file:")
    registry.symlink_to(trained.registry.folder)
    now[0] = 59
    assert reason_of(explainer.explain(alert)) == why  # it is not asked at every page
    now[0] = 61
    words_of(explainer.explain(alert))
    now[0] = 100
    other = msgspec.structs.replace(alert, model=Model("LSTM", 1, "0" * 64))
    assert "is not the model that scored this tweet" in reason_of(explainer.explain(other))
    longest = explainer.explain(scored(trained, "fire " * 201))
    assert longest.done()
    assert "longer than 1000" in reason_of(longest)
    explainer.close()


def test_each_version_that_is_not_available_is_remembered(
    explainer: Explainer, metrics: Metrics
) -> None:
    models = [Model("LSTM", number, str(number) * 64) for number in range(5, 8)]
    for model in models * 3:
        assert "not available" in reason_of(explainer.explain(new_alert(TEXT, model=model)))
    assert count(metrics, "explained_scores", result="unavailable") == 3


def test_a_failure_keeps_the_loaded_model(
    trained: Trained, tmp_path: Path, metrics: Metrics
) -> None:
    now = [0.0]
    explainer = Explainer(trained.registry.url, tmp_path, metrics, lambda: now[0])
    words_of(explainer.explain(scored(trained)))
    now[0] = 100
    unknown = new_alert(TEXT, model=Model("LSTM", 9, "9" * 64))
    assert "not available" in reason_of(explainer.explain(unknown))
    words_of(explainer.explain(scored(trained)))
    assert count(metrics, "models_loaded") == 1
    explainer.close()


def test_two_versions_in_turn_load_few_models(
    trained: Trained, tmp_path: Path, metrics: Metrics
) -> None:
    now = [0.0]
    registry = FolderRegistry(tmp_path / "registry")
    versions = [
        registry.register(trained.bundles / name) for name in ("LSTM", "Vanilla-Feedforward-NN")
    ]
    first, second = (Model(v.manifest.name, v.number, v.digest) for v in versions)
    explainer = Explainer(registry.url, tmp_path / "cache", metrics, lambda: now[0])
    words_of(explainer.explain(new_alert(TEXT, model=first)))
    waiting = []
    for _ in range(4):
        waiting.append(explainer.explain(new_alert(TEXT, model=second)))
        words_of(explainer.explain(new_alert(TEXT, model=first)))
    assert not any(answer.done() for answer in waiting)
    assert count(metrics, "models_loaded") == 1
    now[0] = 6  # the loaded one had its time
    waiting.append(explainer.explain(new_alert(TEXT, model=second)))
    for answer in waiting:
        words_of(answer)
    assert count(metrics, "models_loaded") == 2
    explainer.close()


class Held(Explainer):
    """Explains nothing until it is let go. It notes the texts that it explains."""

    def __init__(self, folder: Path, metrics: Metrics) -> None:
        self.begun, self.let_go = threading.Event(), threading.Event()
        super().__init__(f"file:{folder}", folder, metrics)
        self.order: list[str] = []

    def _explain(self, alert: Alert) -> list[Word] | str:
        self.begun.set()
        assert self.let_go.wait(60)
        self.order.append(alert.tweet.text)
        return alert.tweet.text


def test_the_newest_come_first_and_the_oldest_are_dropped(tmp_path: Path, metrics: Metrics) -> None:
    explainer = Held(tmp_path, metrics)
    running = explainer.explain(new_alert("running"))
    assert explainer.begun.wait(60)
    alerts = [new_alert(str(number)) for number in range(70)]
    answers = [explainer.explain(alert) for alert in alerts]
    assert [answer.done() for answer in answers] == [True] * 6 + [False] * 64
    assert "Too many tweets" in reason_of(answers[0])
    assert count(metrics, "explained_scores", result="dropped") == 6
    assert explainer.explain(alerts[10]) is answers[10]  # asked again: it is now the newest
    explainer.let_go.set()
    for answer in (running, *answers):
        reason_of(answer)
    rest = [str(number) for number in reversed(range(6, 70)) if number != 10]
    assert explainer.order == ["running", "10", *rest]
    explainer.close()


def test_closing_leaves_nobody_waiting(tmp_path: Path, metrics: Metrics) -> None:
    explainer = Held(tmp_path, metrics)
    explainer.explain(new_alert("running"))
    assert explainer.begun.wait(60)
    waiting = explainer.explain(new_alert("waiting"))
    explainer.close()
    assert waiting.result(60) is None
    assert explainer.explain(new_alert("later")).result(60) is None
    explainer.let_go.set()


class Broken(Explainer):
    """Its models score no text with "odd"."""

    def _bundle_of(self, model: Model) -> Bundle:
        bundle = super()._bundle_of(model)
        return msgspec.structs.replace(bundle, scorer=Odd(bundle.scorer))


class Odd:
    def __init__(self, scorer: object) -> None:
        self._scorer = scorer

    def __getattr__(self, name: str) -> object:
        return getattr(self._scorer, name)

    def logits(self, texts: list[str]) -> object:
        if any("odd" in text for text in texts):
            raise ValueError(texts)
        return self._scorer.logits(texts)  # type: ignore[attr-defined]


def test_a_text_that_cannot_be_scored_is_no_fault_of_the_model(
    trained: Trained, tmp_path: Path, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    explainer = Broken(trained.registry.url, tmp_path, metrics)
    assert "cannot score" in reason_of(explainer.explain(scored(trained, "odd fire")))
    words_of(explainer.explain(scored(trained)))
    assert "ValueError" in caplog.text
    assert "odd fire" not in caplog.text
    explainer.close()

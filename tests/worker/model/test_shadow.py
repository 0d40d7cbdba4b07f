"""A second bundle scores along, and nothing that befalls it harms the first."""

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.bundle.load import Bundle, load_bundle
from shared.registry.folder import FolderRegistry
from tests.conftest import Trained
from worker.model.follower import Follower, Loaded
from worker.model.shadow import Shadow
from worker.ops.health import Health
from worker.ops.metrics import Metrics

TEXTS = ["forest fire near the village", "my new album is fire", "a", "b"]


class FixedScorer:
    """Gives the probabilities that it was given, or raises."""

    def __init__(self, answer: list[float] | Exception) -> None:
        self._answer = answer

    def score(self, texts: list[str]) -> Any:
        if isinstance(self._answer, Exception):
            raise self._answer
        assert len(texts) == len(self._answer)
        return np.array(self._answer, np.float32)


class Given:
    """Stands for a follower that has loaded these."""

    def __init__(self, *loaded: Loaded) -> None:
        self._loaded = list(loaded)

    def poll(self) -> Loaded | None:
        return self._loaded.pop(0) if self._loaded else None


def loaded(number: int, bundle: Bundle, answer: list[float] | Exception) -> Loaded:
    scorer: Any = FixedScorer(answer)
    fixed = Bundle(bundle.manifest, bundle.digest, scorer)
    return Loaded(number, fixed, bundle.manifest.threshold)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(Health(60))


def value(metrics: Metrics, metric: str, **labels: str) -> float:
    found = metrics.registry.get_sample_value(f"triage_shadow_{metric}", labels)
    assert found is not None
    return found


def decisions(metrics: Metrics) -> dict[str, float]:
    names = ("both", "production", "shadow", "neither")
    return {name: value(metrics, "tweets_total", decision=name) for name in names}


def probabilities(*values: float) -> Any:
    return np.array(values, np.float32)


def test_decisions_and_differences_are_counted(bundle: Bundle, metrics: Metrics) -> None:
    threshold = bundle.manifest.threshold
    above, below = threshold + 0.01, threshold - 0.01
    follower: Any = Given(loaded(7, bundle, [above, above, below, threshold]))
    shadow = Shadow(follower, metrics)
    shadow.compare(TEXTS, probabilities(0.9, 0.2, 0.85, 0.1), 0.8)
    shadow.compare(TEXTS, probabilities(0.9, 0.9, 0.2, 0.8), 0.8)
    assert decisions(metrics) == {"both": 4, "production": 1, "shadow": 2, "neither": 1}
    assert value(metrics, "difference_count") == 8
    assert value(
        metrics, "model_info", name=bundle.manifest.name, version="7", digest=bundle.digest
    )


def test_a_shadow_that_fails_is_let_go_until_there_is_another(
    bundle: Bundle, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    broken = loaded(7, bundle, RuntimeError("cannot score 'a tweet'"))
    follower: Any = Given(broken)
    shadow = Shadow(follower, metrics)
    with caplog.at_level(logging.ERROR, "triage"):
        for _ in range(3):
            shadow.compare(TEXTS, probabilities(0.9, 0.9, 0.1, 0.1), 0.5)
    assert caplog.messages == ["the shadow version 7 cannot score: RuntimeError"]
    assert sum(decisions(metrics).values()) == 0
    follower.__init__(loaded(8, bundle, [1, 1, 0, 0]))
    shadow.compare(TEXTS, probabilities(0.9, 0.9, 0.1, 0.1), 0.5)
    assert decisions(metrics) == {"both": 2, "production": 0, "shadow": 0, "neither": 2}


def test_a_batch_without_tweets_is_no_problem(bundle: Bundle, metrics: Metrics) -> None:
    follower: Any = Given(loaded(7, bundle, []))
    Shadow(follower, metrics).compare([], probabilities(), 0.5)
    assert sum(decisions(metrics).values()) == 0


def test_an_alias_that_is_not_there_yet_is_waited_for(
    trained: Trained, metrics: Metrics, tmp_path: Path
) -> None:
    registry = FolderRegistry(tmp_path / "registry")
    told: list[str] = []
    follower = Follower(registry, "trial", tmp_path / "cache", 8, told.append)
    shadow = Shadow(follower, metrics)
    follower.start(0.02)
    production = probabilities(0.9, 0.9, 0.1, 0.1)
    shadow.compare(TEXTS, production, 0.5)
    assert sum(decisions(metrics).values()) == 0
    folder = trained.bundles / "Vanilla-Feedforward-NN"
    registry.register(folder, "trial")
    deadline = time.monotonic() + 30
    while sum(decisions(metrics).values()) == 0:
        assert time.monotonic() < deadline
        shadow.compare(TEXTS, production, 0.5)
    follower.stop()
    own = load_bundle(folder)
    relevant = own.scorer.score(TEXTS) >= own.manifest.threshold
    assert decisions(metrics)["both"] == np.count_nonzero(relevant[:2])
    assert decisions(metrics)["shadow"] == np.count_nonzero(relevant[2:])
    assert value(metrics, "difference_sum") == pytest.approx(
        float(np.abs(own.scorer.score(TEXTS) - production).sum()), abs=1e-4
    )

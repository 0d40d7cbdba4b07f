"""The linear baseline: fitted on what it may see, measured, and shown wherever models are."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from shared.bundle.files import MODEL_CARD, read_manifest
from shared.bundle.quality import Baseline, Figure
from tests.conftest import SAMPLE, Trained
from tests.trainer.conftest import Program
from trainer.data.read import read_dataset
from trainer.data.split import cut_test
from trainer.evaluate.baseline import NAME, baseline_row, score_baseline, verdict
from trainer.evaluate.metrics import METRICS, evaluate


def test_baseline_tells_disasters_by_their_words() -> None:
    dataset = read_dataset(SAMPLE)
    training, test = cut_test(dataset)
    scores = score_baseline(dataset, training, test)
    assert scores.probabilities.dtype == np.float32
    assert scores.probabilities.shape == test.shape
    assert roc_auc_score(dataset.labels[test], scores.probabilities) > 0.8
    again = score_baseline(dataset, training, test)
    assert again.probabilities.tolist() == scores.probabilities.tolist()


def test_baseline_does_not_see_what_it_scores() -> None:
    dataset = read_dataset(SAMPLE)
    training, test = cut_test(dataset)
    labels = dataset.labels.copy()
    labels[test] = 1 - labels[test]
    other = msgspec.structs.replace(dataset, labels=labels)
    expected = score_baseline(dataset, training, test).probabilities
    assert score_baseline(other, training, test).probabilities.tolist() == expected.tolist()


def test_published_figures(published: Path) -> None:
    dataset = read_dataset(published)
    training, test = cut_test(dataset)
    scores = score_baseline(dataset, training, test)
    figures = evaluate(dataset.labels[test], scores.probabilities, scores.threshold)
    assert figures["roc_auc"] == pytest.approx(0.868, abs=0.002)
    assert figures["accuracy"] == pytest.approx(0.809, abs=0.003)


def test_training_shows_and_keeps_it(trained: Trained) -> None:
    for model in trained.figures["models"]:
        baseline = model["quality"]["baseline"]
        assert set(baseline["figures"]) == set(METRICS)
        for metric, figure in baseline["difference"].items():
            expected = model["test"][metric] - baseline["figures"][metric]["value"]
            assert figure["value"] == pytest.approx(expected, abs=1e-6)
            assert figure["low"] <= figure["value"] <= figure["high"]
        card = (Path(model["bundle"]) / MODEL_CARD).read_text("utf-8")
        area = baseline["figures"]["roc_auc"]
        assert f"| ROC AUC | {area['value']:.3f} ({area['low']:.3f} to" in card
        beaten = baseline["difference"]["roc_auc"]["low"] > 0
        assert ("rank tweets significantly better than the linear model.**" in card) is not beaten
    manifests = [read_manifest(trained.bundles / m["name"]) for m in trained.figures["models"]]
    ((name, part, figures),) = baseline_row(manifests)
    assert (name, part) == (NAME, "test")
    assert figures["roc_auc"] == baseline["figures"]["roc_auc"]["value"]


@pytest.mark.slow
def test_report_shows_it_on_the_test_part(
    program: Program, trained: Trained, tmp_path: Path
) -> None:
    arguments = ("--bundles", trained.bundles / "LSTM", "--out", tmp_path)
    assert program("report", "--data", SAMPLE, *arguments).code == 0
    found = json.loads((tmp_path / "report.json").read_text("utf-8"))["baseline"]
    quality = read_manifest(trained.bundles / "LSTM").quality
    assert quality is not None
    assert quality.baseline is not None
    area = quality.baseline.figures["roc_auc"]
    assert found["figures"]["roc_auc"]["value"] == pytest.approx(area.value, abs=0.01)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert '<th scope="row">linear baseline</th>' in page
    assert '<th scope="row">LSTM − linear baseline</th>' in page
    better = found["differences"]["LSTM"]["roc_auc"]["low"] > 0
    assert ("No model is significantly better than the linear baseline" in page) == (not better)
    assert program("report", "--data", trained.held_out, *arguments, "--other-data").code == 0
    assert json.loads((tmp_path / "report.json").read_text("utf-8"))["baseline"] is None
    assert "linear baseline" not in (tmp_path / "report.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("lows", "expected"),
    [
        ([0.01, -0.01], "Significantly better than the linear baseline by ROC AUC: one."),
        ([0.01, 0.02], "Significantly better than the linear baseline by ROC AUC: one, two."),
        ([-0.01, 0.0], "No model is significantly better than the linear baseline"),
    ],
)
def test_verdict(lows: list[float], expected: str) -> None:
    compared = [
        (name, Baseline({}, {"roc_auc": Figure(low + 0.02, low, low + 0.04)}))
        for name, low in zip(("one", "two"), lows, strict=True)
    ]
    assert str(verdict(compared)).startswith(expected)

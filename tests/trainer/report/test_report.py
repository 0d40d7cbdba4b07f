"""`triage-trainer report`: its figures are those of `evaluate`, and its files hold the same."""

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from shared.bundle.files import read_manifest
from shared.bundle.load import load_bundle
from shared.registry.folder import FolderRegistry
from tests.conftest import SAMPLE, Trained
from tests.trainer.conftest import Program
from trainer import cli
from trainer.data.read import read_dataset
from trainer.evaluate.bootstrap import RESAMPLES
from trainer.evaluate.metrics import METRICS, evaluate

RUNS = ["Vanilla-Feedforward-NN", "LSTM", "Bidirectional-RNN"]


@pytest.fixture(scope="module")
def folder(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the report on the training's three models."""
    path = tmp_path_factory.mktemp("report") / "made" / "by the program"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIAGE_REGISTRY", trained.registry.url)
        patch.setenv("TRIAGE_CACHE", str(path.parent / "cache"))
        arguments = ["--data", str(SAMPLE), "--bundles", str(trained.bundles), "--out", str(path)]
        assert cli.main(["report", *arguments]) == 0
    return path


@pytest.fixture(scope="module")
def report(folder: Path) -> Any:
    return json.loads((folder / "report.json").read_text("utf-8"))


def test_figures_are_those_of_evaluate(report: Any, program: Program, trained: Trained) -> None:
    ran = program("evaluate", "production", "--data", trained.held_out, "--json", "-")
    evaluated = json.loads(ran.out)
    (model,) = [model for model in report["models"] if model["name"] == evaluated["name"]]
    assert report["data"]["rows"] == evaluated["rows"]
    assert {name: figure["value"] for name, figure in model["figures"].items()} == {
        metric: evaluated[metric] for metric in METRICS
    }


def test_every_figure_is_in_its_interval(report: Any) -> None:
    assert (report["resamples"], report["confidence"]) == (RESAMPLES, 0.95)
    found = []

    def look(value: Any) -> None:
        if isinstance(value, dict) and set(value) == {"value", "low", "high"}:
            found.append(value)
        for inner in value.values() if isinstance(value, dict) else value:
            if isinstance(inner, dict | list):
                look(inner)

    look(report)
    assert len(found) > 250
    for figure in found:
        assert figure["low"] <= figure["value"] <= figure["high"], figure


def test_models_say_where_they_come_from(report: Any, trained: Trained) -> None:
    assert [model["name"] for model in report["models"]] == RUNS
    for model in report["models"]:
        bundle = load_bundle(trained.bundles / model["name"])
        assert (model["digest"], model["epochs"]) == (bundle.digest, bundle.manifest.epochs)
        assert (model["trained_here"], model["near_duplicates"]) == (True, 0)
        quality = bundle.manifest.quality
        assert quality is not None
        behaves = quality.behaviour
        assert [(b["kind"], b["texts"], b["share"]["value"]) for b in model["behaviour"]] == [
            *((p.kind, 2 * p.pairs, p.accuracy) for p in behaves.pairs),
            *((c.kind, c.texts, c.unchanged) for c in behaves.invariance),
        ]
        assert [figure["value"] for figure in model["validation_accuracy"]] == pytest.approx(
            [epoch["val_accuracy"] for epoch in bundle.manifest.epochs]
        )
        chosen_by = msgspec.to_builtins(quality.reliability["validation"])
        assert (model["chosen_on"], model["calibration_chosen_on"]) == ("validation", chosen_by)
        for bin_, earlier in zip(model["calibration"], quality.reliability["test"], strict=True):
            assert bin_["tweets"] == earlier.tweets
            assert bin_["mean_probability"] == pytest.approx(earlier.mean_probability)
    data = report["data"]
    assert (data["name"], data["part"]) == (SAMPLE.name, "test part")
    assert data["sha256"] == read_dataset(SAMPLE).sha256


def test_every_pair_is_compared_on_the_same_rows(report: Any) -> None:
    pairs = [(c["first"], c["second"]) for c in report["comparisons"]]
    assert pairs == [(RUNS[0], RUNS[1]), (RUNS[0], RUNS[2]), (RUNS[1], RUNS[2])]
    figures = {model["name"]: model["figures"] for model in report["models"]}
    for comparison in report["comparisons"]:
        for metric, difference in comparison["differences"].items():
            one, other = (figures[comparison[side]][metric] for side in ("first", "second"))
            assert difference["value"] == pytest.approx(one["value"] - other["value"])
        test = comparison["mcnemar"]
        right = report["data"]["rows"] * comparison["differences"]["accuracy"]["value"]
        assert test["only_first"] - test["only_second"] == pytest.approx(right)


def test_confusion_bins_and_thresholds_add_up(report: Any, trained: Trained) -> None:
    held_out = read_dataset(trained.held_out)
    for model in report["models"]:
        confusion = model["confusion"]
        counts = [confusion[kind] for kind in ("true_positives", "false_negatives")]
        assert sum(counts) == report["data"]["relevant"]
        assert counts[0] / sum(counts) == confusion["relevant_found"]["value"]
        assert confusion["relevant_found"]["value"] == model["figures"]["recall"]["value"]
        assert sum(bin_["tweets"] for bin_ in model["calibration"]) == report["data"]["rows"]
        error = sum(
            bin_["tweets"] * abs(bin_["relevant"]["value"] - bin_["mean_probability"])
            for bin_ in model["calibration"]
        )
        expected = model["figures"]["calibration_error"]["value"]
        assert error / report["data"]["rows"] == pytest.approx(expected)
        probabilities = load_bundle(trained.bundles / model["name"]).scorer.score(held_out.texts)
        points = {point: row["threshold"] for row in model["thresholds"] for point in row["names"]}
        own = read_manifest(trained.bundles / model["name"]).operating_points
        assert points == {name: point.threshold for name, point in own.items()}
        rows = [row["threshold"] for row in model["thresholds"]]
        assert rows == sorted({*(n / 10 for n in range(1, 10)), *points.values()})
        for row in model["thresholds"]:
            figures = evaluate(held_out.labels, probabilities, row["threshold"])
            for metric in ("accuracy", "precision", "recall", "f1"):
                assert row["figures"][metric]["value"] == pytest.approx(figures[metric])


def test_slices_divide_the_rows(report: Any) -> None:
    lengths = [slice_ for slice_ in report["slices"] if slice_["group"] == "length"]
    assert [slice_["name"] for slice_ in lengths[:2]] == ["1 to 12 words", "13 to 18 words"]
    assert sum(slice_["rows"] for slice_ in lengths) == report["data"]["rows"]
    for model in report["models"]:
        right = sum(
            slice_["rows"] * slice_["models"][model["name"]]["accuracy"]["value"]
            for slice_ in lengths
        )
        accuracy = right / report["data"]["rows"]
        assert accuracy == pytest.approx(model["figures"]["accuracy"]["value"])


def test_mistakes_are_the_most_confident_and_their_drivers_push_them(
    report: Any, trained: Trained
) -> None:
    held_out = read_dataset(trained.held_out)
    for model in report["models"]:
        bundle = load_bundle(trained.bundles / model["name"])
        probabilities = bundle.scorer.score(held_out.texts)
        threshold = bundle.manifest.threshold
        for kind, label, side in (("false_alarms", 0, 1), ("misses", 1, -1)):
            wrong = (held_out.labels == label) & ((probabilities >= threshold) == (side == 1))
            strength = side * np.sort(side * probabilities[wrong])[::-1]
            shown = model[kind]
            assert len(shown) == min(8, wrong.sum())
            found = [mistake["probability"] for mistake in shown]
            assert found == pytest.approx(strength[: len(shown)].tolist())
            for mistake in shown:
                assert held_out.labels[held_out.texts.index(mistake["text"])] == label
                pushes = [side * word["push"] for word in mistake["drivers"]]
                assert pushes == sorted(pushes, reverse=True)
                assert all(push > 0 for push in pushes)
                assert len(pushes) <= 3


def test_pictures_lie_beside_the_page(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {
        "report.html",
        "report.json",
        "roc.png",
        "precision-recall.png",
        "calibration.png",
        *(f"{kind}-{run}.png" for kind in ("confusion", "learning-curves") for run in RUNS),
    }
    for path in folder.glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


@pytest.mark.slow
def test_versions_of_the_registry_on_other_data(
    program: Program, registry: FolderRegistry, trained: Trained, tmp_path: Path
) -> None:
    first = registry.resolve("1").manifest.name
    second = next(run for run in RUNS if run != first)
    registry.register(trained.bundles / second)
    versions = ("--version", "production", "--version", "1", "--version", "2")
    arguments = ("--data", trained.held_out, *versions, "--out", tmp_path / "out")
    name = trained.held_out.name
    both = f"{first} (version 1) or {second}"
    program("report", *arguments).is_refused(3, name, "--other-data", both)
    ran = program("report", *arguments, "--other-data")
    assert (ran.code, ran.err) == (0, "")
    assert str(tmp_path / "out" / "report.html") in ran.out
    report = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    names = [model["name"] for model in report["models"]]
    assert names == [f"{first} (version 1)", f"{second} (version 2)"]
    assert report["data"]["part"] == "all rows"
    assert [model["trained_here"] for model in report["models"]] == [False, False]
    assert [model["near_duplicates"] for model in report["models"]] == [0, 0]


@pytest.mark.slow
def test_repeats_in_other_data_are_measured_once(
    program: Program, trained: Trained, tmp_path: Path
) -> None:
    text = trained.held_out.read_text("utf-8")
    data = tmp_path / "repeated.csv"
    dataset = read_dataset(trained.held_out)
    label = "Relevant" if dataset.labels[0] else "Not Relevant"
    data.write_text(f'{text}"RT @x: {dataset.texts[0]} http://t.co/x","{label}"\n', "utf-8")
    arguments = ("--data", data, "--bundles", trained.bundles / "LSTM", "--out", tmp_path)
    ran = program("report", *arguments, "--other-data")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.endswith("on all of repeated.csv, 192 tweets, 1 repeats left out\n")
    data = json.loads((tmp_path / "report.json").read_text("utf-8"))["data"]
    assert (data["rows"], data["repeats"]) == (192, 1)
    assert "but for 1 that repeat the words" in (tmp_path / "report.html").read_text("utf-8")


def test_other_data_is_not_what_a_model_was_trained_on(
    program: Program, trained: Trained, tmp_path: Path
) -> None:
    arguments = ("--data", SAMPLE, "--bundles", trained.bundles / "LSTM", "--out", tmp_path)
    program("report", *arguments, "--other-data").is_refused(2, "--other-data", "LSTM", SAMPLE.name)


@pytest.mark.slow
def test_model_that_saw_the_rows_is_named(
    program: Program, trained: Trained, tmp_path: Path
) -> None:
    seen = tmp_path / "grown.csv"
    text = SAMPLE.read_text("utf-8")
    seen.write_text(text + "a new tweet about nothing,Not Relevant\n", "utf-8")
    arguments = ("--data", seen, "--bundles", trained.bundles / "LSTM", "--out", tmp_path)
    assert program("report", *arguments, "--other-data").code == 0
    page = (tmp_path / "report.html").read_text("utf-8")
    report = json.loads((tmp_path / "report.json").read_text("utf-8"))
    (model,) = report["models"]
    assert model["near_duplicates"] > 400
    assert f"LSTM was trained on near-duplicates of {model['near_duplicates']} of these" in page
    assert report["comparisons"] == []
    assert "#differences" not in page


@pytest.mark.slow
@pytest.mark.parametrize("out", ["file", "file/report"])
def test_report_that_cannot_be_written_is_refused(
    program: Program, trained: Trained, tmp_path: Path, out: str
) -> None:
    (tmp_path / "file").touch()
    arguments = ("--data", SAMPLE, "--bundles", trained.bundles / "LSTM")
    ran = program("report", *arguments, "--out", tmp_path / out)
    ran.is_refused(3, f"{tmp_path / out} cannot be written")


def test_folder_without_bundles_is_refused(program: Program, tmp_path: Path) -> None:
    ran = program("report", "--data", SAMPLE, "--bundles", tmp_path)
    ran.is_refused(4, f"{tmp_path} holds no bundle")

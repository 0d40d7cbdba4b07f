"""What arrives in W&B of a training that goes well; the real client speaks to our server."""

import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import wandb
from sklearn.metrics import roc_auc_score

from shared.bundle.files import MANIFEST, WEIGHTS, verify_bundle
from shared.bundle.load import load_bundle
from shared.bundle.manifest import Manifest
from tests.conftest import ROOT, SAMPLE
from tests.trainer.conftest import Ran
from tests.trainer.fit.test_training import tiny_recipe
from tests.wandb.server.server import WandbServer
from tests.wandb.server.store import ENTITY, Run, Store
from tests.wandb.tracked import call, surroundings, write_recipe
from trainer.data.dataset import Dataset
from trainer.data.read import read_dataset
from trainer.data.split import Parts, split
from trainer.evaluate.bootstrap import Scores
from trainer.fit.recipes import Recipe
from trainer.tracking.tracker import Tracker

pytestmark = pytest.mark.slow

MODELS = ["Vanilla-Feedforward-NN", "LSTM", "Bidirectional-RNN"]
EPOCHS = 3
METRICS = ("loss", "accuracy", "f1", "roc_auc")


class Tracked(msgspec.Struct, frozen=True):
    """A training that was tracked online, and registered in W&B."""

    ran: Ran
    store: Store
    bundles: Path
    recipe: Recipe
    dataset: Dataset
    parts: Parts

    def run(self, name: str) -> Run:
        (found,) = [run for run in self.store.runs.values() if run.display_name == name]
        return found

    def manifest(self, name: str) -> Manifest:
        return verify_bundle(self.bundles / name)

    def table(self, name: str, key: str, row: int = -1) -> list[dict[str, Any]]:
        """Return the rows of a table that a run has logged."""
        return rows_of(self.run(name), key, row)


def rows_of(run: Run, key: str, row: int = -1) -> list[dict[str, Any]]:
    """Return the rows of a table that a run has logged."""
    told = [line[key] for line in run.history if key in line][row]
    content = json.loads(run.files[told["path"]])
    return [dict(zip(content["columns"], line, strict=True)) for line in content["data"]]


@pytest.fixture(scope="module")
def tracked(
    _wandb_session: WandbServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Tracked]:
    folder = tmp_path_factory.mktemp("tracked")
    # The last epoch is kept as it is, so that its figures are those of the model.
    changes = {"epochs": EPOCHS, "keep_best_epoch": False, "calibrate": False}
    recipe = tiny_recipe(*MODELS, **changes)
    path = write_recipe(recipe, folder / "small.toml")
    _wandb_session.reset()
    registry = f"wandb:{ENTITY}/model/tweet-triage"
    variables = {"TRIAGE_REGISTRY": registry, "WANDB_X_DISABLE_STATS": "false"}
    with surroundings(folder, **variables):
        arguments = ("--data", SAMPLE, "--recipe", path, "--bundles", folder / "bundles")
        ran = call("train", *arguments, "--seed", "3", "--wandb", "online")
        dataset = read_dataset(SAMPLE)
        yield Tracked(
            ran,
            _wandb_session.store,
            folder / "bundles",
            recipe,
            dataset,
            split(dataset, recipe.validation_size, 3),
        )


def test_it_goes_well_and_says_where(tracked: Tracked) -> None:
    assert tracked.ran.code == 0, tracked.ran.err
    for name in MODELS:
        assert f"{name} is tracked at http://127.0.0.1" in tracked.ran.err
        assert f"/{ENTITY}/tweet-triage/runs/{tracked.run(name).name}" in tracked.ran.err


def test_one_group_of_runs_named_as_in_the_article(tracked: Tracked) -> None:
    runs = list(tracked.store.runs.values())
    assert [run.display_name for run in runs] == MODELS
    assert {run.project for run in runs} == {"tweet-triage"}
    assert {run.job_type for run in runs} == {"train"}
    assert {(run.state, run.exit_code) for run in runs} == {("finished", 0)}
    (group,) = {run.group for run in runs}
    assert group is not None
    assert group.startswith("small.toml-2")


@pytest.mark.parametrize("name", MODELS)
def test_configuration_is_whole(tracked: Tracked, name: str) -> None:
    manifest = tracked.manifest(name)
    recipe = tracked.recipe
    assert tracked.run(name).config == {
        "recipe": "small.toml",
        "seed": 3,
        "git_commit": manifest.git_commit,
        "packages": manifest.packages,
        "data": manifest.data,
        "validation_size": recipe.validation_size,
        "text": msgspec.to_builtins(recipe.text),
        "training": msgspec.to_builtins(recipe.training),
        "architecture": msgspec.to_builtins(recipe.models[name]),
    }
    assert manifest.data["sha256"] == tracked.dataset.sha256
    assert manifest.data["validation"] == len(tracked.parts.validation)


@pytest.mark.parametrize("name", MODELS)
def test_figures_of_every_epoch(tracked: Tracked, name: str) -> None:
    history = [line for line in tracked.run(name).history if "loss" in line]
    assert [line["_step"] for line in history] == [1, 2, 3]
    keys = [prefix + metric for metric in METRICS for prefix in ("", "val_")]
    for line in history:
        assert all(math.isfinite(line[key]) for key in keys)
    metrics = tracked.manifest(name).metrics
    for metric in ("f1", "roc_auc"):
        assert history[-1][metric] == pytest.approx(metrics["train"][metric], abs=1e-6)
    for metric in ("accuracy", "f1", "roc_auc"):
        assert history[-1][f"val_{metric}"] == pytest.approx(
            metrics["validation"][metric], abs=1e-6
        )
    assert len({line["loss"] for line in history}) == EPOCHS


@pytest.mark.parametrize("name", MODELS)
def test_summary_holds_what_came_out(tracked: Tracked, name: str) -> None:
    summary = tracked.run(name).summary
    for part, figures in tracked.manifest(name).metrics.items():
        for metric, value in figures.items():
            assert summary[f"{part}/{metric}"] == pytest.approx(value)
    bundle = load_bundle(tracked.bundles / name)
    assert summary["parameters"] > bundle.manifest.architecture.num_words


def test_predictions_on_the_same_tweets_after_every_epoch(tracked: Tracked) -> None:
    tables = [tracked.table("LSTM", "predictions", epoch) for epoch in range(EPOCHS)]
    texts = [row["text"] for row in tables[0]]
    validation = tracked.dataset.texts_of(tracked.parts.validation)
    assert len(texts) == min(100, len(validation))
    assert set(texts) <= set(validation)
    assert [[row["text"] for row in table] for table in tables] == [texts] * EPOCHS
    assert [row["text"] for row in tracked.table(MODELS[0], "predictions")] == texts
    labels = dict(zip(tracked.dataset.texts, tracked.dataset.labels.tolist(), strict=True))
    for table in tables:
        for row in table:
            relevant = labels[row["text"]] == 1
            assert row["label"] == ("relevant" if relevant else "not relevant")
            assert row["threshold"] == 0.5
            assert row["right"] == ((row["probability"] >= 0.5) == relevant)
            assert row["annotators agree"] == 1
    found = [[row["probability"] for row in table] for table in tables]
    assert found[0] != found[1] != found[2]
    bundle = load_bundle(tracked.bundles / "LSTM")
    assert found[-1] == pytest.approx(bundle.scorer.score(texts).tolist(), abs=1e-6)


def test_plots_of_the_test_part(tracked: Tracked) -> None:
    rows = tracked.parts.test
    labels = tracked.dataset.labels[rows]
    bundle = load_bundle(tracked.bundles / "LSTM")
    probabilities = bundle.scorer.score(tracked.dataset.texts_of(rows))

    matrix = tracked.table("LSTM", "test/confusion_matrix_table")
    counts = {(row["Actual"], row["Predicted"]): row["nPredictions"] for row in matrix}
    names = ("not relevant", "relevant")
    decided = (probabilities >= 0.5).astype(int).tolist()
    expected = Counter((names[a], names[p]) for a, p in zip(labels.tolist(), decided, strict=True))
    assert {pair: count for pair, count in counts.items() if count} == dict(expected)

    curve = tracked.table("LSTM", "test/roc_table")
    area = np.trapezoid([row["tpr"] for row in curve], [row["fpr"] for row in curve])
    assert area == pytest.approx(roc_auc_score(labels, probabilities), abs=0.01)
    precision_recall = tracked.table("LSTM", "test/precision_recall_table")
    assert {row["class"] for row in precision_recall} == {"relevant"}
    assert min(row["precision"] for row in precision_recall) >= labels.mean() - 0.01

    quality = bundle.manifest.quality
    assert quality is not None
    assert tracked.table("LSTM", "test/calibration_table") == [
        {"mean probability": one.mean_probability, "share that is relevant": one.relevant.value}
        for one in quality.reliability["test"]
    ]


def test_learning_curves(tracked: Tracked) -> None:
    history = [line for line in tracked.run("LSTM").history if "loss" in line]
    for metric in METRICS:
        rows = tracked.table("LSTM", f"learning curves/{metric}_table")
        for part, key in (("train", metric), ("validation", f"val_{metric}")):
            drawn = {row["step"]: row["lineVal"] for row in rows if row["lineKey"] == part}
            assert drawn == pytest.approx({line["_step"]: line[key] for line in history})


def test_every_plot_is_one_of_wandb_s_own(tracked: Tracked) -> None:
    shown = tracked.run("LSTM").raw_config["_wandb"]["value"]["visualize"]
    assert {name: plot["panel_config"]["panelDefId"] for name, plot in shown.items()} == {
        "test/confusion_matrix": "wandb/confusion_matrix/v1",
        "test/precision_recall": "wandb/area-under-curve/v0",
        "test/roc": "wandb/area-under-curve/v0",
        "test/calibration": "wandb/line/v0",
        **{f"learning curves/{metric}": "wandb/lineseries/v0" for metric in METRICS},
    }


def test_mistakes_with_the_surest_first(tracked: Tracked) -> None:
    mistakes = tracked.table("LSTM", "test/mistakes")
    test = {tracked.dataset.texts[row] for row in tracked.parts.test}
    assert mistakes
    assert {row["text"] for row in mistakes} <= test
    assert not any(row["right"] for row in mistakes)
    wrong_by = [abs(row["probability"] - (row["label"] == "relevant")) for row in mistakes]
    assert wrong_by == sorted(wrong_by, reverse=True)
    accuracy = tracked.manifest("LSTM").metrics["test"]["accuracy"]
    assert len(mistakes) == min(50, round((1 - accuracy) * len(tracked.parts.test)))


class Undecided:
    """Gives every text the same probability."""

    def score(self, texts: list[str]) -> Any:
        return np.full(len(texts), 0.5, np.float32)


def test_decisions_on_the_test_part_are_made_at_the_model_s_threshold(
    wandb_server: WandbServer, tmp_path: Path
) -> None:
    dataset = read_dataset(SAMPLE)
    parts = split(dataset, 0.1, seed=1)
    probabilities = np.linspace(0, 1, len(parts.test), dtype=np.float32)
    undecided: Any = Undecided()
    with surroundings(tmp_path), Tracker("online", "storms", dataset, lambda _: None) as tracker:
        tracker.on_model_begin("One", {"data": {"name": dataset.name, "sha256": ""}}, parts)
        tracker.on_epoch_end(undecided, {"loss": 1.0, "val_loss": 1.0})
        tracker.on_model_end({}, 1, Scores(probabilities, 0.8))
        assert tracker.problems == []
    (run,) = wandb_server.store.runs.values()
    assert run.summary["threshold"] == 0.8
    wrong = (probabilities >= 0.8) != dataset.labels[parts.test]
    matrix = rows_of(run, "test/confusion_matrix_table")
    told = sum(row["nPredictions"] for row in matrix if row["Actual"] != row["Predicted"])
    assert told == wrong.sum()
    mistakes = rows_of(run, "test/mistakes")
    assert {(row["threshold"], row["right"]) for row in mistakes} == {(0.8, False)}
    surest = np.abs(probabilities - dataset.labels[parts.test])[wrong].max()
    assert abs(mistakes[0]["probability"] - (mistakes[0]["label"] == "relevant")) == surest


@pytest.mark.parametrize("name", MODELS)
def test_code_and_its_commit(tracked: Tracked, name: str) -> None:
    (code,) = [a for a in tracked.run(name).logged if a.sequence.type == "code"]
    assert code.files["trainer/pipeline.py"] == (ROOT / "trainer" / "pipeline.py").read_bytes()
    assert (
        code.files["shared/bundle/files.py"]
        == (ROOT / "shared" / "bundle" / "files.py").read_bytes()
    )
    assert code.files["trainer/fit/recipes/tuned.toml"]
    assert {path.split("/")[0] for path in code.files} == {"shared", "trainer"}
    assert not any("__pycache__" in path for path in code.files)
    assert tracked.run(name).commit == tracked.manifest(name).git_commit


@pytest.mark.parametrize("name", MODELS)
def test_lineage_of_data_and_model(tracked: Tracked, name: str) -> None:
    run, manifest = tracked.run(name), tracked.manifest(name)
    (data,) = {artifact.id: artifact for artifact in run.used}.values()
    assert (data.sequence.name, data.sequence.type) == ("labelled-tweets", "dataset")
    assert data.contents[SAMPLE.name]["ref"] == f"sha256:{tracked.dataset.sha256}"
    assert data.files == {}
    (model,) = [artifact for artifact in run.logged if artifact.sequence.name == name]
    assert model.sequence.type == "model"
    bundle = {path.name: path.read_bytes() for path in (tracked.bundles / name).iterdir()}
    assert model.files == bundle
    assert json.loads(model.metadata or "")["metrics"] == manifest.metrics


def test_registered_is_the_best_and_logged_by_its_run(tracked: Tracked) -> None:
    (portfolio,) = [c for c in tracked.store.collections.values() if c.kind == "ArtifactPortfolio"]
    (registered,) = portfolio.members
    best = max(MODELS, key=lambda n: tracked.manifest(n).metrics["validation"]["roc_auc"])
    assert registered.created_by is tracked.run(best)
    assert registered.files[MANIFEST] == (tracked.bundles / best / MANIFEST).read_bytes()
    assert portfolio.aliases["candidate"] is registered
    assert f"registered {best}" in tracked.ran.out
    assert len(tracked.store.runs) == len(MODELS)


def test_system_metrics(tracked: Tracked) -> None:
    for name in MODELS:
        assert any(key.startswith("system.") for row in tracked.run(name).events for key in row)


def test_untracked_unless_asked_and_the_model_is_the_same(
    tracked: Tracked, wandb_server: WandbServer, tmp_path: Path
) -> None:
    (name, *_) = MODELS
    models = {name: tracked.recipe.models[name]}
    alone = msgspec.structs.replace(tracked.recipe, models=models)
    path = write_recipe(alone, tmp_path / "small.toml")
    with surroundings(tmp_path):
        assert call("train", "--data", SAMPLE, "--recipe", path, "--seed", "3").code == 0
    manifest = verify_bundle(tmp_path / "bundles" / name)
    assert manifest.files[WEIGHTS] == tracked.manifest(name).files[WEIGHTS]
    assert manifest.metrics == tracked.manifest(name).metrics
    assert not (tmp_path / "wandb").exists()
    assert wandb_server.requests == []


def test_option_goes_before_the_variable(wandb_server: WandbServer, tmp_path: Path) -> None:
    recipe = write_recipe(tiny_recipe(epochs=1), tmp_path / "one.toml")
    train = ("train", "--data", SAMPLE, "--recipe", recipe)
    with surroundings(tmp_path, WANDB_MODE="online"):
        assert call(*train, "--wandb", "disabled").code == 0
    with surroundings(tmp_path, WANDB_MODE="onlin"):
        call(*train).is_refused(2, "WANDB_MODE='onlin'", "online, offline, disabled")
    assert wandb_server.requests == []


def test_usual_variables_are_heard(wandb_server: WandbServer, tmp_path: Path) -> None:
    recipe = write_recipe(tiny_recipe(epochs=1), tmp_path / "one.toml")
    variables = {
        "WANDB_MODE": "online",
        "WANDB_PROJECT": "storms",
        "WANDB_RUN_GROUP": "night",
        "WANDB_DIR": str(tmp_path / "kept"),
    }
    (tmp_path / "kept").mkdir()
    with surroundings(tmp_path, **variables) as registry:
        ran = call("train", "--data", SAMPLE, "--recipe", recipe)
    assert ran.code == 0, ran.err
    (run,) = wandb_server.store.runs.values()
    assert (run.project, run.group, run.state) == ("storms", "night", "finished")
    assert list((tmp_path / "kept" / "wandb").glob("run-*"))
    assert not (tmp_path / "wandb").exists()
    assert registry.resolve("candidate").number == 1
    (model,) = [a for a in wandb_server.store.artifacts.values() if a.sequence.type == "model"]
    assert model.created_by is run
    (listed,) = wandb.Api().runs(f"{ENTITY}/storms", filters={"group": "night"})
    metrics = registry.resolve("candidate").manifest.metrics
    assert listed.summary["test/roc_auc"] == pytest.approx(metrics["test"]["roc_auc"])

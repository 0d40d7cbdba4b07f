"""`triage-trainer sweep`: with W&B's sweeps, without W&B, and where W&B goes away."""

import json
import os
import signal
import threading
import tomllib
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from shared.bundle.files import read_manifest
from shared.errors import UnavailableError
from tests.conftest import SAMPLE
from tests.trainer.conftest import Ran
from tests.trainer.fit.test_training import FEED_FORWARD, tiny_recipe
from tests.wandb.server.server import WandbServer
from tests.wandb.tracked import call, surroundings, sync, write_recipe
from trainer.data.read import read_dataset
from trainer.data.split import split
from trainer.fit.recipes import Recipe, load_recipe
from trainer.tracking.agent import run_agent

SPACE = """
method = "bayes"
[parameters.embedding]
values = [4, 12]
[parameters.units]
values = [2, 3]
[parameters.learning_rate]
distribution = "log_uniform_values"
min = 0.002
max = 0.02
"""


def sweep(folder: Path, *options: str, recipe: Recipe | None = None) -> Ran:
    """Run a sweep over the sample in the given environment."""
    path = write_recipe(recipe or tiny_recipe(), folder / os.fsdecode(b"b\xe4se.toml"))
    (folder / "space.toml").write_text(SPACE)
    space = ("--space", folder / "space.toml")
    return call("sweep", "--data", SAMPLE, "--recipe", path, *space, *options)


def found(ran: Ran, folder: Path) -> Recipe:
    """Return the recipe that a sweep printed as its only standard output."""
    (folder / "best.toml").write_text(ran.out)
    return load_recipe(str(folder / "best.toml"))


def tried(ran: Ran, model: str) -> list[float]:
    """Return the ROC AUC of a model's trials, in order."""
    lines = [line for line in ran.err.splitlines() if line.startswith(f"{model} ")]
    lines = [line for line in lines if ": ROC AUC " in line]
    assert [line.split(":")[0] for line in lines] == [f"{model} {n}" for n in range(len(lines))]
    return [float(line.split("ROC AUC ")[1].split(" ")[0]) for line in lines]


@pytest.mark.slow
def test_without_w_and_b(wandb_server: WandbServer, tmp_path: Path) -> None:
    (small,) = tiny_recipe().models.values()
    base = msgspec.structs.replace(tiny_recipe(), models={"One": small, "Two": small})
    with surroundings(tmp_path):
        ran = sweep(tmp_path, "--count", "1", "--seed", "7", recipe=base)
        assert ran.code == 0, ran.err
        best = found(ran, tmp_path)
        trained = call("train", "--data", SAMPLE, "--recipe", tmp_path / "best.toml")
        assert trained.code == 0, trained.err
    assert wandb_server.requests == []
    assert list(best.models) == list(base.models)
    assert msgspec.structs.replace(best, models={}, trainings={}) == msgspec.structs.replace(
        base, seed=7, models={}, name="best.toml"
    )
    assert "from the recipe b\ufffdse.toml, seed 7" in ran.out
    sha256 = read_dataset(SAMPLE).sha256
    assert f"SHA-256 {sha256}" in ran.out
    for name, model in best.models.items():
        trials = tried(ran, name)
        assert len(trials) == 2
        manifest = read_manifest(tmp_path / "bundles" / name)
        assert manifest.metrics["validation"]["roc_auc"] == pytest.approx(max(trials), abs=1e-4)
        assert manifest.recipe == "best.toml"
        assert manifest.architecture == model
        if trials.index(max(trials)) > 0:
            assert model.embedding in (4, 12)
            assert 0.002 <= best.training_of(name).learning_rate <= 0.02
        assert model.units == small.units
    assert tried(ran, "One")[0] == tried(ran, "Two")[0]
    assert tried(ran, "One")[1:] != tried(ran, "Two")[1:]


@pytest.mark.slow
def test_with_w_and_b_s_own_sweep(wandb_server: WandbServer, tmp_path: Path) -> None:
    with surroundings(tmp_path):
        ran = sweep(tmp_path, "--count", "1", "--wandb", "online")
    assert ran.code == 0, ran.err
    (made,) = wandb_server.store.sweeps.values()
    space = tomllib.loads(SPACE)
    del space["parameters"]["units"]  # which a feed-forward model does not have
    assert made.config["parameters"].keys() == space["parameters"].keys()
    assert made.config["parameters"]["embedding"]["values"] == [4, 12]
    assert made.config["parameters"]["learning_rate"]["distribution"] == "log_uniform_values"
    assert (made.config["method"], made.config["name"]) == ("bayes", FEED_FORWARD)
    assert made.config["metric"] == {"name": "validation/roc_auc", "goal": "maximize"}

    runs = [run for run in wandb_server.store.runs.values() if run.sweep == made.name]
    assert [run.name for run in runs] == list(made.trials)
    assert len(runs) == 1
    trials = tried(ran, FEED_FORWARD)
    for run, trial, auc in zip(runs, made.trials.values(), trials[1:], strict=True):
        assert (run.state, run.job_type, run.project) == ("finished", "sweep", "tweet-triage")
        assert run.config["architecture"]["embedding"] == trial["embedding"]
        assert run.config["training"]["learning_rate"] == pytest.approx(trial["learning_rate"])
        assert run.config["embedding"] == trial["embedding"]
        assert run.summary["validation/roc_auc"] == pytest.approx(auc, abs=1e-4)
        assert [line["_step"] for line in run.history if "val_roc_auc" in line] == [1, 2]
    (base,) = [run for run in wandb_server.store.runs.values() if run.sweep is None]
    assert base.summary["validation/roc_auc"] == pytest.approx(trials[0], abs=1e-4)
    best = [{}, *made.trials.values()][trials.index(max(trials))]
    model = found(ran, tmp_path).models[FEED_FORWARD]
    assert model.embedding == best.get("embedding", tiny_recipe().models[FEED_FORWARD].embedding)


@pytest.mark.slow
def test_nothing_is_told_of_the_test_part(wandb_server: WandbServer, tmp_path: Path) -> None:
    with surroundings(tmp_path):
        ran = sweep(tmp_path, "--count", "1", "--wandb", "offline")
        assert ran.code == 0, ran.err
        sync(ran.err.splitlines()[-1])
    dataset, recipe = read_dataset(SAMPLE), tiny_recipe()
    parts = split(dataset, recipe.validation_size, recipe.seed)
    validation = {dataset.texts[row] for row in parts.validation}
    test = {dataset.texts[row] for row in parts.test} - validation
    runs = list(wandb_server.store.runs.values())
    assert sorted(run.display_name for run in runs) == [f"{FEED_FORWARD}-0", f"{FEED_FORWARD}-1"]
    for run in runs:
        assert run.config["data"]["test"] == len(parts.test)
        assert not [key for row in run.history for key in row if key.startswith("test/")]
        tables = [json.loads(file) for name, file in run.files.items() if "predictions" in name]
        assert {text for table in tables for text, *_ in table["data"]} == validation
        told = b"".join(run.files.values()).decode()
        assert [text for text in test if text in told] == []


@pytest.mark.slow
def test_w_and_b_refuses_the_sweep(wandb_server: WandbServer, tmp_path: Path) -> None:
    wandb_server.fault("UpsertSweep", "refuse")
    with surroundings(tmp_path):
        ran = sweep(tmp_path, "--count", "1", "--wandb", "online")
    assert ran.code == 6
    last = ran.err.splitlines()[-1]
    assert last.startswith(f"error: the sweep of {FEED_FORWARD} went on without W&B: sweep: ")
    assert "permission denied" in last
    assert len(tried(ran, FEED_FORWARD)) == 2
    assert found(ran, tmp_path).models.keys() == {FEED_FORWARD}
    assert len(wandb_server.store.runs) == 2


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--count", "0"], ["--count", ">= 1"]),
        (["--seed", "-1"], ["--seed -1"]),
        (["--recipe", "tunde"], ["'tunde'", "article, small, tuned"]),
        (["--space", "missing.toml"], ["'missing.toml'", "No such file"]),
    ],
)
def test_wrong_options_are_refused(tmp_path: Path, options: list[str], named: list[str]) -> None:
    with surroundings(tmp_path):
        call("sweep", "--data", SAMPLE, *options).is_refused(2, *named)


@pytest.mark.slow
@pytest.mark.timeout(300, method="thread")  # the agent has SIGALRM for itself
class TestAgent:
    """W&B's agent, which would wait for ever and keep Ctrl-C to itself."""

    CONFIG: ClassVar[dict[str, Any]] = {
        "method": "random",
        "metric": {"name": "score", "goal": "maximize"},
        "parameters": {"units": {"values": [1, 2]}},
    }

    def test_w_and_b_goes_away(self, wandb_server: WandbServer, tmp_path: Path) -> None:
        tried: list[dict[str, Any]] = []

        def trial(drawn: dict[str, Any]) -> None:
            tried.append(drawn)
            wandb_server.stop()

        with (
            surroundings(tmp_path, WANDB_HTTP_TIMEOUT="2"),
            pytest.raises(UnavailableError, match="sent no trial for 10 seconds"),
        ):
            run_agent(self.CONFIG, 3, trial, patience=10)
        assert len(tried) == 1
        assert tried[0]["units"] in (1, 2)

    def test_somebody_ends_the_sweep(self, wandb_server: WandbServer, tmp_path: Path) -> None:
        tried: list[dict[str, Any]] = []

        def trial(drawn: dict[str, Any]) -> None:
            tried.append(drawn)
            (made,) = wandb_server.store.sweeps.values()
            made.state = "FINISHED"

        with surroundings(tmp_path):
            run_agent(self.CONFIG, 3, trial)
        assert len(tried) == 1

    def test_error_of_a_trial_ends_it(self, wandb_server: WandbServer, tmp_path: Path) -> None:
        def trial(_: dict[str, Any]) -> None:
            raise MemoryError("as meant")

        with surroundings(tmp_path), pytest.raises(MemoryError, match="as meant"):
            run_agent(self.CONFIG, 3, trial)
        (made,) = wandb_server.store.sweeps.values()
        assert len(made.trials) == 1

    def test_ctrl_c(self, wandb_server: WandbServer, tmp_path: Path) -> None:
        begun, ended = threading.Event(), threading.Event()

        def trial(_: dict[str, Any]) -> None:
            begun.set()
            while not ended.wait(0.1):  # in pieces, so that W&B's agent can end its thread
                pass

        def interrupt() -> None:
            begun.wait(60)
            os.kill(os.getpid(), signal.SIGINT)

        former = signal.getsignal(signal.SIGINT)
        thread = threading.Thread(target=interrupt)
        thread.start()
        with surroundings(tmp_path), pytest.raises(KeyboardInterrupt):
            run_agent(self.CONFIG, 3, trial)
        ended.set()
        thread.join(60)
        assert signal.getsignal(signal.SIGINT) is former
        assert len(wandb_server.store.sweeps) == 1

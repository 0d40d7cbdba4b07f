"""W&B refuses, hangs, fails or goes away: models are trained all the same, and nothing is lost."""

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType

import msgspec
import psutil
import pytest
import wandb
from wandb.sdk.lib.import_hooks import notify_module_loaded

from shared.bundle.files import verify_bundle
from shared.registry.base import CANDIDATE
from shared.registry.folder import FolderRegistry
from shared.registry.open import open_registry
from shared.registry.wandb_registry import REGISTERED
from tests.conftest import ROOT, SAMPLE
from tests.kafka.processes import wait_for
from tests.trainer.conftest import Ran
from tests.trainer.fit.test_training import FEED_FORWARD, tiny_recipe
from tests.wandb.server.client import kill_client
from tests.wandb.server.server import WandbServer
from tests.wandb.server.store import ENTITY, Run
from tests.wandb.tracked import SHORT_WAITS, call, surroundings, sync, write_recipe
from trainer.data.read import read_dataset
from trainer.data.split import split
from trainer.fit.recipes import Recipe
from trainer.tracking.tracker import Tracker

EPOCHS = 2
DEADLINE = 600  # seconds; without limits the client would try for hours


def recipe_of(*models: str) -> Recipe:
    """A recipe of small models, each a copy of the feed-forward one."""
    recipe = tiny_recipe(epochs=EPOCHS)
    (small,) = recipe.models.values()
    return msgspec.structs.replace(recipe, models=dict.fromkeys(models or (FEED_FORWARD,), small))


def train(folder: Path, *models: str, mode: str = "online", **variables: str | None) -> Ran:
    """Trains small models in the surroundings; online W&B fails, and that soon."""
    recipe = recipe_of(*models)
    waits = SHORT_WAITS if mode == "online" else {}
    path = write_recipe(recipe, folder / "tiny.toml")
    begun = time.monotonic()
    with surroundings(folder, **{**waits, **variables}) as registry:
        ran = call("train", "--data", SAMPLE, "--recipe", path, "--wandb", mode)
    assert time.monotonic() - begun < DEADLINE
    for name in recipe.models:
        verify_bundle(folder / "bundles" / name)
    assert registry.resolve(CANDIDATE).number == 1
    return ran


def is_whole(server: WandbServer, name: str) -> Run:
    """The finished run of this name, which W&B has all of."""
    runs = [run for run in server.store.runs.values() if run.display_name == name]
    (run,) = [run for run in runs if run.state == "finished"]
    assert [line["_step"] for line in run.history if "loss" in line] == [*range(1, EPOCHS + 1)]
    assert "test/roc_auc" in run.summary
    assert sum(path.startswith("media/table/predictions") for path in run.files) == EPOCHS
    assert [artifact.sequence.name for artifact in run.used] == ["labelled-tweets"]
    logged = {a.sequence.name for a in run.logged if a.state == "COMMITTED"}
    assert {name, "source"} <= logged
    return run


class TestOffline:
    def test_synced_and_registered_later(self, wandb_server: WandbServer, tmp_path: Path) -> None:
        wandb_server.stop()
        ran = train(tmp_path, "One", "Two", mode="offline")
        assert ran.code == 0
        wandb_server.start()
        assert wandb_server.requests == []
        last = ran.err.splitlines()[-1]
        assert last.startswith("the runs are offline; this uploads what is kept: wandb sync wandb/")
        with surroundings(tmp_path, TRIAGE_REGISTRY=f"wandb:{ENTITY}/model/tweet-triage"):
            sync(last)
            runs = [is_whole(wandb_server, name) for name in ("One", "Two")]
            assert runs[0].group == runs[1].group
            ran = call("register", tmp_path / "bundles" / "Two")
            assert ran.code == 0, ran.err
            assert "registered Two as version 0 (candidate)" in ran.out
            assert "Two" in call("list").out


class TestFailure:
    def test_w_and_b_away(self, wandb_server: WandbServer, tmp_path: Path) -> None:
        wandb_server.stop()
        ran = train(tmp_path, "One", "Two")
        assert ran.code == 6
        last = ran.err.splitlines()[-1]
        assert last.startswith("error: One is not in W&B: ")
        assert "registered One" in ran.out
        wandb_server.start()
        with surroundings(tmp_path):
            sync(last)
        for name in ("One", "Two"):
            is_whole(wandb_server, name)

    @pytest.mark.parametrize(
        ("operation", "named"),
        [("Viewer", "did not respond in time"), ("UpsertBucket", "init_timeout")],
    )
    def test_begin_that_hangs(
        self, wandb_server: WandbServer, tmp_path: Path, operation: str, named: str
    ) -> None:
        wandb_server.fault(operation, "hang")
        self._is_kept(train(tmp_path), tmp_path, named)

    def test_wrong_key(self, wandb_server: WandbServer, tmp_path: Path) -> None:
        wandb_server.key = "another" * 6
        self._is_kept(train(tmp_path), tmp_path, "user is not logged in")

    def test_no_key(self, wandb_server: WandbServer, tmp_path: Path) -> None:
        ran = train(tmp_path, WANDB_API_KEY=None, HOME=str(tmp_path), NETRC=None)
        self._is_kept(ran, tmp_path, "there is no key: set WANDB_API_KEY, or run `wandb login`")
        assert wandb_server.requests == []

    @pytest.mark.parametrize(
        ("operation", "kind", "named"),
        [
            ("file_stream", "error", "Timed out"),
            ("file_stream", "hang", "Timed out"),
            ("upload", "error", "failed"),
            ("upload", "hang", "failed"),
            ("CommitArtifact", "refuse", "permission denied"),
        ],
    )
    def test_what_is_sent_is_not_taken(
        self, wandb_server: WandbServer, tmp_path: Path, operation: str, kind: str, named: str
    ) -> None:
        wandb_server.fault(operation, kind)  # type: ignore[arg-type]
        self._is_kept(train(tmp_path), tmp_path, named)

    def test_what_the_client_does_not_tell_is_found_out(
        self, wandb_server: WandbServer, tmp_path: Path
    ) -> None:
        wandb_server.fault("upload *.table.json", "error")
        self._is_kept(train(tmp_path), tmp_path, "is finished, with 3 of 3 steps and 0 of 11 tab")
        wandb_server.reset()
        wandb_server.fault("file_stream", "error")
        hasty = {
            "WANDB_X_FILE_STREAM_RETRY_MAX": "1",
            "WANDB_X_FILE_STREAM_RETRY_WAIT_MIN_SECONDS": "1",
            "WANDB_X_FILE_STREAM_RETRY_WAIT_MAX_SECONDS": "1",
        }
        (tmp_path / "again").mkdir()
        ran = train(tmp_path / "again", **hasty)
        self._is_kept(ran, tmp_path / "again", "is running, with 0 of 3 steps and 11 of 11 tables")

    def test_gone_in_the_middle(self, wandb_server: WandbServer, tmp_path: Path) -> None:
        def stop() -> None:
            wait_for(lambda: "CreateRunFiles" in wandb_server.requests)
            wandb_server.stop()

        ran = during(stop, lambda: train(tmp_path, "One", "Two"))
        wandb_server.start()
        assert ran.code == 6
        with surroundings(tmp_path):
            sync(ran.err.splitlines()[-1])
        for name in ("One", "Two"):
            is_whole(wandb_server, name)

    def test_the_client_s_own_process_dies(self, wandb_server: WandbServer, tmp_path: Path) -> None:
        # In a process that has not imported Keras, of which the client would tell W&B.
        with training(recipe_of("One", "Two"), tmp_path) as process:
            wait_for(lambda: "CreateRunFiles" in wandb_server.requests, 120)
            kill_client_of(process)
            _, said = process.communicate(timeout=180)
        assert process.returncode == 6, said
        with surroundings(tmp_path):
            sync(said.splitlines()[-1])
        for name in ("One", "Two"):
            is_whole(wandb_server, name)

    def test_the_client_s_own_process_dies_while_the_best_is_registered(
        self, wandb_server: WandbServer, tmp_path: Path
    ) -> None:
        url = f"wandb:{ENTITY}/model/tweet-triage"
        with training(recipe_of("One"), tmp_path, url) as process:
            wait_for(lambda: f"upload {REGISTERED}" in wandb_server.requests, 120)
            kill_client_of(process)
            _, said = process.communicate(timeout=180)
        assert process.returncode == 6, said
        told, _, command = said.splitlines()[-1].rpartition("this registers it: triage-trainer ")
        assert told.startswith("error: One, the best by ROC AUC on validation, is not registered: ")
        with surroundings(tmp_path, TRIAGE_REGISTRY=url):
            assert call(*shlex.split(command)).code == 0
            assert open_registry(url).resolve(CANDIDATE).number == 0

    def test_an_import_goes_well_when_the_client_s_own_process_is_dead(
        self, tmp_path: Path
    ) -> None:
        dataset = read_dataset(SAMPLE)
        parts = split(dataset, 0.1, seed=1)
        with surroundings(tmp_path):
            with Tracker("offline", "storms", dataset, lambda _: None) as tracker:
                tracker.on_model_begin("One", {"data": {"name": dataset.name, "sha256": ""}}, parts)
                assert not tracker.problems
                kill_client()
                notify_module_loaded(ModuleType("keras"))  # as an import of it does
            with suppress(ConnectionError):  # so that the client starts anew
                wandb.teardown()

    def test_what_cannot_even_be_kept_is_said(
        self, wandb_server: WandbServer, tmp_path: Path
    ) -> None:
        ran = train(tmp_path, WANDB_PROJECT="storms/2026")
        assert ran.code == 6
        last = ran.err.splitlines()[-1]
        assert f"{FEED_FORWARD} is not tracked: " in last
        assert "storms/2026" in last
        assert "wandb sync" not in last
        assert wandb_server.store.runs == {}

    def _is_kept(self, ran: Ran, folder: Path, named: str) -> None:
        assert ran.code == 6
        assert f"registered {FEED_FORWARD}" in ran.out
        last = ran.err.splitlines()[-1]
        assert last.startswith(f"error: {FEED_FORWARD} is not in W&B: ")
        assert named in last
        (kept,) = (folder / "wandb").glob("offline-run-*")
        assert last.endswith(f"; this uploads what is kept: wandb sync wandb/{kept.name}")
        assert list(kept.glob("run-*.wandb"))


def during(act: Callable[[], None], work: Callable[[], Ran]) -> Ran:
    """Does the work while something happens."""
    thread = threading.Thread(target=act)
    thread.start()
    try:
        return work()
    finally:
        thread.join(60)


def kill_client_of(process: "subprocess.Popen[str]") -> None:
    """Kills the process that W&B's client runs beside a training, with -9."""
    clients = []
    for child in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            if "wandb-core" in child.name():
                clients.append(child)
    (client,) = clients
    client.kill()


@contextmanager
def training(
    recipe: Recipe, folder: Path, registry: str | None = None
) -> Iterator["subprocess.Popen[str]"]:
    """A training in a process of its own, whose current folder and whose files are the folder's."""
    environment = os.environ | {
        "TRIAGE_REGISTRY": registry or FolderRegistry(folder / "registry").url,
        "PYTHONPATH": str(ROOT),
        "WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL": "0.2",
        "WANDB_DIR": str(folder),
    }
    environment.pop("WANDB_SERVICE", None)
    command = [sys.executable, "-m", "trainer.cli", "train", "--data", str(SAMPLE)]
    command += ["--recipe", str(write_recipe(recipe, folder / "recipe.toml")), "--wandb", "online"]
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


class TestInterrupted:
    def test_figures_come_as_they_happen_and_ctrl_c_ends_the_run(
        self, wandb_server: WandbServer, tmp_path: Path
    ) -> None:
        # Small batches, or epochs would end faster than W&B's client can send them.
        with training(tiny_recipe(epochs=5000, batch_size=8), tmp_path) as process:
            runs = wandb_server.store.runs
            wait_for(lambda: any(len(run.history) > 2 for run in runs.values()), 120)
            (run,) = runs.values()
            assert run.state == "running"
            os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it
            _, said = process.communicate(timeout=180)
        assert (process.returncode, said.splitlines()[-1]) == (130, "interrupted")
        assert (run.state, run.exit_code) == ("failed", 255)

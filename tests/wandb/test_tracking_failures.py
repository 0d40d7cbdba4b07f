"""W&B refuses, hangs, fails or goes away: models are trained anyway, and nothing is lost."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from shared.arrays import Floats
from shared.errors import UnavailableError
from shared.registry.folder import FolderRegistry
from tests.conftest import ROOT, SAMPLE
from tests.kafka.processes import wait_for
from tests.shared.registry.test_folder_registry import make_bundle
from tests.trainer.fit.test_training import FEED_FORWARD, tiny_recipe
from tests.wandb.server.server import Kind, WandbServer
from tests.wandb.server.store import Run
from tests.wandb.tracked import SHORT_WAITS, call, surroundings, sync, write_recipe
from trainer.data.read import read_dataset
from trainer.data.split import split
from trainer.evaluate.bootstrap import Scores
from trainer.tracking.tracker import Tracker

pytestmark = pytest.mark.slow

EPOCHS = 2


class Certain:
    """Gives every text the same probability."""

    def score(self, texts: Sequence[str]) -> Floats:
        return np.full(len(texts), 0.75, np.float32)


class Tracked(msgspec.Struct, frozen=True):
    """What a tracker said at its end: its error, or its last line."""

    error: str
    said: str


def track(folder: Path, *names: str, mode: Any = "online", **variables: str | None) -> Tracked:
    """Track models that were not trained; where W&B is to fail online, it fails soon."""
    waits = SHORT_WAITS if mode == "online" else {}
    dataset = read_dataset(SAMPLE)
    parts = split(dataset, 0.1, seed=1)
    certain: Any = Certain()
    test = Scores(certain.score(parts.test), 0.5)
    settings = {"data": {"name": dataset.name, "sha256": dataset.sha256}}
    said = [""]
    with (
        surroundings(folder, **{**waits, **variables}),
        Tracker(mode, "storms", dataset, said.append) as tracker,
    ):
        for name in names or ("One",):
            tracker.on_model_begin(name, settings, parts)
            for _ in range(EPOCHS):
                tracker.on_epoch_end(certain, {"loss": 1.0, "val_loss": 1.0})
            bundle = make_bundle(folder / f"{name} bundle", name)
            tracker.on_model_end({"test": {"roc_auc": 0.5}}, 1, test, bundle)
        try:
            tracker.close()
        except UnavailableError as error:
            return Tracked(str(error), said[-1])
    return Tracked("", said[-1])


def is_whole(server: WandbServer, name: str) -> Run:
    """Return the finished run of this name, of which W&B has everything."""
    runs = [run for run in server.store.runs.values() if run.display_name == name]
    (run,) = [run for run in runs if run.state == "finished"]
    assert [line["_step"] for line in run.history if "loss" in line] == [*range(1, EPOCHS + 1)]
    assert "test/roc_auc" in run.summary
    assert sum(path.startswith("media/table/predictions") for path in run.files) == EPOCHS
    assert [artifact.sequence.name for artifact in run.used] == ["labelled-tweets"]
    logged = {a.sequence.name for a in run.logged if a.state == "COMMITTED"}
    assert {name, "source"} <= logged
    return run


def is_kept(tracked: Tracked, folder: Path, named: str) -> None:
    """Check that the run is kept on this machine, with the command that uploads it."""
    assert tracked.error.startswith("One is not in W&B: ")
    assert named in tracked.error
    (kept,) = (folder / "wandb").glob("offline-run-*")
    assert tracked.error.endswith(f"; this uploads what is kept: wandb sync wandb/{kept.name}")
    assert list(kept.glob("run-*.wandb"))


def test_offline_runs_are_synced_later(wandb_server: WandbServer, tmp_path: Path) -> None:
    wandb_server.stop()
    tracked = track(tmp_path, "One", "Two", mode="offline")
    wandb_server.start()
    assert wandb_server.requests == []
    offline = "the runs are offline; this uploads what is kept: wandb sync wandb/"
    assert tracked.said.startswith(offline)
    with surroundings(tmp_path):
        sync(tracked.said)
    runs = [is_whole(wandb_server, name) for name in ("One", "Two")]
    assert runs[0].group == runs[1].group


def test_training_goes_on_where_w_and_b_is_away(wandb_server: WandbServer, tmp_path: Path) -> None:
    recipe = write_recipe(tiny_recipe(epochs=EPOCHS), tmp_path / "tiny.toml")
    wandb_server.stop()
    with surroundings(tmp_path, **SHORT_WAITS) as registry:
        ran = call("train", "--data", SAMPLE, "--recipe", recipe, "--wandb", "online")
    assert ran.code == 6
    last = ran.err.splitlines()[-1]
    assert last.startswith(f"error: {FEED_FORWARD} is not in W&B: ")
    assert f"registered {FEED_FORWARD}" in ran.out
    assert registry.resolve("candidate").number == 1
    wandb_server.start()
    with surroundings(tmp_path):
        sync(last)
    is_whole(wandb_server, FEED_FORWARD)


def test_a_missing_key_is_an_error_before_anything_is_trained(
    wandb_server: WandbServer, tmp_path: Path
) -> None:
    variables = {"WANDB_API_KEY": None, "HOME": str(tmp_path), "NETRC": None}
    with surroundings(tmp_path, **variables):
        ran = call("train", "--data", SAMPLE, "--wandb", "online")
    assert (ran.code, ran.out) == (2, "")
    assert "there is no key; set WANDB_API_KEY or run `wandb login`" in ran.err
    assert wandb_server.requests == []


def test_wrong_key(wandb_server: WandbServer, tmp_path: Path) -> None:
    wandb_server.key = "another" * 6
    is_kept(track(tmp_path), tmp_path, "user is not logged in")


@pytest.mark.parametrize(
    ("operation", "kind", "named"),
    [
        ("upload", "error", "failed"),
        ("CommitArtifact", "refuse", "permission denied"),
        ("file_stream", "error", "Timed out"),
        ("file_stream", "hang", "Timed out"),
        ("upload", "hang", "failed"),
        ("Viewer", "hang", "did not respond in time"),
        ("UpsertBucket", "hang", "init_timeout"),
    ],
)
def test_a_run_that_w_and_b_does_not_take_is_kept(
    wandb_server: WandbServer, tmp_path: Path, operation: str, kind: Kind, named: str
) -> None:
    wandb_server.fault(operation, kind)
    is_kept(track(tmp_path), tmp_path, named)


def test_tables_that_the_client_lost_silently_are_found_out(
    wandb_server: WandbServer, tmp_path: Path
) -> None:
    wandb_server.fault("upload *.table.json", "error")
    is_kept(track(tmp_path), tmp_path, "is finished, with 3 of 3 steps and 0 of 11 tab")


def test_w_and_b_goes_away_in_the_middle(wandb_server: WandbServer, tmp_path: Path) -> None:
    wandb_server.fault("file_stream", "drop")
    tracked = track(tmp_path, "One", "Two")
    assert tracked.error.startswith("One is not in W&B: ")
    wandb_server.mend()
    with surroundings(tmp_path):
        sync(tracked.error)
    for name in ("One", "Two"):
        is_whole(wandb_server, name)


def test_what_cannot_even_be_kept_is_said(wandb_server: WandbServer, tmp_path: Path) -> None:
    tracked = track(tmp_path, WANDB_PROJECT="storms/2026")
    assert "One is not tracked: " in tracked.error
    assert "storms/2026" in tracked.error
    assert "wandb sync" not in tracked.error
    assert wandb_server.store.runs == {}


def test_figures_come_as_they_happen_and_ctrl_c_ends_the_run(
    wandb_server: WandbServer, tmp_path: Path
) -> None:
    environment = os.environ | {
        "TRIAGE_REGISTRY": FolderRegistry(tmp_path / "registry").url,
        "PYTHONPATH": str(ROOT),
        "WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL": "0.2",
        "WANDB_DIR": str(tmp_path),
    }
    environment.pop("WANDB_SERVICE", None)
    # Small batches, or epochs would end faster than W&B's client can send them.
    recipe = write_recipe(tiny_recipe(epochs=5000, batch_size=8), tmp_path / "recipe.toml")
    command = [sys.executable, "-m", "trainer.cli", "train", "--data", str(SAMPLE)]
    with subprocess.Popen(
        [*command, "--recipe", str(recipe), "--wandb", "online"],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            runs = wandb_server.store.runs
            wait_for(lambda: any(len(run.history) > 2 for run in runs.values()), 120)
            (run,) = runs.values()
            assert run.state == "running"
            os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it
            _, said = process.communicate(timeout=180)
        finally:
            process.kill()
    assert (process.returncode, said.splitlines()[-1]) == (130, "interrupted")
    assert (run.state, run.exit_code) == ("failed", 255)

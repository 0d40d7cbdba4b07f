"""The real client against the server: what it sends is kept, and faults reach it."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import wandb
from wandb.errors import CommError

from tests.conftest import ROOT
from tests.wandb.server.server import Kind, WandbServer
from tests.wandb.server.store import ENTITY, KEY, ORG_ENTITY

pytestmark = pytest.mark.slow

REGISTRY = "wandb-registry-model/tweet-triage"
MODEL = f"{ORG_ENTITY}/{REGISTRY}"


@pytest.fixture
def run(wandb_server: WandbServer) -> Iterator[wandb.Run]:  # noqa: ARG001
    """Yield a run in progress."""
    with wandb.init(project="triage", settings=wandb.Settings(init_timeout=20)) as started:
        yield started


def log_model(run: wandb.Run, folder: Path, content: str = "weights") -> wandb.Artifact:
    folder.mkdir(exist_ok=True)
    (folder / "weights").write_text(content)
    (folder / "deeper").mkdir(exist_ok=True)
    (folder / "deeper" / "vocabulary").write_text("words")
    artifact = wandb.Artifact("made", type="model", metadata={"threshold": 0.5})
    artifact.add_dir(str(folder))
    return run.log_artifact(artifact).wait()


def test_run(wandb_server: WandbServer) -> None:
    with wandb.init(
        project="triage", name="LSTM", group="first", job_type="train", config={"units": 64}
    ) as run:
        for epoch in range(3):
            run.log({"epoch": epoch, "loss": 1 / (epoch + 1)})
        run.log({"mistakes": wandb.Table(columns=["text"], data=[["a fire"]])})
        run.summary["accuracy"] = 0.8
        run.log_code(str(ROOT / "shared"))
    (kept,) = wandb_server.store.runs.values()
    assert (kept.path, kept.display_name) == (f"{ENTITY}/triage/{run.id}", "LSTM")
    assert (kept.group, kept.job_type, kept.config) == ("first", "train", {"units": 64})
    assert kept.state == "finished"
    assert [row["loss"] for row in kept.history if "loss" in row] == [1, 1 / 2, 1 / 3]
    assert kept.summary["accuracy"] == 0.8
    (table,) = [content for name, content in kept.files.items() if name.startswith("media/table/")]
    assert b'"a fire"' in table
    (code,) = [a for a in wandb_server.store.artifacts.values() if a.sequence.type == "code"]
    assert code.files["errors.py"] == (ROOT / "shared" / "errors.py").read_bytes()

    (listed,) = wandb.Api().runs(f"{ENTITY}/triage", filters={"group": "first"})
    assert (listed.name, listed.state, listed.config) == ("LSTM", "finished", {"units": 64})
    assert listed.summary["accuracy"] == 0.8
    assert [row["loss"] for row in listed.history(pandas=False) if "loss" in row] == [
        1,
        1 / 2,
        1 / 3,
    ]
    assert len(wandb.Api().runs(f"{ENTITY}/triage", filters={"group": "second"})) == 0


def test_finished_run_goes_on_where_it_is_resumed(wandb_server: WandbServer) -> None:
    with wandb.init(project="triage") as run:
        run.log({"loss": 1})
    with wandb.init(project="triage", id=run.id, resume="must") as again:
        again.log({"loss": 2})
    (kept,) = wandb_server.store.runs.values()
    assert [row["loss"] for row in kept.history] == [1, 2]
    assert (kept.state, kept.exit_code) == ("finished", 0)


def test_failed_run(wandb_server: WandbServer) -> None:
    with pytest.raises(RuntimeError, match="as meant"), wandb.init(project="triage"):
        raise RuntimeError("as meant")
    assert [kept.state for kept in wandb_server.store.runs.values()] == ["failed"]


def test_artifact_is_linked_found_and_downloaded(run: wandb.Run, tmp_path: Path) -> None:
    first = log_model(run, tmp_path / "made", "first")
    assert log_model(run, tmp_path / "made", "first").id == first.id  # the same again: no new one
    second = log_model(run, tmp_path / "made", "second")
    assert (first.version, second.version) == ("v0", "v1")
    for artifact in (first, second):
        run.link_artifact(artifact, REGISTRY, aliases=["candidate"])

    found = wandb.Api().artifact(f"{MODEL}:candidate")
    assert (found.version, found.metadata) == ("v1", {"threshold": 0.5})
    assert found.source_qualified_name == f"{ENTITY}/triage/made:v1"
    logged_by = found.logged_by()
    assert logged_by is not None
    assert logged_by.id == run.id

    older = wandb.Api().artifact(f"{MODEL}:v0")
    older.aliases.append("candidate")
    older.metadata["reason"] = "better"
    older.save()
    listed = wandb.Api().artifacts("model", MODEL)
    assert {(a.version, *sorted(a.aliases), a.metadata.get("reason")) for a in listed} == {
        ("v0", "candidate", "better"),
        ("v1", "latest", None),
    }
    root = Path(found.download(root=str(tmp_path / "fetched"), skip_cache=True))
    found.verify(str(root))
    assert (root / "weights").read_text() == "second"
    assert (root / "deeper" / "vocabulary").read_text() == "words"


def test_reference_artifact(run: wandb.Run, wandb_server: WandbServer) -> None:
    data = wandb.Artifact("data", type="dataset", metadata={"sha256": "0" * 64})
    data.add_reference("https://localhost/tweets.csv", name="tweets.csv", checksum=False)
    run.log_artifact(data).wait()
    (kept,) = wandb_server.store.artifacts.values()
    assert kept.contents["tweets.csv"]["ref"] == "https://localhost/tweets.csv"
    assert kept.files == {}


def test_link_to_a_registry_that_is_not_there(run: wandb.Run, tmp_path: Path) -> None:
    artifact = log_model(run, tmp_path / "made")
    with pytest.raises(CommError, match="not found"):
        run.link_artifact(artifact, "wandb-registry-other/tweet-triage")


def test_wrong_key(wandb_server: WandbServer) -> None:
    wandb_server.key = "another" * 6
    with pytest.raises(wandb.errors.AuthenticationError):
        wandb.Api()


@pytest.mark.parametrize("kind", ["error", "drop"])
def test_request_that_fails_once_is_tried_again(wandb_server: WandbServer, kind: Kind) -> None:
    wandb_server.fault("UpsertBucket", kind, times=1)
    with wandb.init(project="triage"):
        pass
    assert wandb_server.requests[:2] == ["UpsertBucket", "UpsertBucket"]


def test_hang_lasts_until_it_is_mended(wandb_server: WandbServer) -> None:
    wandb_server.fault("UpsertBucket", "hang")
    with pytest.raises(CommError, match="Timed out"):
        wandb.init(project="triage", settings=wandb.Settings(init_timeout=1))
    wandb_server.mend()
    with wandb.init(project="triage"):
        pass
    assert "finished" in [kept.state for kept in wandb_server.store.runs.values()]


def test_half_an_upload_is_not_kept(wandb_server: WandbServer) -> None:
    path = "artifact/Artifact:0/weights"
    wandb_server.fault("upload weights", "drop")
    with pytest.raises(requests.ConnectionError):
        requests.put(f"{wandb_server.url}/storage/{path}", data=b"w" * 1000, timeout=10)
    assert wandb_server.requests == ["upload weights"]
    assert wandb_server.store.artifacts == {}


def test_corrupt_download(run: wandb.Run, wandb_server: WandbServer, tmp_path: Path) -> None:
    artifact = log_model(run, tmp_path / "made")
    wandb_server.fault("download weights", "corrupt")
    root = artifact.download(root=str(tmp_path / "fetched"), skip_cache=True)
    with pytest.raises(ValueError, match="Digest mismatch"):
        artifact.verify(root)


def test_gone_and_back(wandb_server: WandbServer) -> None:
    wandb_server.stop()
    with pytest.raises(requests.ConnectionError):
        requests.post(f"{wandb_server.url}/graphql", timeout=10)
    wandb_server.start()
    assert wandb.Api().default_entity == ENTITY


def test_as_a_process() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.wandb.server", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        query = {"query": "query Viewer { viewer { entity } }"}
        asked = requests.post(f"{url}/graphql", json=query, auth=("api", KEY), timeout=10)
        assert asked.json()["data"]["viewer"]["entity"] == ENTITY
        assert re.match(f"export WANDB_BASE_URL={re.escape(url)}", process.stdout.readline())
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()

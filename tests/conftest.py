"""What several tests need: a trained model, a real Kafka, a W&B server, the published data set."""

import fcntl
import hashlib
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import msgspec
import pooch
import pytest
from hypothesis import HealthCheck, settings

from shared.bundle.load import Bundle, load_bundle
from shared.errors import DependencyError
from shared.registry.folder import FolderRegistry
from tests.missing import skip_or_fail
from tests.wandb.server.server import WandbServer, environment
from trainer import cli as trainer_cli
from worker.demo.local_kafka import LocalKafka

# No deadlines, or a loaded machine would fail tests. CI tries the same examples each time.
settings.register_profile(
    "unhurried",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
)
settings.load_profile("unhurried")

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "worker" / "demo" / "demo_tweets.csv"
PUBLISHED = ROOT.parent / "shared" / "data" / "socialmedia-disaster-tweets-DFE.csv"

SUSPENDED = "broker.session.timeout.ms=60000\n"
"""For the only broker of a cluster, if a test suspends it for longer than the 9 s after which its
controller fences it: Kafka 4.3.1 then knows no leader of a partition for a moment, and if it goes
on with a commit just then it takes the transaction for completed, but writes no end of it there,
and nobody reads the partition beyond."""


class Trained(msgspec.Struct, frozen=True):
    """What a training on the sample left behind.

    Attributes:
        registry: with the best model as version 1, `candidate` and `production`.
        bundles: the folder of the three models' bundles.
        held_out: the test part as CSV.
        figures: as `--json` wrote them.
    """

    registry: FolderRegistry
    bundles: Path
    held_out: Path
    figures: dict[str, Any]


@pytest.fixture(scope="session")
def published() -> Path:
    """Return the path of the published data set, which we may not ship."""
    if not PUBLISHED.exists():
        pytest.skip("the published data set is not beside this checkout")
    return PUBLISHED


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train the three models of recipe `tuned` on the sample, with the program itself.

    The first process that needs them trains them, the others wait for it. Outside CI, later runs of
    the tests take them from the user's cache until something changes that a training depends on.
    """
    if os.environ.get("CI"):
        root = tmp_path_factory.getbasetemp()
        kept = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    else:
        kept = Path(pooch.os_cache("tweet-triage-tests"))
        kept.mkdir(parents=True, exist_ok=True)
    made, unfinished = kept / f"trained-{digest_of_training()}", kept / "unfinished"
    with (kept / "trained.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            train_on_sample(unfinished).rename(made)
            for old in sorted(kept.glob("trained-*"), key=lambda path: path.stat().st_mtime)[:-3]:
                shutil.rmtree(old)
        folder = tmp_path_factory.mktemp("trained")
        shutil.copytree(made, folder, dirs_exist_ok=True)
    text = (folder / "figures.json").read_text().replace(str(unfinished), str(folder))
    registry = FolderRegistry(folder / "registry")
    return Trained(registry, folder / "bundles", folder / "held_out.csv", json.loads(text))


def train_on_sample(folder: Path) -> Path:
    """Train on the sample, promote the best model, and return the folder of all that was made."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    registry = FolderRegistry(folder / "registry")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIAGE_REGISTRY", registry.url)
        arguments = ["train", "--data", str(SAMPLE), "--recipe", "tuned"]
        arguments += ["--bundles", str(folder / "bundles")]
        arguments += ["--test-out", str(folder / "held_out.csv")]
        assert trainer_cli.main([*arguments, "--json", str(folder / "figures.json")]) == 0
    registry.promote("candidate")
    return folder


def digest_of_training() -> str:
    """Return a hash of what a training depends on: code, sample, packages, Python and system."""
    packages = sorted(f"{package.name} {package.version}" for package in distributions())
    digest = hashlib.sha256(repr((sys.version, platform.platform(), packages)).encode())
    code = [path for name in ("shared", "trainer") for path in (ROOT / name).rglob("*")]
    for path in sorted([SAMPLE, Path(__file__), *code]):
        if path.is_file() and path.suffix != ".pyc":
            digest.update(f"{path.relative_to(ROOT)} {path.stat().st_size} ".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@pytest.fixture(scope="session")
def bundle(trained: Trained) -> Bundle:
    """Return the production bundle, loaded."""
    return load_bundle(trained.registry.folder / "versions" / "1")


@pytest.fixture(scope="session")
def kafka() -> Iterator[LocalKafka]:
    """Yield a real Apache Kafka. If it cannot start, skip the test, or fail it in CI."""
    yield from running_kafka(SUSPENDED)


@pytest.fixture
def own_kafka() -> Iterator[LocalKafka]:
    """Yield a Kafka that a test may break or change."""
    yield from running_kafka()


def running_kafka(properties: str = "") -> Iterator[LocalKafka]:
    """Yield a Kafka that runs with these properties. If it cannot start, skip or fail the test."""
    try:
        broker = LocalKafka(properties=properties)
        broker.start()
    except DependencyError as error:
        skip_or_fail(str(error))
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def _wandb_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WandbServer]:
    server = WandbServer()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(server.url, str(tmp_path_factory.mktemp("wandb"))).items():
            patch.setenv(name, value)
        if "wandb" in sys.modules:  # it has read the environment that there was before
            sys.modules["wandb"].teardown()
        yield server
        if "wandb" in sys.modules:
            sys.modules["wandb"].teardown()
    server.close()


@pytest.fixture
def wandb_server(_wandb_session: WandbServer) -> Iterator[WandbServer]:
    """Yield an empty W&B server for all clients, also those in child processes."""
    _wandb_session.reset()
    yield _wandb_session
    _wandb_session.start()
    _wandb_session.mend()
    assert _wandb_session.failures == []

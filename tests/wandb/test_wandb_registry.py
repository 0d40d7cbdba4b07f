"""The W&B registry where W&B fails or refuses."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import wandb

from shared.bundle.files import MANIFEST, WEIGHTS
from shared.errors import RegistryError, TriageError, UnavailableError, UsageError
from shared.registry.base import CANDIDATE, PREVIOUS, PRODUCTION
from shared.registry.open import open_registry
from shared.registry.wandb_client import bound_waits
from shared.registry.wandb_registry import REGISTERED, WandbRegistry
from tests.shared.registry.test_folder_registry import make_bundle
from tests.wandb.server.client import kill_client
from tests.wandb.server.server import Kind, WandbServer
from tests.wandb.server.store import ENTITY, KEY, ORG_ENTITY, Artifact, Collection

pytestmark = pytest.mark.slow

DATA = {"name": "my tweets.csv", "sha256": "5" * 64, "train": 70}
DEADLINE = 300  # seconds within which a call must come back; each takes a few on an idle machine


@pytest.fixture
def registry(wandb_server: WandbServer) -> WandbRegistry:  # noqa: ARG001
    return WandbRegistry(ENTITY, "model", "tweet-triage", patience=60)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "made")


@pytest.fixture
def two(
    registry: WandbRegistry, made: Path, tmp_path: Path, wandb_server: WandbServer
) -> WandbRegistry:
    """Return a registry with version 0 in production, set by hand, and 1 as the candidate."""
    registry.register(made)
    collection(wandb_server).aliases[PRODUCTION] = stored(wandb_server)[0]
    registry.register(make_bundle(tmp_path / "two", "FF"))
    return registry


@contextmanager
def refused(error: type[TriageError], *named: str) -> Iterator[None]:
    """Expect the error in time. It names what it should, and never the key."""
    begun = time.monotonic()
    with pytest.raises(error) as caught:
        yield
    assert time.monotonic() - begun < DEADLINE
    assert type(caught.value) is error
    for name in named:
        assert name in str(caught.value)
    assert KEY not in str(caught.value)


def aliases(registry: WandbRegistry) -> dict[str, int]:
    versions = registry.versions()
    return {alias: version.number for version in versions for alias in version.aliases}


def collection(server: WandbServer) -> Collection:
    return server.store.collection(ORG_ENTITY, "wandb-registry-model", "tweet-triage")


def stored(server: WandbServer) -> list[Artifact]:
    """Return the models, the oldest first."""
    return collection(server).members


def change(artifact: Artifact, **metadata: object) -> None:
    """Change the metadata of an artifact in W&B."""
    artifact.metadata = json.dumps(json.loads(artifact.metadata or "{}") | metadata)


def test_address() -> None:
    assert open_registry("wandb:a-team/model/tweet-triage").url == "wandb:a-team/model/tweet-triage"
    for address in ("", "a/b", "a/b/c/d", "a//c", "a/b/c:3", "a/b/c d"):
        with pytest.raises(UsageError, match="wandb:ENTITY/REGISTRY/COLLECTION"):
            open_registry(f"wandb:{address}")


class TestLineage:
    @pytest.fixture
    def made(self, tmp_path: Path) -> Path:
        """Return a bundle that names its labelled data."""
        made = make_bundle(tmp_path / "made")
        manifest = json.loads((made / MANIFEST).read_bytes()) | {"data": DATA}
        (made / MANIFEST).write_bytes(json.dumps(manifest).encode())
        return made

    def test_without_a_run_one_is_made(
        self, registry: WandbRegistry, made: Path, wandb_server: WandbServer
    ) -> None:
        registry.register(made)
        (run,) = wandb_server.store.runs.values()
        assert (run.entity, run.project, run.job_type) == (ENTITY, "tweet-triage", "register")
        assert run.state == "finished"
        (model,) = stored(wandb_server)
        assert model.created_by is run
        assert set(model.contents) == {path.name for path in made.iterdir()} | {REGISTERED}
        (data,) = run.used
        assert data.contents["my tweets.csv"]["ref"] == "sha256:" + "5" * 64
        assert json.loads(data.metadata or "") == DATA

    @pytest.mark.parametrize(("named", "project"), [("storms", "storms"), ("", "tweet-triage")])
    def test_that_run_is_in_the_project_of_all_runs(
        self,
        registry: WandbRegistry,
        made: Path,
        wandb_server: WandbServer,
        monkeypatch: pytest.MonkeyPatch,
        named: str,
        project: str,
    ) -> None:
        monkeypatch.setenv("WANDB_PROJECT", named)
        registry.register(made)
        assert [run.project for run in wandb_server.store.runs.values()] == [project]

    def test_a_run_under_way_is_the_one(
        self, registry: WandbRegistry, made: Path, wandb_server: WandbServer
    ) -> None:
        with wandb.init(project="comparison", name="LSTM") as run:
            registry.register(made)
            assert wandb.run is run
        (kept,) = wandb_server.store.runs.values()
        assert kept.display_name == "LSTM"
        assert stored(wandb_server)[0].created_by is kept
        assert len(kept.used) == 1

    def test_a_run_that_is_offline_is_not(
        self, registry: WandbRegistry, made: Path, wandb_server: WandbServer
    ) -> None:
        with wandb.init(project="comparison", mode="offline"):
            registry.register(made)
        (kept,) = wandb_server.store.runs.values()
        assert kept.job_type == "register"

    def test_the_events_name_the_account(self, registry: WandbRegistry, made: Path) -> None:
        registry.register(made)
        assert [event.who for event in registry.history()] == ["storm-user"]


class TestKey:
    def test_wrong_key(
        self, registry: WandbRegistry, made: Path, wandb_server: WandbServer, tmp_path: Path
    ) -> None:
        version = registry.register(made)
        wandb_server.key = "another" * 6
        attempts = (
            lambda: registry.resolve(CANDIDATE),
            lambda: registry.register(made),
            lambda: registry.promote(CANDIDATE),
            registry.rollback,
            registry.versions,
            registry.history,
            lambda: registry.fetch(version, tmp_path / "cache"),
        )
        for attempt in attempts:
            with refused(RegistryError, registry.url, "WANDB_API_KEY"):
                attempt()
        wandb_server.key = KEY
        assert registry.resolve(CANDIDATE) == version

    def test_no_right(self, registry: WandbRegistry, made: Path, wandb_server: WandbServer) -> None:
        wandb_server.fault("LinkArtifact", "refuse")
        with refused(RegistryError, registry.url, "permission denied"):
            registry.register(made)

    def test_a_promotion_that_cannot_be_recorded_is_refused(
        self, two: WandbRegistry, wandb_server: WandbServer
    ) -> None:
        wandb_server.store.read_only.add("tweet-triage")
        before = two.history()
        with refused(RegistryError, f"you cannot write to the project {ENTITY}/tweet-triage"):
            two.promote(CANDIDATE)
        assert aliases(two) == {CANDIDATE: 1, PRODUCTION: 0}
        assert two.history() == before

    def test_a_registry_that_is_not_there(
        self,
        wandb_server: WandbServer,  # noqa: ARG002
        made: Path,
    ) -> None:
        registry = WandbRegistry(ENTITY, "other", "tweet-triage")
        with refused(RegistryError, registry.url, "wandb-registry-other not found"):
            registry.register(made)
        registry = WandbRegistry("stranger", "model", "tweet-triage")
        with refused(RegistryError, "stranger"):
            registry.resolve(PRODUCTION)


class TestRegister:
    @pytest.mark.parametrize(
        ("operation", "kind"),
        [
            ("Viewer", "error"),
            ("UpsertBucket", "error"),
            ("CreateArtifact", "error"),
            ("CreateArtifactFiles", "drop"),
            (f"upload {WEIGHTS}", "error"),
            (f"upload {WEIGHTS}", "drop"),
            ("CommitArtifact", "error"),
            ("LinkArtifact", "error"),
        ],
    )
    def test_what_fails_can_be_repeated(
        self,
        registry: WandbRegistry,
        made: Path,
        wandb_server: WandbServer,
        operation: str,
        kind: Kind,
    ) -> None:
        wandb_server.fault(operation, kind)
        with refused(UnavailableError, registry.url):
            registry.register(made)
        wandb_server.mend()
        assert registry.versions() == []
        version = registry.register(made)
        assert (version.number, version.aliases) == (0, (CANDIDATE,))
        assert registry.versions() == [version]
        assert [(event.action, event.version) for event in registry.history()] == [("register", 0)]

    def test_what_is_linked_is_registered_whatever_fails_then(
        self, registry: WandbRegistry, made: Path, wandb_server: WandbServer
    ) -> None:
        """A repetition would register it twice."""
        wandb_server.fault("ArtifactMembershipByName", "error")
        version = registry.register(made)
        wandb_server.mend()
        assert registry.versions() == [version]

    @pytest.mark.parametrize("operation", ["CommitArtifact", f"upload {WEIGHTS}", "LinkArtifact"])
    def test_what_hangs_has_an_end(
        self, made: Path, wandb_server: WandbServer, operation: str
    ) -> None:
        registry = WandbRegistry(ENTITY, "model", "tweet-triage", patience=5)
        wandb_server.fault(operation, "hang")
        with refused(UnavailableError, registry.url):
            registry.register(made)
        wandb_server.mend()
        registry._patience = 60
        assert registry.register(made).aliases == (CANDIDATE,)


class TestServerGone:
    def test_it_is_asked_again_when_it_is_back(
        self, registry: WandbRegistry, made: Path, wandb_server: WandbServer, tmp_path: Path
    ) -> None:
        version = registry.register(made)
        fetched = registry.fetch(version, tmp_path)
        wandb_server.stop()
        for attempt in (registry.versions, lambda: registry.promote(CANDIDATE)):
            with refused(UnavailableError, registry.url):
                attempt()
        with refused(UnavailableError, registry.url):
            WandbRegistry(ENTITY, "model", "tweet-triage").resolve(CANDIDATE)
        assert registry.fetch(version, tmp_path) == fetched  # which needs no server
        wandb_server.start()
        assert registry.promote(CANDIDATE).aliases == (CANDIDATE, PRODUCTION)

    def test_a_question_that_hangs_has_an_end(
        self, registry: WandbRegistry, made: Path, wandb_server: WandbServer
    ) -> None:
        version = registry.register(made)
        wandb_server.fault("ArtifactMembershipByName", "hang")
        with refused(UnavailableError, registry.url):
            registry.resolve(CANDIDATE)
        wandb_server.mend()
        assert registry.resolve(CANDIDATE) == version

    def test_the_clients_own_process_dies(self, registry: WandbRegistry, made: Path) -> None:
        version = registry.register(made)
        kill_client()
        with refused(UnavailableError, registry.url):
            registry.resolve(CANDIDATE)
        assert registry.resolve(CANDIDATE) == version


class TestBreakOff:
    """A promotion and a rollback that fail half-way, and are repeated."""

    @pytest.mark.parametrize(
        ("operation", "after"),
        [("UpdateArtifact", 1), ("AddAliases", 0)],
    )
    def test_promotion(
        self, two: WandbRegistry, wandb_server: WandbServer, operation: str, after: int
    ) -> None:
        wandb_server.fault(operation, "error", after=after)
        with refused(UnavailableError, two.url):
            two.promote(CANDIDATE, reason="better")
        wandb_server.mend()
        assert aliases(two)[PRODUCTION] == 0
        two.promote(CANDIDATE, reason="better")
        assert aliases(two) == {CANDIDATE: 1, PRODUCTION: 1, PREVIOUS: 0}

    def test_promotion_between_its_two_aliases(
        self, two: WandbRegistry, wandb_server: WandbServer
    ) -> None:
        wandb_server.fault("AddAliases", "error", after=1)
        with refused(UnavailableError, two.url):
            two.promote(CANDIDATE)
        wandb_server.mend()
        assert aliases(two) == {CANDIDATE: 1, PRODUCTION: 0, PREVIOUS: 0}
        two.promote(CANDIDATE)
        assert aliases(two) == {CANDIDATE: 1, PRODUCTION: 1, PREVIOUS: 0}

    @pytest.mark.parametrize(
        ("operation", "after", "broken_off"),
        [
            ("AddAliases", 0, {PRODUCTION: 1, PREVIOUS: 0}),
            ("AddAliases", 1, {PRODUCTION: 1, PREVIOUS: 1}),
            ("UpdateArtifact", 2, {PRODUCTION: 0, PREVIOUS: 1}),
            ("UpdateArtifact", 3, {PRODUCTION: 0, PREVIOUS: 1}),
        ],
    )
    def test_rollback(
        self,
        two: WandbRegistry,
        wandb_server: WandbServer,
        operation: str,
        after: int,
        broken_off: dict[str, int],
    ) -> None:
        two.promote(CANDIDATE)
        wandb_server.fault(operation, "error", after=after)
        with refused(UnavailableError, two.url):
            two.rollback("worse")
        wandb_server.mend()
        assert aliases(two) == {CANDIDATE: 1} | broken_off
        back = two.rollback("worse")
        assert (back.number, back.aliases) == (0, (PRODUCTION,))
        assert aliases(two) == {CANDIDATE: 1, PRODUCTION: 0, PREVIOUS: 1}
        told = [(event.action, event.alias, event.version) for event in two.history()[-2:]]
        assert told == [("rollback", PRODUCTION, 0), ("rollback", PREVIOUS, 1)]
        assert two.rollback().number == 1


def test_what_the_user_set_stays(
    wandb_server: WandbServer,  # noqa: ARG001  # sets them all
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WANDB_X_GRAPHQL_RETRY_MAX", "7")
    monkeypatch.delenv("WANDB_HTTP_TIMEOUT")
    bound_waits()
    assert os.environ["WANDB_X_GRAPHQL_RETRY_MAX"] == "7"
    assert os.environ["WANDB_HTTP_TIMEOUT"] == "20"

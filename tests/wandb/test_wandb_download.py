"""The W&B registry where W&B fails to give a bundle, or holds what is none."""

from pathlib import Path

import msgspec
import pytest

from shared.bundle.files import WEIGHTS
from shared.bundle.manifest import FORMAT
from shared.errors import BundleError, RegistryError, TriageError, UnavailableError
from shared.registry.base import CANDIDATE
from shared.registry.wandb_download import LARGEST_FILE
from shared.registry.wandb_registry import WandbRegistry
from tests.shared.registry.test_folder_registry import make_bundle
from tests.wandb.server.server import WandbServer
from tests.wandb.server.store import ENTITY
from tests.wandb.test_wandb_registry import change, refused, stored

pytestmark = pytest.mark.slow


@pytest.fixture
def registry(wandb_server: WandbServer) -> WandbRegistry:  # noqa: ARG001
    return WandbRegistry(ENTITY, "model", "tweet-triage", patience=60)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "made")


class TestFetch:
    def test_a_download_that_hangs_has_an_end(
        self, registry: WandbRegistry, made: Path, wandb_server: WandbServer, tmp_path: Path
    ) -> None:
        version = registry.register(made)
        wandb_server.fault(f"download {WEIGHTS}", "hang")
        hasty = WandbRegistry(ENTITY, "model", "tweet-triage", patience=8)
        with refused(UnavailableError, "longer than 8 seconds"):
            hasty.fetch(version, tmp_path / "cache")
        assert list((tmp_path / "cache").iterdir()) == []
        wandb_server.mend()
        assert registry.fetch(version, tmp_path / "cache").is_dir()

    def test_a_download_that_fails(
        self, registry: WandbRegistry, made: Path, wandb_server: WandbServer, tmp_path: Path
    ) -> None:
        version = registry.register(made)
        wandb_server.fault("FetchArtifactManifest", "error")
        with refused(UnavailableError, registry.url):
            registry.fetch(version, tmp_path / "cache")
        assert list((tmp_path / "cache").iterdir()) == []

    def test_it_needs_no_home_to_write_to(
        self,
        registry: WandbRegistry,
        made: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """As in a container, where all but the cache may be read-only."""
        version = registry.register(made)
        for name in ("HOME", "WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR"):
            monkeypatch.setenv(name, "/proc/nowhere")
        assert registry.fetch(version, tmp_path / "cache").is_dir()
        assert [path.name for path in (tmp_path / "cache").iterdir()] == [version.digest]

    @pytest.mark.parametrize(
        ("name", "entry", "named"),
        [
            ("../evil", {"digest": "", "size": 1}, "'../evil'"),
            ("extra.bin", {"digest": "", "size": 1}, "'extra.bin'"),
            (WEIGHTS, {"digest": "", "size": LARGEST_FILE + 1}, f"{LARGEST_FILE + 1} bytes"),
            (WEIGHTS, {"digest": "x", "size": 1, "ref": "file:///etc/passwd"}, "a reference"),
        ],
    )
    def test_other_members_than_a_bundles_are_refused(
        self,
        registry: WandbRegistry,
        made: Path,
        wandb_server: WandbServer,
        tmp_path: Path,
        name: str,
        entry: dict[str, object],
        named: str,
    ) -> None:
        version = registry.register(made)
        stored(wandb_server)[0].contents[name] = entry
        before = wandb_server.requests.count(f"download {WEIGHTS}")
        with refused(BundleError, named):
            registry.fetch(version, tmp_path / "cache")
        assert wandb_server.requests.count(f"download {WEIGHTS}") == before
        assert list(tmp_path.rglob("evil")) == []


class TestMetadata:
    def test_what_is_no_bundle_is_left_out(
        self, registry: WandbRegistry, made: Path, wandb_server: WandbServer
    ) -> None:
        registry.register(made)
        registry.register(made)
        stored(wandb_server)[1].metadata = '{"by": "hand"}'
        assert [version.number for version in registry.versions()] == [0]
        assert [event.version for event in registry.history()] == [0]
        with refused(BundleError, f"version 1 of {registry.url} is not a bundle"):
            registry.resolve(CANDIDATE)

    @pytest.mark.parametrize(
        ("metadata", "error", "named"),
        [
            ({"digest": "../../etc"}, BundleError, "digest"),
            ({"manifest": {"format": 99}}, BundleError, f"format {FORMAT}"),
            ({"manifest": {"format": FORMAT, "name": "LSTM"}}, BundleError, "cannot be read"),
            ({"history": [{"who": 1}]}, RegistryError, "history of version 0"),
        ],
    )
    def test_changed_metadata_are_refused(
        self,
        registry: WandbRegistry,
        made: Path,
        wandb_server: WandbServer,
        metadata: dict[str, object],
        error: type[TriageError],
        named: str,
    ) -> None:
        registry.register(made)
        change(stored(wandb_server)[0], **metadata)
        with refused(error, named):
            registry.resolve(CANDIDATE)
            registry.history()

    def test_another_bundle_under_the_number_is_refused(
        self, registry: WandbRegistry, made: Path, wandb_server: WandbServer, tmp_path: Path
    ) -> None:
        version = registry.register(made)
        other = msgspec.structs.replace(version, digest="0" * 64)
        change(stored(wandb_server)[0], digest=other.digest)
        with refused(BundleError, f"expected SHA-256 {other.digest}, got {version.digest}"):
            registry.fetch(other, tmp_path / "cache")

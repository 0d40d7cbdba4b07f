"""What every registry does: a local folder, and W&B."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from shared.bundle.files import MANIFEST, WEIGHTS, verify_bundle
from shared.errors import BundleError, RegistryError
from shared.registry.base import CANDIDATE, PREVIOUS, PRODUCTION, Registry
from shared.registry.folder import FolderRegistry
from shared.registry.wandb_registry import WandbRegistry
from tests.shared.registry.test_folder_registry import START, make_bundle
from tests.wandb.server.server import WandbServer
from tests.wandb.server.store import ENTITY
from tests.wandb.test_wandb_registry import change, stored


class Kind(msgspec.Struct, frozen=True):
    """A kind of registry: an empty one, its first number, and how its copies get damaged.

    Attributes:
        corrupt: damages the files that every fetch gives.
        obscure: damages the manifest of a version.
    """

    registry: Registry
    first: int
    corrupt: Callable[[], object]
    obscure: Callable[[int], object]


@pytest.fixture(params=["folder", pytest.param("wandb", marks=pytest.mark.slow)])
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Kind:
    """Return a registry of each kind, with a clock that advances a minute an event."""
    times = iter(START + timedelta(minutes=n) for n in range(100))
    if request.param == "folder":
        folder = tmp_path / "registry"
        return Kind(
            registry=FolderRegistry(folder, lambda: next(times)),
            first=1,
            corrupt=lambda: [path.write_bytes(b"!") for path in folder.rglob(WEIGHTS)],
            obscure=lambda number: (folder / "versions" / f"{number}/{MANIFEST}").write_bytes(b"!"),
        )
    server: WandbServer = request.getfixturevalue("wandb_server")
    return Kind(
        registry=WandbRegistry(ENTITY, "model", "tweet-triage", lambda: next(times)),
        first=0,
        corrupt=lambda: server.fault(f"download {WEIGHTS}", "corrupt"),
        obscure=lambda number: change(stored(server)[number], manifest={"format": "another"}),
    )


@pytest.fixture
def registry(kind: Kind) -> Registry:
    return kind.registry


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "made")


def aliases(registry: Registry) -> dict[str, int]:
    """Return the version that each alias names."""
    versions = registry.versions()
    found = [(alias, version.number) for version in versions for alias in version.aliases]
    assert len(found) == len(dict(found))
    return dict(found)


def told(registry: Registry) -> list[tuple[str, str, int, str, bool]]:
    """Return the history without times and people, after checking that they are there in order."""
    events = registry.history()
    assert all(event.who for event in events)
    assert [event.time for event in events] == sorted(event.time for event in events)
    return [(e.action, e.alias, e.version, e.reason, e.forced) for e in events]


def test_nothing_yet(registry: Registry) -> None:
    assert registry.versions() == []
    assert registry.history() == []
    for attempt in (registry.resolve, registry.promote):
        with pytest.raises(RegistryError, match="'production': the registry is empty"):
            attempt("production")
    with pytest.raises(RegistryError, match="the registry is empty"):
        registry.rollback()


def test_register(kind: Kind, made: Path, tmp_path: Path) -> None:
    registry, first = kind.registry, kind.first
    one = registry.register(made)
    assert (one.number, one.manifest.name, one.aliases) == (first, "LSTM", (CANDIDATE,))
    assert one.digest == hashlib.sha256((made / MANIFEST).read_bytes()).hexdigest()
    assert one.manifest == verify_bundle(made)
    two = registry.register(make_bundle(tmp_path / "two", "FF"))
    again = registry.register(made, "trial")
    assert (two.number, again.number) == (first + 1, first + 2)
    versions = registry.versions()
    assert [version.manifest.name for version in versions] == ["LSTM", "FF", "LSTM"]
    assert [version.aliases for version in versions] == [(), (CANDIDATE,), ("trial",)]
    assert registry.resolve("trial") == registry.resolve(str(first + 2)) == versions[2] == again
    assert told(registry) == [
        ("register", CANDIDATE, first, "", False),
        ("register", CANDIDATE, first + 1, "", False),
        ("register", "trial", first + 2, "", False),
    ]


def test_promotion_rollback_and_their_history(kind: Kind, made: Path, tmp_path: Path) -> None:
    registry, one, two = kind.registry, kind.first, kind.first + 1
    registry.register(made)
    registry.promote(str(one))
    with pytest.raises(RegistryError, match="'previous'"):
        registry.rollback()
    registry.register(make_bundle(tmp_path / "two", "FF"))
    promoted = registry.promote(CANDIDATE, reason='"good",\nthey say ✓', forced=True)
    assert (promoted.number, promoted.aliases) == (two, (CANDIDATE, PRODUCTION))
    assert aliases(registry) == {CANDIDATE: two, PRODUCTION: two, PREVIOUS: one}
    registry.promote(str(two))  # again: what was before stays as it was
    assert aliases(registry) == {CANDIDATE: two, PRODUCTION: two, PREVIOUS: one}

    back = registry.rollback("worse")
    assert (back.number, back.aliases) == (one, (PRODUCTION,))
    assert aliases(registry) == {CANDIDATE: two, PRODUCTION: one, PREVIOUS: two}
    assert registry.rollback().number == two
    registry.promote(str(one), alias="canary")
    assert aliases(registry) == {CANDIDATE: two, PRODUCTION: two, PREVIOUS: one, "canary": one}
    assert told(registry) == [
        ("register", CANDIDATE, one, "", False),
        ("promote", PRODUCTION, one, "", False),
        ("register", CANDIDATE, two, "", False),
        ("promote", PRODUCTION, two, '"good",\nthey say ✓', True),
        ("promote", PREVIOUS, one, '"good",\nthey say ✓', True),
        ("promote", PRODUCTION, two, "", False),
        ("rollback", PRODUCTION, one, "worse", False),
        ("rollback", PREVIOUS, two, "worse", False),
        ("rollback", PRODUCTION, two, "", False),
        ("rollback", PREVIOUS, one, "", False),
        ("promote", "canary", one, "", False),
    ]


def test_unknown_version_names_those_there_are(kind: Kind, made: Path) -> None:
    registry = kind.registry
    registry.register(made)
    registry.promote(CANDIDATE)
    before = registry.history()
    there = f"expected one of {kind.first}, candidate, production"
    for version in ("7", "-1", "canary", "", "²", "1.0", "../versions/1", "a:b"):
        for attempt in (registry.resolve, registry.promote):
            with pytest.raises(RegistryError) as caught:
                attempt(version)
            message = f"registry {registry.url} has no version or alias {version!r}: {there}"
            assert str(caught.value) == message
    assert registry.history() == before


def test_bundle_that_does_not_verify_is_not_registered(registry: Registry, made: Path) -> None:
    (made / WEIGHTS).write_bytes(b"!")
    with pytest.raises(BundleError, match=WEIGHTS):
        registry.register(made)
    with pytest.raises(BundleError, match="not a complete bundle"):
        registry.register(made / "nothing here")
    assert registry.versions() == []


def test_fetch(registry: Registry, made: Path, tmp_path: Path) -> None:
    version = registry.register(made)
    fetched = registry.fetch(version, tmp_path / "cache")
    assert fetched == tmp_path / "cache" / version.digest
    copied = {path.name: path.read_bytes() for path in fetched.iterdir()}
    assert copied == {path.name: path.read_bytes() for path in made.iterdir()}
    (fetched / WEIGHTS).write_bytes(b"changed")
    assert verify_bundle(registry.fetch(version, tmp_path / "cache")) == version.manifest


def test_damaged_bundle_is_neither_fetched_nor_promoted(
    kind: Kind, made: Path, tmp_path: Path
) -> None:
    registry = kind.registry
    for _ in range(2):
        registry.register(made)
        registry.promote(CANDIDATE)
    before, version = registry.history(), registry.resolve(CANDIDATE)
    kind.corrupt()
    with pytest.raises(BundleError, match=WEIGHTS):
        registry.fetch(version, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    with pytest.raises(BundleError, match=WEIGHTS):
        registry.promote(CANDIDATE)
    with pytest.raises(BundleError, match=WEIGHTS):
        registry.rollback()
    assert registry.history() == before
    assert aliases(registry)[PREVIOUS] == kind.first


def test_a_damaged_manifest_hides_no_other_version(kind: Kind, made: Path) -> None:
    registry, broken = kind.registry, kind.first + 1
    for _ in range(3):
        registry.register(made)
    kind.obscure(broken)
    assert [version.number for version in registry.versions()] == [kind.first, kind.first + 2]
    assert [event.version for event in registry.history()][1] == broken
    with pytest.raises(BundleError):
        registry.resolve(str(broken))


WRITER = """
import sys
from pathlib import Path
from shared.registry.open import open_registry

registry = open_registry(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for _ in range(3):
    print(registry.register(Path(sys.argv[2]), sys.argv[3]).number)
"""


def test_two_writers_at_once(kind: Kind, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    writers = []
    for name in ("one", "two"):
        bundle = make_bundle(tmp_path / name, name)
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, kind.registry.url, str(bundle), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        writers.append(writer)
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    numbers = [[int(n) for n in writer.communicate(timeout=120)[0].split()] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0]
    versions = kind.registry.versions()
    assert [version.number for version in versions] == list(range(kind.first, kind.first + 6))
    for name, own in zip(("one", "two"), numbers, strict=True):
        assert [v.number for v in versions if v.manifest.name == name] == own
        assert aliases(kind.registry)[name] == own[-1]
        assert [e.version for e in kind.registry.history() if e.alias == name] == own

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from shared.bundle.files import GOLDEN, MANIFEST, PIPELINE, VOCABULARY, WEIGHTS, verify_bundle
from shared.bundle.manifest import FORMAT, Manifest
from shared.errors import BundleError, RegistryError, UnavailableError, UsageError
from shared.model.architecture import Architecture
from shared.model.calibration import Calibration
from shared.registry.base import CANDIDATE, PREVIOUS, PRODUCTION
from shared.registry.folder import FolderRegistry
from shared.registry.open import open_registry
from shared.text.lemmas import TextSettings

START = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)


def make_bundle(folder: Path, name: str = "LSTM") -> Path:
    """Return a bundle whose hashes agree. A registry does not read its other content."""
    folder.mkdir()
    hashes = {}
    for file in (WEIGHTS, VOCABULARY, PIPELINE, GOLDEN):
        content = f"{file} of {name}".encode()
        (folder / file).write_bytes(content)
        hashes[file] = hashlib.sha256(content).hexdigest()
    manifest = Manifest(
        format=FORMAT,
        name=name,
        created=START.isoformat(),
        recipe="tuned",
        seed=1,
        git_commit=None,
        packages={},
        data={},
        text=TextSettings(num_words=5, keep_unknown=True, rewrite=True),
        architecture=Architecture(
            kind="lstm", num_words=5, embedding=2, length=3, masked=True, summary="last", units=2
        ),
        calibration=Calibration(),
        threshold=0.5,
        metrics={},
        files=hashes,
    )
    (folder / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    return folder


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "made")


@pytest.fixture
def registry(tmp_path: Path) -> FolderRegistry:
    """Return a registry whose clock advances by a minute an event."""
    times = iter(START + timedelta(minutes=n) for n in range(100))
    return FolderRegistry(tmp_path / "to be made" / "registry", lambda: next(times))


def test_nothing_yet(registry: FolderRegistry) -> None:
    assert registry.versions() == []
    assert registry.aliases() == {}
    assert registry.history() == []
    with pytest.raises(RegistryError, match="'production': the registry is empty"):
        registry.resolve("production")
    assert not registry.folder.exists()


def test_register(registry: FolderRegistry, made: Path) -> None:
    assert [registry.register(made).number for _ in range(3)] == [1, 2, 3]
    assert registry.register(made, "trial").number == 4
    assert registry.aliases() == {CANDIDATE: 3, "trial": 4}
    assert [version.number for version in registry.versions()] == [1, 2, 3, 4]
    assert [version.aliases for version in registry.versions()] == [
        *((), (), (CANDIDATE,), ("trial",)),
    ]
    third = registry.resolve("candidate")
    assert (third.number, third.manifest.name) == (3, "LSTM")
    assert registry.resolve("3") == third
    folder = registry.folder / "versions" / "3"
    copied = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert copied == {path.name: path.read_bytes() for path in made.iterdir()}


def test_ten_comes_after_nine(registry: FolderRegistry, made: Path) -> None:
    assert [registry.register(made).number for _ in range(11)] == list(range(1, 12))
    assert [version.number for version in registry.versions()] == list(range(1, 12))


def test_a_number_is_not_given_twice(registry: FolderRegistry, made: Path) -> None:
    for _ in range(2):
        registry.register(made)
    registry.promote("2")
    shutil.rmtree(registry.folder / "versions" / "2")
    assert registry.register(made).number == 3
    with pytest.raises(BundleError, match="versions/2 is not a complete bundle"):
        registry.resolve(PRODUCTION)
    assert [version.number for version in registry.versions()] == [1, 3]


def test_promotion_keeps_the_previous_production_version(
    registry: FolderRegistry, made: Path
) -> None:
    for _ in range(3):
        registry.register(made)
    promoted = registry.promote("candidate", reason="best so far")
    assert (promoted.number, promoted.aliases) == (3, (CANDIDATE, PRODUCTION))
    assert PREVIOUS not in registry.aliases()
    registry.promote("3")  # again: what was before stays as it was
    assert PREVIOUS not in registry.aliases()
    registry.promote("1", reason="rolled back")
    assert registry.aliases() == {CANDIDATE: 3, PRODUCTION: 1, PREVIOUS: 3}
    registry.promote("previous")
    assert registry.aliases() == {CANDIDATE: 3, PRODUCTION: 3, PREVIOUS: 1}
    registry.promote("2", alias="canary")
    assert registry.aliases() == {CANDIDATE: 3, PRODUCTION: 3, PREVIOUS: 1, "canary": 2}
    assert registry.resolve("2").aliases == ("canary",)


def test_history(registry: FolderRegistry, made: Path) -> None:
    registry.register(made)
    registry.register(made)
    registry.promote("1")
    registry.promote("candidate", reason='"good",\nthey say ✓', forced=True)
    registry.rollback("worse")
    good = '"good",\nthey say ✓'
    events = [msgspec.structs.asdict(event) for event in registry.history()]
    assert all(event.pop("who") for event in events)
    assert [tuple(event.values()) for event in events] == [
        ("2024-05-06T07:08:09+00:00", CANDIDATE, 1, "register", "", False),
        ("2024-05-06T07:09:09+00:00", CANDIDATE, 2, "register", "", False),
        ("2024-05-06T07:10:09+00:00", PRODUCTION, 1, "promote", "", False),
        ("2024-05-06T07:11:09+00:00", PRODUCTION, 2, "promote", good, True),
        ("2024-05-06T07:12:09+00:00", PREVIOUS, 1, "promote", good, True),
        ("2024-05-06T07:13:09+00:00", PRODUCTION, 1, "rollback", "worse", False),
        ("2024-05-06T07:14:09+00:00", PREVIOUS, 2, "rollback", "worse", False),
    ]
    assert len((registry.folder / "history.jsonl").read_text().splitlines()) == 7
    assert FolderRegistry(registry.folder).history() == registry.history()


def test_the_history_of_version_0_1_can_be_read(registry: FolderRegistry, made: Path) -> None:
    registry.register(made)
    line = b'{"time":"2026-01-02T03:04:05+00:00","who":"a","alias":"production","version":1}\n'
    (registry.folder / "history.jsonl").write_bytes(line)
    registry.promote("production", alias="canary")
    assert [event.alias for event in registry.history()] == [PRODUCTION, "canary"]


@pytest.mark.parametrize("version", ["4", "0", "-1", "latest", "", "²", "1.0", "../versions/1"])
def test_unknown_version_names_those_there_are(
    registry: FolderRegistry, made: Path, version: str
) -> None:
    for _ in range(3):
        registry.register(made)
    registry.promote("2")
    before = registry.history()
    message = f"has no version or alias {version!r}: expected one of 1, 2, 3, candidate, production"
    for attempt in (registry.resolve, registry.promote):
        with pytest.raises(RegistryError) as caught:
            attempt(version)
        assert str(caught.value) == f"registry {registry.url} {message}"
    assert registry.history() == before


@pytest.mark.parametrize("file", [WEIGHTS, VOCABULARY, PIPELINE, GOLDEN, MANIFEST])
def test_corrupt_bundle_is_neither_registered_nor_promoted(
    registry: FolderRegistry, made: Path, file: str
) -> None:
    registry.register(made)
    before = registry.history()
    for folder in (made, registry.folder / "versions" / "1"):
        (folder / file).write_bytes(b"!" + (folder / file).read_bytes())
    with pytest.raises(BundleError, match=file):
        registry.register(made)
    with pytest.raises(BundleError, match=file):
        registry.promote("1")
    assert registry.history() == before
    assert os.listdir(registry.folder / "versions") == ["1"]  # noqa: PTH208


def test_folder_without_a_bundle_is_not_registered(
    registry: FolderRegistry, tmp_path: Path
) -> None:
    with pytest.raises(BundleError, match="not a complete bundle"):
        registry.register(tmp_path / "nothing here")
    assert registry.versions() == []


@pytest.mark.parametrize(
    "line", [b"{", b"[]", b'{"alias": "production"}', b"\xff", b'{"time": "\xff"}']
)
def test_corrupt_history(registry: FolderRegistry, made: Path, line: bytes) -> None:
    registry.register(made)
    history = registry.folder / "history.jsonl"
    corrupt = history.read_bytes() + line + b"\n"
    history.write_bytes(corrupt)
    for attempt in (registry.history, registry.aliases, registry.versions):
        with pytest.raises(RegistryError, match=r"history\.jsonl cannot be read"):
            attempt()
    with pytest.raises(RegistryError, match=r"history\.jsonl cannot be read"):
        registry.register(made)
    with pytest.raises(RegistryError, match=r"history\.jsonl cannot be read"):
        registry.promote("1")
    assert history.read_bytes() == corrupt


def test_a_file_in_place_of_the_folder(tmp_path: Path, made: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    for folder in (tmp_path / "file", tmp_path / "file" / "deeper"):
        registry = FolderRegistry(folder)
        with pytest.raises(UnavailableError, match="cannot be written"):
            registry.register(made)
        with pytest.raises(UnavailableError, match="cannot be written"):
            registry.promote("1")
        for attempt in (registry.versions, registry.history):
            with pytest.raises(UnavailableError, match="cannot be read"):
                attempt()


def test_what_a_killed_writer_left_is_cleared(registry: FolderRegistry, made: Path) -> None:
    """A writer killed while it copied leaves a half of a bundle, and one killed later a whole."""
    versions = registry.folder / "versions"
    registry.register(made)
    half = versions / ".new-killed" / "bundle"
    half.mkdir(parents=True)
    (half / WEIGHTS).write_bytes(b"half")
    (registry.folder / ".history.jsonl.new").write_bytes(b'{"time": "20')
    make_bundle(versions / "2", "killed before the history was written")

    assert [event.version for event in registry.history()] == [1]
    assert registry.register(made).number == 3
    assert sorted(path.name for path in versions.iterdir()) == ["1", "2", "3"]
    assert registry.aliases() == {CANDIDATE: 3}
    assert {path.name for path in registry.folder.iterdir()} == {
        *("versions", "history.jsonl", ".lock"),
    }


def test_rollback_changes_production_and_previous_over(
    registry: FolderRegistry, made: Path
) -> None:
    for _ in range(2):
        registry.register(made)
    with pytest.raises(RegistryError, match="'previous'"):
        registry.rollback()
    registry.promote("1")
    registry.promote("2")
    assert registry.rollback().number == 1
    assert registry.aliases() == {CANDIDATE: 2, PRODUCTION: 1, PREVIOUS: 2}
    assert registry.rollback().number == 2
    (registry.folder / "versions" / "1" / WEIGHTS).write_bytes(b"broken")
    with pytest.raises(BundleError, match=WEIGHTS):
        registry.rollback()
    assert registry.aliases() == {CANDIDATE: 2, PRODUCTION: 2, PREVIOUS: 1}


class TestFetch:
    def test_it_is_brought_into_the_cache(
        self, registry: FolderRegistry, made: Path, tmp_path: Path
    ) -> None:
        version = registry.register(made)
        fetched = registry.fetch(version, tmp_path / "cache")
        assert fetched == tmp_path / "cache" / version.digest
        assert version.digest == hashlib.sha256((made / MANIFEST).read_bytes()).hexdigest()
        assert verify_bundle(fetched) == version.manifest

    def test_it_is_brought_once_and_again_if_it_was_changed(
        self, registry: FolderRegistry, made: Path, tmp_path: Path
    ) -> None:
        version = registry.register(made)
        fetched = registry.fetch(version, tmp_path)
        (registry.folder / "versions" / "1").rename(tmp_path / "away")
        assert registry.fetch(version, tmp_path) == fetched
        (fetched / WEIGHTS).write_bytes(b"changed")
        with pytest.raises(BundleError, match="versions/1 is not a complete bundle"):
            registry.fetch(version, tmp_path)
        (tmp_path / "away").rename(registry.folder / "versions" / "1")
        assert verify_bundle(registry.fetch(version, tmp_path)) == version.manifest

    def test_what_does_not_verify_is_not_kept(
        self, registry: FolderRegistry, made: Path, tmp_path: Path
    ) -> None:
        version = registry.register(made)
        (registry.folder / "versions" / "1" / WEIGHTS).write_bytes(b"changed")
        with pytest.raises(BundleError, match=WEIGHTS):
            registry.fetch(version, tmp_path / "cache")
        assert list((tmp_path / "cache").iterdir()) == []

    def test_another_bundle_under_the_number_is_refused(
        self, registry: FolderRegistry, made: Path, tmp_path: Path
    ) -> None:
        version = registry.register(made)
        shutil.rmtree(registry.folder / "versions" / "1")
        make_bundle(registry.folder / "versions" / "1", "another")
        with pytest.raises(BundleError, match=f"expected SHA-256 {version.digest}"):
            registry.fetch(version, tmp_path / "cache")

    def test_a_cache_that_cannot_be_written(
        self, registry: FolderRegistry, made: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("not a folder")
        with pytest.raises(UnavailableError, match="TRIAGE_CACHE"):
            registry.fetch(registry.register(made), tmp_path / "file")


WRITER = """
import sys
from pathlib import Path
from shared.registry.folder import FolderRegistry

registry = FolderRegistry(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for _ in range(10):
    print(registry.register(Path(sys.argv[2]), sys.argv[3]).number)
"""


def test_two_writers_at_once(registry: FolderRegistry, made: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(registry.folder), str(made)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    writers = [
        subprocess.Popen([*command, alias], text=True, **pipes)  # type: ignore[call-overload]
        for alias in ("one", "two")
    ]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    numbers = [[int(n) for n in writer.communicate(timeout=60)[0].split()] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0]
    assert sorted(numbers[0] + numbers[1]) == list(range(1, 21))
    history = registry.history()
    assert [event.version for event in history] == list(range(1, 21))
    for alias, own in zip(("one", "two"), numbers, strict=True):
        assert [event.version for event in history if event.alias == alias] == own
    assert len(registry.versions()) == 20


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take another user's number")
def test_a_user_without_a_name_can_register() -> None:
    """As in a container that is run under some number."""
    script = """
import os, sys
from pathlib import Path
from shared.registry.folder import FolderRegistry

os.setuid(54321)
registry = FolderRegistry(Path(sys.argv[1]) / "registry")
registry.register(Path(sys.argv[1]) / "made")
print(registry.history()[0].who)
"""
    names = {"LOGNAME", "USER", "LNAME", "USERNAME"}
    environment = {name: value for name, value in os.environ.items() if name not in names}
    with tempfile.TemporaryDirectory() as folder:  # tmp_path is for its owner alone
        make_bundle(Path(folder) / "made")
        os.chown(folder, 54321, -1)
        command = [sys.executable, "-c", script, folder]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.stdout, done.stderr) == ("54321\n", "")


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("file:/a/b", Path("/a/b")),
        ("file:///a/b", Path("/a/b")),
        ("file:a/b", Path("a/b")),
        ("file:~/b", Path.home() / "b"),
    ],
)
def test_open_registry(url: str, folder: Path) -> None:
    registry = open_registry(url)
    assert isinstance(registry, FolderRegistry)
    assert (registry.folder, registry.url) == (folder, f"file:{folder}")


@pytest.mark.parametrize("url", ["", "file", "file:", "/a/b", "s3://bucket/a", "FILE:/a", "http:x"])
def test_open_registry_refuses(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_registry(url)
    expected = "file:FOLDER or wandb:ENTITY/REGISTRY/COLLECTION"
    assert str(caught.value) == f"TRIAGE_REGISTRY={url!r}: expected {expected}"

import hashlib
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from shared.bundle import FORMAT, GOLDEN, MANIFEST, PIPELINE, VOCABULARY, WEIGHTS, Manifest
from shared.errors import BundleError, RegistryError, UsageError
from shared.models import Architecture, Calibration
from shared.registry import CANDIDATE, PREVIOUS, PRODUCTION, Registry, open_registry
from shared.text import TextSettings

START = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)


def make_bundle(folder: Path, name: str = "LSTM") -> Path:
    """A bundle whose hashes agree; its other content does not matter to a registry."""
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
def registry(tmp_path: Path) -> Registry:
    """A registry whose clock goes on by a minute from event to event."""
    times = iter(START + timedelta(minutes=n) for n in range(100))
    return Registry(tmp_path / "to be made" / "registry", lambda: next(times))


def test_nothing_yet(registry: Registry) -> None:
    assert registry.versions() == []
    assert registry.aliases() == {}
    assert registry.history() == []
    with pytest.raises(RegistryError, match="'production'; there is: nothing yet"):
        registry.resolve("production")
    assert not registry.folder.exists()


def test_register(registry: Registry, made: Path) -> None:
    assert [registry.register(made) for _ in range(3)] == [1, 2, 3]
    assert registry.register(made, "trial") == 4
    assert registry.aliases() == {CANDIDATE: 3, "trial": 4}
    assert [version.number for version in registry.versions()] == [1, 2, 3, 4]
    assert [version.aliases for version in registry.versions()] == [
        *((), (), (CANDIDATE,), ("trial",)),
    ]
    third = registry.resolve("candidate")
    assert (third.number, third.manifest.name) == (3, "LSTM")
    assert registry.resolve("3") == third
    assert third.folder == registry.folder / "versions" / "3"
    copied = {path.name: path.read_bytes() for path in third.folder.iterdir()}
    assert copied == {path.name: path.read_bytes() for path in made.iterdir()}


def test_ten_comes_after_nine(registry: Registry, made: Path) -> None:
    assert [registry.register(made) for _ in range(11)] == list(range(1, 12))
    assert [version.number for version in registry.versions()] == list(range(1, 12))


def test_promotion_keeps_the_previous_production_version(registry: Registry, made: Path) -> None:
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


def test_history(registry: Registry, made: Path) -> None:
    registry.register(made)
    registry.register(made)
    registry.promote("1")
    registry.promote("candidate", reason='"good",\nthey say ✓')
    told = [(event.time, event.alias, event.version, event.reason) for event in registry.history()]
    assert told == [
        ("2024-05-06T07:08:09+00:00", CANDIDATE, 1, ""),
        ("2024-05-06T07:09:09+00:00", CANDIDATE, 2, ""),
        ("2024-05-06T07:10:09+00:00", PRODUCTION, 1, ""),
        ("2024-05-06T07:11:09+00:00", PRODUCTION, 2, '"good",\nthey say ✓'),
        ("2024-05-06T07:12:09+00:00", PREVIOUS, 1, '"good",\nthey say ✓'),
    ]
    assert all(event.who for event in registry.history())
    assert len((registry.folder / "history.jsonl").read_text().splitlines()) == 5
    assert Registry(registry.folder).history() == registry.history()


@pytest.mark.parametrize("version", ["4", "0", "-1", "latest", "", "²", "1.0", "../versions/1"])
def test_unknown_version_names_those_there_are(
    registry: Registry, made: Path, version: str
) -> None:
    for _ in range(3):
        registry.register(made)
    registry.promote("2")
    before = registry.history()
    message = f"no version or alias {version!r}; there is: 1, 2, 3, candidate, production"
    for attempt in (registry.resolve, registry.promote):
        with pytest.raises(RegistryError) as caught:
            attempt(version)
        assert str(caught.value) == f"registry {registry.folder}: {message}"
    assert registry.history() == before


@pytest.mark.parametrize("file", [WEIGHTS, VOCABULARY, PIPELINE, GOLDEN, MANIFEST])
def test_corrupt_bundle_is_neither_registered_nor_promoted(
    registry: Registry, made: Path, file: str
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


def test_folder_without_a_bundle_is_not_registered(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no complete bundle"):
        registry.register(tmp_path / "nothing here")
    assert registry.versions() == []


@pytest.mark.parametrize(
    "line", [b"{", b"[]", b'{"alias": "production"}', b"\xff", b'{"time": "\xff"}']
)
def test_corrupt_history(registry: Registry, made: Path, line: bytes) -> None:
    registry.register(made)
    history = registry.folder / "history.jsonl"
    corrupt = history.read_bytes() + line + b"\n"
    history.write_bytes(corrupt)
    for attempt in (registry.history, registry.aliases, registry.versions):
        with pytest.raises(RegistryError, match=r"history\.jsonl cannot be read"):
            attempt()
    for change in (lambda: registry.register(made), lambda: registry.promote("1")):
        with pytest.raises(RegistryError, match=r"history\.jsonl cannot be read"):
            change()
    assert history.read_bytes() == corrupt


def test_a_file_in_place_of_the_folder(tmp_path: Path, made: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    for folder in (tmp_path / "file", tmp_path / "file" / "deeper"):
        registry = Registry(folder)
        with pytest.raises(RegistryError, match="cannot be written"):
            registry.register(made)
        with pytest.raises(RegistryError, match="cannot be written"):
            registry.promote("1")
        for attempt in (registry.versions, registry.history):
            with pytest.raises(RegistryError, match="cannot be read"):
                attempt()


def test_what_a_killed_writer_left_is_cleared(registry: Registry, made: Path) -> None:
    """A writer killed while it copied leaves a half of a bundle, and one killed later a whole."""
    versions = registry.folder / "versions"
    registry.register(made)
    half = versions / ".new-killed" / "bundle"
    half.mkdir(parents=True)
    (half / WEIGHTS).write_bytes(b"half")
    (registry.folder / ".history.jsonl.new").write_bytes(b'{"time": "20')
    make_bundle(versions / "2", "killed before the history was written")

    assert [event.version for event in registry.history()] == [1]
    assert registry.register(made) == 3
    assert sorted(path.name for path in versions.iterdir()) == ["1", "2", "3"]
    assert registry.aliases() == {CANDIDATE: 3}
    assert {path.name for path in registry.folder.iterdir()} == {
        *("versions", "history.jsonl", ".lock"),
    }


WRITER = """
import sys
from pathlib import Path
from shared.registry import Registry

registry = Registry(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for _ in range(10):
    print(registry.register(Path(sys.argv[2]), sys.argv[3]))
"""


def test_two_writers_at_once(registry: Registry, made: Path) -> None:
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
from shared.registry import Registry

os.setuid(54321)
registry = Registry(Path(sys.argv[1]) / "registry")
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


def test_open_registry() -> None:
    assert open_registry("file:/a/b").folder == Path("/a/b")
    assert open_registry("file:///a/b").folder == Path("/a/b")
    assert open_registry("file:a/b").folder == Path("a/b")
    assert open_registry("file:~/b").folder == Path.home() / "b"


@pytest.mark.parametrize("url", ["", "file", "file:", "/a/b", "s3://bucket/a", "FILE:/a", "http:x"])
def test_open_registry_refuses(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_registry(url)
    assert str(caught.value) == f"TRIAGE_REGISTRY={url!r}: expected file:FOLDER"

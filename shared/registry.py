"""Registry: where bundles are kept by version, and aliases say which one is meant.

    FOLDER/versions/1/    a bundle
    FOLDER/history.jsonl  what happened, a line an event; aliases are what the lines add up to

Version numbers count up from 1. Training sets the alias `candidate`, promotion `production`, which
leaves the former production version under `previous`. Every change is one atomic replacement of the
history under a lock, so that two writers are safe and a reader needs no lock.
"""

import fcntl
import getpass
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from shared.bundle import Manifest, copy_bundle, read_manifest, verify_bundle
from shared.errors import RegistryError, UsageError

CANDIDATE = "candidate"
PRODUCTION = "production"
PREVIOUS = "previous"


class Event(msgspec.Struct, frozen=True):
    """A line of the history: from `time` on, `alias` means `version`."""

    time: str
    who: str
    alias: str
    version: int
    reason: str = ""


class Version(msgspec.Struct, frozen=True):
    """A registered bundle, where it lies, and the aliases that mean it now."""

    number: int
    folder: Path
    manifest: Manifest
    aliases: tuple[str, ...]


class Registry:
    """A registry in a local folder, which is made when something is registered.

    Args:
        folder: of the registry.
        clock: gives the time of events.
    """

    def __init__(
        self, folder: Path, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.folder = folder
        self._clock = clock

    def register(self, bundle: Path, alias: str = CANDIDATE) -> int:
        """Copies a bundle in under the next version number, and lets the alias mean it.

        Raises:
            BundleError: if the bundle does not verify.
            RegistryError: if the folder cannot be written.
        """
        verify_bundle(bundle)
        with self._writing():
            versions = self.folder / "versions"
            versions.mkdir(exist_ok=True)
            number = max(self._numbers(), default=0) + 1
            with tempfile.TemporaryDirectory(dir=versions, prefix=".new-") as scratch:
                copy_bundle(bundle, Path(scratch) / "bundle")
                (Path(scratch) / "bundle").rename(versions / str(number))
            self._append(self._event(alias, number, ""))
        return number

    def promote(self, version: str, alias: str = PRODUCTION, reason: str = "") -> Version:
        """Lets an alias mean a version; what `production` meant before becomes `previous`.

        Args:
            version: a number, or an alias such as `candidate`.

        Raises:
            RegistryError: if there is no such version.
            BundleError: if its bundle does not verify.
        """
        with self._writing():
            number = self._number(version)
            verify_bundle(self._bundle(number))
            former = self.aliases().get(alias)
            events = [self._event(alias, number, reason)]
            if alias == PRODUCTION and former not in (None, number):
                events.append(self._event(PREVIOUS, former, reason))
            self._append(*events)
        return self.resolve(str(number))

    def resolve(self, version: str) -> Version:
        """Finds a version by number or alias.

        Raises:
            RegistryError: if there is none, naming those that there are.
            BundleError: if its manifest cannot be read.
        """
        return self._version(self._number(version), self.aliases())

    def versions(self) -> list[Version]:
        """All versions, the oldest first."""
        aliases = self.aliases()
        return [self._version(number, aliases) for number in sorted(self._numbers())]

    def aliases(self) -> dict[str, int]:
        """What each alias means now."""
        return {event.alias: event.version for event in self.history()}

    def history(self) -> list[Event]:
        """What happened, the oldest first.

        Raises:
            RegistryError: if the history cannot be read.
        """
        path = self.folder / "history.jsonl"
        try:
            return msgspec.json.Decoder(Event).decode_lines(path.read_bytes())
        except FileNotFoundError:
            return []
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RegistryError(f"{path} cannot be read: {error}") from error

    def _number(self, version: str) -> int:
        numbers, aliases = self._numbers(), self.aliases()
        if version.isascii() and version.isdigit() and int(version) in numbers:
            return int(version)
        if version in aliases:
            return aliases[version]
        there = ", ".join([*map(str, sorted(numbers)), *sorted(aliases)]) or "nothing yet"
        raise RegistryError(
            f"registry {self.folder}: no version or alias {version!r}; there is: {there}"
        )

    def _numbers(self) -> set[int]:
        try:
            names = [path.name for path in (self.folder / "versions").iterdir()]
        except FileNotFoundError:
            return set()
        except OSError as error:
            raise RegistryError(f"registry {self.folder} cannot be read: {error}") from error
        return {int(name) for name in names if name.isascii() and name.isdigit()}

    def _bundle(self, number: int) -> Path:
        return self.folder / "versions" / str(number)

    def _version(self, number: int, aliases: dict[str, int]) -> Version:
        folder = self._bundle(number)
        names = tuple(sorted(alias for alias, meant in aliases.items() if meant == number))
        return Version(number, folder, read_manifest(folder), names)

    def _event(self, alias: str, number: int, reason: str) -> Event:
        time = self._clock().isoformat(timespec="seconds")
        return Event(time, _user(), alias, number, reason)

    def _append(self, *events: Event) -> None:
        lines = msgspec.json.Encoder().encode_lines([*self.history(), *events])
        new = self.folder / ".history.jsonl.new"
        with new.open("wb") as file:
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.folder / "history.jsonl")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Holds the registry's lock; what a killed writer left half done is cleared away."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / ".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                for leftover in (self.folder / "versions").glob(".new-*"):
                    shutil.rmtree(leftover)
                yield
        except OSError as error:
            raise RegistryError(f"registry {self.folder} cannot be written: {error}") from error


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have a number and no name
        return str(os.getuid())


def open_registry(url: str) -> Registry:
    """Opens the registry that the setting `registry` names.

    Raises:
        UsageError: if the address is not of the form `file:FOLDER`.
    """
    scheme, _, rest = url.partition(":")
    if scheme != "file" or not rest:
        raise UsageError(f"TRIAGE_REGISTRY={url!r}: expected file:FOLDER")
    return Registry(Path(rest.removeprefix("//")).expanduser())

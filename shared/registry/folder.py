"""Registry in a local folder. It is the default and needs nothing else.

    FOLDER/versions/1/    a bundle
    FOLDER/history.jsonl  one event a line; the last event of an alias says what it names

Every change replaces the history atomically under a lock. So two writers are safe, and a reader
needs no lock.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from shared.bundle.files import copy_bundle, digest_of, read_manifest, verify_bundle
from shared.errors import BundleError, RegistryError, UnavailableError
from shared.registry.base import (
    CANDIDATE,
    PREVIOUS,
    PRODUCTION,
    Action,
    Event,
    Version,
    no_such_version,
    user_name,
)
from shared.registry.cache import keep_in_cache


class FolderRegistry:
    """A registry in a local folder, which is created by the first registration.

    Args:
        folder: the folder of the registry.
        clock: returns the time of an event.
    """

    def __init__(
        self, folder: Path, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.folder = folder
        self.url = f"file:{folder}"
        self._clock = clock

    def register(self, bundle: Path, alias: str = CANDIDATE) -> Version:
        """See `shared.registry.base.Registry`."""
        verify_bundle(bundle)
        with self._writing():
            versions = self.folder / "versions"
            versions.mkdir(exist_ok=True)
            used = {event.version for event in self.history()}  # even if deleted since
            number = max(self._numbers() | used, default=0) + 1
            with tempfile.TemporaryDirectory(dir=versions, prefix=".new-") as scratch:
                copy_bundle(bundle, Path(scratch) / "bundle")
                (Path(scratch) / "bundle").rename(versions / str(number))
            self._append(self._event("register", alias, number))
        return self.resolve(str(number))

    def promote(
        self, version: str, alias: str = PRODUCTION, reason: str = "", forced: bool = False
    ) -> Version:
        """See `shared.registry.base.Registry`."""
        with self._writing():
            number = self._number(version)
            verify_bundle(self._bundle(number))
            former = self.aliases().get(alias)
            events = [self._event("promote", alias, number, reason, forced)]
            if alias == PRODUCTION and former not in (None, number):
                events.append(self._event("promote", PREVIOUS, former, reason, forced))
            self._append(*events)
        return self.resolve(str(number))

    def rollback(self, reason: str = "") -> Version:
        """See `shared.registry.base.Registry`."""
        with self._writing():
            back, former = self._number(PREVIOUS), self._number(PRODUCTION)
            verify_bundle(self._bundle(back))
            self._append(
                self._event("rollback", PRODUCTION, back, reason),
                self._event("rollback", PREVIOUS, former, reason),
            )
        return self.resolve(str(back))

    def resolve(self, version: str) -> Version:
        """See `shared.registry.base.Registry`."""
        return self._version(self._number(version), self.aliases())

    def fetch(self, version: Version, cache: Path) -> Path:
        """See `shared.registry.base.Registry`."""
        source = self._bundle(version.number)

        def copy(new: Path) -> None:
            verify_bundle(source)  # so that an error names the registry's file, not the copy
            copy_bundle(source, new)

        return keep_in_cache(cache, version.digest, copy)

    def versions(self) -> list[Version]:
        """See `shared.registry.base.Registry`."""
        aliases, versions = self.aliases(), []
        for number in sorted(self._numbers()):
            with suppress(BundleError):
                versions.append(self._version(number, aliases))
        return versions

    def aliases(self) -> dict[str, int]:
        """Return the version that each alias names now."""
        return {event.alias: event.version for event in self.history()}

    def history(self) -> list[Event]:
        """See `shared.registry.base.Registry`."""
        path = self.folder / "history.jsonl"
        try:
            return msgspec.json.Decoder(Event).decode_lines(path.read_bytes())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UnavailableError(f"{path} cannot be read: {error}") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RegistryError(f"{path} cannot be read: {error}") from error

    def _number(self, version: str) -> int:
        numbers, aliases = self._numbers(), self.aliases()
        if version.isascii() and version.isdigit() and int(version) in numbers:
            return int(version)
        if version in aliases:
            return aliases[version]
        names = ", ".join([*map(str, sorted(numbers)), *sorted(aliases)])
        raise RegistryError(no_such_version(self.url, version, names))

    def _numbers(self) -> set[int]:
        try:
            names = [path.name for path in (self.folder / "versions").iterdir()]
        except FileNotFoundError:
            return set()
        except OSError as error:
            raise UnavailableError(f"registry {self.url} cannot be read: {error}") from error
        return {int(name) for name in names if name.isascii() and name.isdigit()}

    def _bundle(self, number: int) -> Path:
        return self.folder / "versions" / str(number)

    def _version(self, number: int, aliases: dict[str, int]) -> Version:
        folder = self._bundle(number)
        names = tuple(sorted(alias for alias, meant in aliases.items() if meant == number))
        return Version(number, digest_of(folder), read_manifest(folder), names)

    def _event(
        self, action: Action, alias: str, number: int, reason: str = "", forced: bool = False
    ) -> Event:
        return Event(
            time=self._clock().isoformat(timespec="seconds"),
            who=user_name(),
            action=action,
            alias=alias,
            version=number,
            reason=reason,
            forced=forced,
        )

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
        """Hold the registry's lock, and delete unfinished files of a killed writer."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / ".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                for leftover in (self.folder / "versions").glob(".new-*"):
                    shutil.rmtree(leftover)
                yield
        except OSError as error:
            raise UnavailableError(f"registry {self.url} cannot be written: {error}") from error

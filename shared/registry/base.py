"""Registry: where bundles are kept by version, and aliases say which one is meant.

Version numbers count up, from 1 in a folder and from 0 in W&B. Training sets the alias
`candidate`, promotion `production`, which leaves the former production version under `previous`,
and a rollback changes these two over. Workers follow an alias.

The address chooses the implementation: `file:FOLDER` or `wandb:ENTITY/REGISTRY/COLLECTION`.
"""

import getpass
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from shared.bundle.files import MANIFEST, digest_of, verify_bundle
from shared.bundle.manifest import Manifest
from shared.errors import BundleError, UnavailableError, UsageError

CANDIDATE = "candidate"
PRODUCTION = "production"
PREVIOUS = "previous"

_KEPT_IN_CACHE = 5
"""Bundles; the least recently used others are removed, but not a worker's last good one."""
_ABANDONED = 3600
"""Seconds after which what is being brought into the cache was given up; it takes minutes."""


Action = Literal["register", "promote", "rollback"]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What happened: from `time` (ISO 8601, UTC) on, `alias` means `version`.

    Attributes:
        action: histories of version 0.1 do not say it.
        forced: whether a promotion went past the gate's refusal.
    """

    time: str
    who: str
    alias: str
    version: int
    action: Action = "promote"
    reason: str = ""
    forced: bool = False


class Version(msgspec.Struct, frozen=True):
    """A registered bundle, the SHA-256 of its manifest, and the aliases that mean it now."""

    number: int
    digest: str
    manifest: Manifest
    aliases: tuple[str, ...]


class Registry(Protocol):
    """What trainer and worker ask of a registry.

    Every method raises `RegistryError` for a version or alias that there is not, and
    `UnavailableError` if the registry cannot be read or written now.

    Attributes:
        url: its address, as `TRIAGE_REGISTRY` gives it.
    """

    url: str

    def register(self, bundle: Path, alias: str = CANDIDATE) -> Version:
        """Keeps a copy of a bundle under the next version number, and lets the alias mean it.

        Raises:
            BundleError: if the bundle does not verify.
        """

    def promote(
        self, version: str, alias: str = PRODUCTION, reason: str = "", forced: bool = False
    ) -> Version:
        """Lets an alias mean a version; what `production` meant before becomes `previous`.

        Args:
            version: a number, or an alias such as `candidate`.

        Raises:
            BundleError: if its bundle does not verify.
        """

    def rollback(self, reason: str = "") -> Version:
        """Lets `production` mean what `previous` means, and the other way round.

        Returns:
            The version that is in production now.
        """

    def resolve(self, version: str) -> Version:
        """Finds a version by number or alias, by its manifest alone.

        Raises:
            BundleError: if its manifest cannot be read.
        """

    def fetch(self, version: Version, cache: Path) -> Path:
        """The version's bundle as a folder of the cache, brought there if need be, and verified.

        Raises:
            BundleError: if what the registry has does not verify.
        """

    def versions(self) -> list[Version]:
        """All versions whose manifests can be read, the oldest first.

        One that is damaged hides no other; the history still has it.
        """

    def history(self) -> list[Event]:
        """What happened, the oldest first."""


def open_registry(url: str) -> Registry:
    """Opens the registry that the setting `registry` names.

    Raises:
        UsageError: if the address is not of one of the known forms.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "file" and rest:
        from shared.registry.folder import FolderRegistry

        return FolderRegistry(Path(rest.removeprefix("//")).expanduser())
    if scheme == "wandb" and re.fullmatch(r"[\w.-]+/[\w.-]+/[\w.-]+", rest, re.ASCII):
        from shared.registry.wandb_registry import WandbRegistry

        entity, registry, collection = rest.split("/")
        return WandbRegistry(entity, registry, collection)
    raise UsageError(
        f"TRIAGE_REGISTRY={url!r}: expected file:FOLDER or wandb:ENTITY/REGISTRY/COLLECTION"
    )


def keep_in_cache(cache: Path, digest: str, bring: Callable[[Path], object]) -> Path:
    """The bundle with this digest in the cache, brought there if it is not, and verified.

    Args:
        bring: is given a folder that does not exist yet, and makes it the bundle.

    Raises:
        BundleError: if what was brought does not verify, or has another digest.
        UnavailableError: if the cache cannot be written.
    """
    kept = cache / digest
    try:
        if not _is_bundle(kept, digest):
            cache.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=cache, prefix=".new-") as scratch:
                new = Path(scratch) / "bundle"
                bring(new)
                verify_bundle(new)
                if (found := digest_of(new)) != digest:
                    raise BundleError(f"{new / MANIFEST}: expected SHA-256 {digest}, got {found}")
                # If another worker has brought it meanwhile, it may be reading it: that stays.
                if not _is_bundle(kept, digest):
                    if kept.exists():
                        kept.rename(Path(scratch) / "broken")
                    new.rename(kept)
        os.utime(kept)
        _tidy(cache)
    except OSError as error:
        raise UnavailableError(f"TRIAGE_CACHE: {cache} cannot be written: {error}") from error
    return kept


def user_name() -> str:
    """Who runs this program, by the machine's account."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have a number and no name
        return str(os.getuid())


def _tidy(cache: Path) -> None:
    """Removes bundles that were not used lately, and what killed processes left half done."""
    noted = b"".join(note.read_bytes() for note in cache.glob("last-good-*.json"))
    bundles = [path for path in cache.iterdir() if re.fullmatch("[0-9a-f]{64}", path.name)]
    bundles.sort(key=_last_used, reverse=True)
    for old in bundles[_KEPT_IN_CACHE:]:
        if old.name.encode() not in noted:
            shutil.rmtree(old, ignore_errors=True)
    for left in cache.glob(".new-*"):
        if time.time() - _last_used(left) > _ABANDONED:
            shutil.rmtree(left, ignore_errors=True)


def _last_used(path: Path) -> float:
    """In seconds since 1970; 0 if another process has removed it meanwhile."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0


def _is_bundle(folder: Path, digest: str) -> bool:
    try:
        verify_bundle(folder)
        return digest_of(folder) == digest
    except (BundleError, UnavailableError):
        return False

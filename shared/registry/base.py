"""Registry: keeps bundles by version. An alias names a version.

Version numbers count up, from 1 in a folder and from 0 in W&B. Training sets the alias `candidate`.
Promotion sets `production`, and `previous` to the version that was in production before. A rollback
swaps these two. Workers follow an alias.

The address chooses the implementation: `file:FOLDER` is `shared.registry.folder`, and
`wandb:ENTITY/REGISTRY/COLLECTION` is `shared.registry.wandb_registry`.
"""

import getpass
import os
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from shared.bundle.manifest import Manifest

CANDIDATE = "candidate"
PRODUCTION = "production"
PREVIOUS = "previous"

Action = Literal["register", "promote", "rollback"]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A change of an alias: from `time` (ISO 8601, UTC) on, `alias` names `version`.

    Attributes:
        action: not in histories of version 0.1.
        forced: whether a promotion overrode the gate.
    """

    time: str
    who: str
    alias: str
    version: int
    action: Action = "promote"
    reason: str = ""
    forced: bool = False


class Version(msgspec.Struct, frozen=True):
    """A registered bundle, the SHA-256 of its manifest, and the aliases that name it now."""

    number: int
    digest: str
    manifest: Manifest
    aliases: tuple[str, ...]


class Registry(Protocol):
    """What trainer and worker ask of a registry.

    Every method raises `RegistryError` for a version or alias that does not exist, and
    `UnavailableError` if the registry cannot be read or written now.

    Attributes:
        url: its address, as in `TRIAGE_REGISTRY`.
    """

    url: str

    def register(self, bundle: Path, alias: str = CANDIDATE) -> Version:
        """Copy a bundle to the next version number, and set an alias to it.

        Raises:
            BundleError: if the bundle does not verify.
        """

    def promote(
        self, version: str, alias: str = PRODUCTION, reason: str = "", forced: bool = False
    ) -> Version:
        """Set an alias to a version. For `production`, also set `previous` to the former version.

        Args:
            version: a number, or an alias such as `candidate`.

        Raises:
            BundleError: if its bundle does not verify.
        """

    def rollback(self, reason: str = "") -> Version:
        """Swap `production` and `previous`.

        Returns:
            The version that is in production now.
        """

    def resolve(self, version: str) -> Version:
        """Find a version by number or alias. Read its manifest only.

        Raises:
            BundleError: if its manifest cannot be read.
        """

    def fetch(self, version: Version, cache: Path) -> Path:
        """Return a version's verified bundle in the cache. Download it if it is not there.

        Raises:
            BundleError: if the registry's bundle does not verify.
        """

    def versions(self) -> list[Version]:
        """List the versions whose manifests can be read, the oldest first.

        Damaged versions are skipped; the history still has them.
        """

    def history(self) -> list[Event]:
        """List what happened, the oldest first."""


def no_such_version(url: str, version: str, names: str) -> str:
    """Return the message of a `RegistryError` about a version or alias that does not exist."""
    expected = f"expected one of {names}" if names else "the registry is empty; train a model first"
    return f"registry {url} has no version or alias {version!r}: {expected}"


def user_name() -> str:
    """Return the name of the account that runs this program."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container the user may have no name
        return str(os.getuid())

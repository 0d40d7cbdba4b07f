"""Cache of bundles: a folder with the bundles that were used last, each under its digest."""

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from shared.bundle.files import MANIFEST, digest_of, verify_bundle
from shared.errors import BundleError, UnavailableError

_BUNDLES = 5
"""Largest number of bundles in the cache. The least recently used ones are deleted, but not a
worker's last good bundle."""
_ABANDONED = 3600
"""Seconds until an unfinished download counts as abandoned. A download takes minutes."""


def keep_in_cache(cache: Path, digest: str, fetch: Callable[[Path], object]) -> Path:
    """Return the verified bundle with this digest in the cache. Fetch it if it is not there.

    Args:
        fetch: writes the bundle to the given folder, which does not exist yet.

    Raises:
        BundleError: if what was fetched does not verify, or has another digest.
        UnavailableError: if the cache cannot be written.
    """
    cached = cache / digest
    try:
        if not _is_bundle(cached, digest):
            cache.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=cache, prefix=".new-") as scratch:
                new = Path(scratch) / "bundle"
                fetch(new)
                verify_bundle(new)
                if (found := digest_of(new)) != digest:
                    raise BundleError(f"{new / MANIFEST}: expected SHA-256 {digest}, got {found}")
                # Another worker may have fetched it meanwhile, and may be reading it.
                if not _is_bundle(cached, digest):
                    if cached.exists():
                        cached.rename(Path(scratch) / "broken")
                    new.rename(cached)
        os.utime(cached)
        _clean(cache)
    except OSError as error:
        raise UnavailableError(f"TRIAGE_CACHE: {cache} cannot be written: {error}") from error
    return cached


def _clean(cache: Path) -> None:
    """Delete the least recently used bundles, and unfinished downloads of killed processes."""
    notes = b"".join(note.read_bytes() for note in cache.glob("last-good-*.json"))
    bundles = [path for path in cache.iterdir() if re.fullmatch("[0-9a-f]{64}", path.name)]
    bundles.sort(key=_last_used, reverse=True)
    for old in bundles[_BUNDLES:]:
        if old.name.encode() not in notes:
            shutil.rmtree(old, ignore_errors=True)
    for unfinished in cache.glob(".new-*"):
        if time.time() - _last_used(unfinished) > _ABANDONED:
            shutil.rmtree(unfinished, ignore_errors=True)


def _last_used(path: Path) -> float:
    """Return the time of last use in seconds since 1970, or 0 if another process has deleted it."""
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

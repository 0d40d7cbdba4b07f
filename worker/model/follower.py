"""Reload: follows an alias of the registry and loads the bundle that it means.

    registry ─resolve─▶ version ─fetch─▶ cache ─load, verify, warm up─▶ Loaded ─▶ the worker's loop

All of it happens beside the bundle that scores, which goes on whatever fails. What was loaded last
is noted in the cache, and a worker that starts while the registry is away scores with that.
"""

import contextlib
import hashlib
import logging
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from shared.bundle.load import Bundle, load_bundle
from shared.bundle.quality import BALANCED
from shared.errors import BundleError, RegistryError, TriageError, UnavailableError
from shared.registry.base import Registry, Version

log = logging.getLogger("triage")

Told = Callable[[str], None]
"""Called with `loaded`, `refused` or `unavailable`."""

_PATIENCE = 10
"""Seconds that a worker which ends gives a bundle that is being loaded."""


class Loaded(msgspec.Struct, frozen=True):
    """A bundle that is ready to score, the number of its version, and from where on it alerts."""

    number: int
    bundle: Bundle
    threshold: float


class _Place(msgspec.Struct, frozen=True):
    """A version's number and digest, as the note of the last good one has them."""

    number: int
    digest: str


_NOWHERE = _Place(0, "")


class Follower:
    """Follows one alias.

    Args:
        cache: keeps the bundles and the note of the last good one.
        batch_size: rows to warm the models up for.
        tell: is told of every attempt to load another bundle.
        threshold: a probability, or the operating point that a bundle must have to be taken.
    """

    def __init__(
        self,
        registry: Registry,
        alias: str,
        cache: Path,
        batch_size: int,
        tell: Told,
        threshold: float | str = BALANCED,
    ) -> None:
        self._registry = registry
        self._alias = alias
        self._cache = cache
        self._batch_size = batch_size
        self._tell = tell
        self._threshold = threshold
        self._scoring = self._refused = _NOWHERE
        self._said = ""  # why the alias cannot be followed at present
        self._loaded: queue.SimpleQueue[Loaded] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        key = hashlib.sha256(f"{registry.url} {alias}".encode()).hexdigest()
        self._note = cache / f"last-good-{key[:16]}.json"

    def first(self) -> Loaded:
        """Loads what the alias means or, if that cannot be had, what it meant last.

        Raises:
            RegistryError, BundleError, UnavailableError: if neither can be had.
        """
        try:
            return self._load(self._registry.resolve(self._alias))
        except (RegistryError, BundleError, UnavailableError) as error:
            try:
                last = msgspec.json.decode(self._note.read_bytes(), type=_Place)
                loaded = self._ready(last.number, self._cache / last.digest)
            except (OSError, msgspec.DecodeError, BundleError):
                raise error from None
            self._scoring = last
            self._say(error)
            return loaded

    def start(self, seconds: float) -> None:
        """Looks for another version this often, in a thread of its own, until `stop`."""

        def follow() -> None:
            while not self._stop.wait(seconds):
                self._look()

        self._thread = threading.Thread(target=follow, name=f"follow {self._alias}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread when its present look is done."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_PATIENCE)

    def take(self) -> Loaded | None:
        """A bundle that was loaded since the last call, or None."""
        try:
            return self._loaded.get_nowait()
        except queue.Empty:
            return None

    def _look(self) -> None:
        try:
            version = self._registry.resolve(self._alias)
            place = _Place(version.number, version.digest)
            if place == self._refused:
                return
            loaded = None if place == self._scoring else self._load(version)
        except Exception as error:  # noqa: BLE001  # whatever it is, the bundle that scores goes on
            self._say(error)
            return
        if self._said:
            log.info("%s can be followed again", self._alias)
            self._said = ""
        if loaded is not None:
            self._tell("loaded")
            self._loaded.put(loaded)
            return
        self._refused = _NOWHERE  # so that it is tried again if it comes again
        with contextlib.suppress(OSError):
            os.utime(self._cache / place.digest)  # or newer ones would push it out of the cache

    def _say(self, error: Exception) -> None:
        """Says why the alias cannot be followed, in the log once."""
        away = isinstance(error, (RegistryError, UnavailableError))  # an alias may come back too
        if away or str(error) != self._said:
            self._tell("unavailable" if away else "refused")
        if str(error) != self._said:
            goes_on = f"; scoring with version {self._scoring.number} meanwhile"
            if self._scoring == _NOWHERE:
                goes_on = ""
            log.error("%s: %s%s", self._alias, error, goes_on)
        self._said = str(error)

    def _load(self, version: Version) -> Loaded:
        place = _Place(version.number, version.digest)
        try:
            loaded = self._ready(version.number, self._registry.fetch(version, self._cache))
        except BundleError:
            self._refused = place
            raise
        self._scoring = place
        new = self._note.with_suffix(".new")
        try:
            new.write_bytes(msgspec.json.encode(place))
            new.replace(self._note)
        except OSError as error:
            log.warning("%s cannot be written: %s", self._note, error)
        return loaded

    def _ready(self, number: int, folder: Path) -> Loaded:
        """Loads, verifies and warms up.

        Raises:
            BundleError: whatever fails; but
            UnavailableError: if memory does not suffice for it now.
        """
        try:
            bundle = load_bundle(folder)
            threshold = bundle.manifest.threshold_at(self._threshold)
            bundle.scorer.warm_up(self._batch_size)
        except TriageError:
            raise
        except MemoryError as error:
            raise UnavailableError(f"{folder}: no memory to load it: {error}") from error
        except Exception as error:
            raise BundleError(f"{folder}: {type(error).__name__}: {error}") from error
        return Loaded(number, bundle, threshold)

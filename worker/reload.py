"""Reload: follows an alias of the registry and loads the bundle that it means.

    registry ─resolve─▶ version ─fetch─▶ cache ─load, verify, warm up─▶ Loaded ─▶ the worker's loop

All of it happens beside the bundle that scores, which goes on whatever fails. What was loaded last
is noted in the cache, and a worker that starts while the registry is away scores with that.
"""

import hashlib
import logging
import queue
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from shared.bundle import Bundle, load_bundle
from shared.errors import BundleError, RegistryError, UnavailableError
from shared.registry import Registry, Version

log = logging.getLogger("triage")

Told = Callable[[str], None]
"""Called with `loaded`, `refused` or `unavailable`."""


class Loaded(msgspec.Struct, frozen=True):
    """A bundle that is ready to score, and the number of its version."""

    number: int
    bundle: Bundle


class _Place(msgspec.Struct, frozen=True):
    """A version's number and digest, as the note of the last good one has them."""

    number: int
    digest: str


class Follower:
    """Follows one alias.

    Args:
        cache: keeps the bundles and the note of the last good one.
        batch_size: rows to warm the models up for.
        tell: is told of every attempt to load another bundle.
    """

    def __init__(
        self, registry: Registry, alias: str, cache: Path, batch_size: int, tell: Told
    ) -> None:
        self._registry = registry
        self._alias = alias
        self._cache = cache
        self._batch_size = batch_size
        self._tell = tell
        self._scoring = _Place(0, "")
        self._refused = _Place(0, "")  # is not tried again
        self._away = False
        self._loaded: queue.SimpleQueue[Loaded] = queue.SimpleQueue()
        self._stop = threading.Event()
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
                loaded = Loaded(last.number, self._ready(self._cache / last.digest))
            except (OSError, msgspec.DecodeError, BundleError):
                raise error from None
            self._tell("refused" if isinstance(error, BundleError) else "unavailable")
            log.error("%s; scoring with version %d, the last good one", error, last.number)
            self._scoring = last
            self._away = True
            return loaded

    def start(self, seconds: float) -> None:
        """Looks for another version this often, in a thread of its own, until `stop`."""

        def follow() -> None:
            while not self._stop.wait(seconds):
                self._look()

        threading.Thread(target=follow, name=f"follow {self._alias}", daemon=True).start()

    def stop(self) -> None:
        """Ends the thread when its present look is done."""
        self._stop.set()

    def take(self) -> Loaded | None:
        """A bundle that was loaded since the last call, or None."""
        try:
            return self._loaded.get_nowait()
        except queue.Empty:
            return None

    def _look(self) -> None:
        try:
            loaded = self._load_another()
        except UnavailableError as error:
            self._tell("unavailable")
            if not self._away:
                log.warning("%s; the bundle that is loaded goes on", error)
            self._away = True
            return
        except Exception as error:  # noqa: BLE001  # whatever it is, the bundle that scores goes on
            self._tell("refused")
            log.error("%s refused: %s; the bundle that is loaded goes on", self._alias, error)
            return
        if self._away:
            log.info("the registry is back")
        self._away = False
        if loaded is not None:
            self._tell("loaded")
            self._loaded.put(loaded)

    def _load_another(self) -> Loaded | None:
        try:
            version = self._registry.resolve(self._alias)
        except RegistryError as error:  # the alias was there: what is missing may come back
            raise UnavailableError(str(error)) from error
        place = _Place(version.number, version.digest)
        if place == self._scoring:
            self._refused = self._scoring
        if place in (self._scoring, self._refused):
            return None
        try:
            return self._load(version)
        except UnavailableError:
            raise
        except Exception:
            self._refused = place
            raise

    def _load(self, version: Version) -> Loaded:
        loaded = Loaded(version.number, self._ready(self._registry.fetch(version, self._cache)))
        self._scoring = _Place(version.number, version.digest)
        new = self._note.with_suffix(".new")
        try:
            new.write_bytes(msgspec.json.encode(self._scoring))
            new.replace(self._note)
        except OSError as error:
            log.warning("%s cannot be written: %s", self._note, error)
        return loaded

    def _ready(self, folder: Path) -> Bundle:
        bundle = load_bundle(folder)
        bundle.scorer.warm_up(self._batch_size)
        return bundle

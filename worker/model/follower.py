"""Follower: follow an alias of the registry and load its bundle.

    registry ─resolve─▶ version ─fetch─▶ cache ─load, verify, warm up─▶ Loaded ─▶ the worker's loop

All of it happens in a thread. If anything fails, the present bundle stays in use. The cache has a
note of the last good version, for a worker that starts while the registry is unavailable.
"""

import contextlib
import hashlib
import logging
import os
import queue
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from shared.bundle.load import Bundle, load_bundle
from shared.bundle.quality import BALANCED
from shared.errors import BundleError, RegistryError, TriageError, UnavailableError
from shared.registry.base import Registry, Version

log = logging.getLogger("triage")

Callback = Callable[[str], None]
"""Called with the result of an attempt: `loaded`, `refused` or `unavailable`."""

_STOP_TIMEOUT = 10
"""Seconds that a stopping worker waits for a bundle that is being loaded."""
_RESOLVE_TIMEOUT = 30
_FETCH_TIMEOUT = 540
"""Seconds that the registry may take to answer. A read from a stale network file system blocks for
ever and cannot be interrupted. A worker that is starting is taken for stuck after 600 s."""

T = TypeVar("T")


class Loaded(msgspec.Struct, frozen=True):
    """A bundle that is ready to score, its version, and the lowest probability of an alert."""

    number: int
    bundle: Bundle
    threshold: float


class _LastGood(msgspec.Struct, frozen=True):
    """Number and digest of a version, as in the cache's note."""

    number: int
    digest: str


_NO_VERSION = _LastGood(0, "")


class Follower:
    """Follows one alias.

    Args:
        cache: the folder of the bundles and of the note of the last good version.
        batch_size: rows to warm the models up for.
        callback: called with the result of each attempt to load another bundle.
        threshold: a probability, or an operating point that a bundle must have.
        resolve_timeout: seconds after which a registry that does not answer is unavailable.
    """

    def __init__(
        self,
        registry: Registry,
        alias: str,
        cache: Path,
        batch_size: int,
        callback: Callback,
        threshold: float | str = BALANCED,
        resolve_timeout: float = _RESOLVE_TIMEOUT,
    ) -> None:
        self._registry = registry
        self._alias = alias
        self._cache = cache
        self._batch_size = batch_size
        self._callback = callback
        self._threshold = threshold
        self._resolve_timeout = resolve_timeout
        self._scoring = self._refused = _NO_VERSION
        self._reported = ""  # the error that prevents loading now
        self._loaded: queue.SimpleQueue[Loaded] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._asking: threading.Thread | None = None
        key = hashlib.sha256(f"{registry.url} {alias}".encode()).hexdigest()
        self._note = cache / f"last-good-{key[:16]}.json"

    def load_initial(self) -> Loaded:
        """Load the version of the alias or, if that fails, the last good version in the cache.

        Raises:
            RegistryError, BundleError, UnavailableError: if neither can be loaded.
        """
        try:
            return self._load(self._resolve())
        except (RegistryError, BundleError, UnavailableError) as error:
            try:
                last = msgspec.json.decode(self._note.read_bytes(), type=_LastGood)
                loaded = self._prepare(last.number, self._cache / last.digest)
            except (OSError, msgspec.DecodeError, BundleError):
                raise error from None
            self._scoring = last
            self._report(error)
            return loaded

    def start(self, seconds: float) -> None:
        """Check for another version at this interval in seconds, in a thread, until `stop`."""

        def follow() -> None:
            while not self._stop.wait(seconds):
                self._check()

        self._thread = threading.Thread(target=follow, name=f"follow {self._alias}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread after its current check."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_STOP_TIMEOUT)

    def poll(self) -> Loaded | None:
        """Return a bundle that was loaded since the last call, or None."""
        try:
            return self._loaded.get_nowait()
        except queue.Empty:
            return None

    def _check(self) -> None:
        try:
            version = self._resolve()
            found = _LastGood(version.number, version.digest)
            if found == self._refused:
                return
            loaded = None if found == self._scoring else self._load(version)
        except Exception as error:  # noqa: BLE001  # the bundle that scores stays in use
            self._report(error)
            return
        if self._reported:
            log.info("%s: the registry answers again", self._alias)
            self._reported = ""
        if loaded is not None:
            self._callback("loaded")
            self._loaded.put(loaded)
            return
        self._refused = _NO_VERSION  # so that the version is tried again if the alias returns to it
        with contextlib.suppress(OSError):
            os.utime(
                self._cache / found.digest
            )  # so that newer bundles do not push it out of the cache

    def _report(self, error: Exception) -> None:
        """Log an error once, and pass it to the callback."""
        away = isinstance(error, (RegistryError, UnavailableError))  # the alias may also return
        if away or str(error) != self._reported:
            self._callback("unavailable" if away else "refused")
        if str(error) != self._reported:
            meanwhile = f"; scoring with version {self._scoring.number} meanwhile"
            if self._scoring == _NO_VERSION:
                meanwhile = ""
            log.error("%s: %s%s", self._alias, error, meanwhile)
        self._reported = str(error)

    def _resolve(self) -> Version:
        return self._ask(lambda: self._registry.resolve(self._alias), self._resolve_timeout)

    def _ask(self, question: Callable[[], T], seconds: float) -> T:
        """Ask the registry in a thread of its own, and wait this long for the answer.

        Raises:
            UnavailableError: if there is no answer in time, or to an earlier question.
            Exception: what the registry raises.
        """
        answers: queue.SimpleQueue[T | Exception] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answers.put(question())
            except Exception as error:  # noqa: BLE001  # it is raised below
                answers.put(error)

        if self._asking is None or not self._asking.is_alive():
            self._asking = threading.Thread(target=ask, name=f"ask {self._alias}", daemon=True)
            self._asking.start()
            with contextlib.suppress(queue.Empty):
                answer = answers.get(timeout=seconds)
                self._asking.join()
                if isinstance(answer, Exception):
                    raise answer
                return answer
        raise UnavailableError(
            f"registry {self._registry.url} does not answer; expected an answer within "
            f"{seconds:g} s: is its file system or its network gone?"
        )

    def _load(self, version: Version) -> Loaded:
        found = _LastGood(version.number, version.digest)
        try:
            folder = self._ask(lambda: self._registry.fetch(version, self._cache), _FETCH_TIMEOUT)
            loaded = self._prepare(version.number, folder)
        except BundleError:
            self._refused = found
            raise
        self._scoring = found
        try:  # other workers may use the same cache
            with tempfile.TemporaryDirectory(dir=self._cache, prefix=".new-") as scratch:
                new = Path(scratch) / self._note.name
                new.write_bytes(msgspec.json.encode(found))
                new.replace(self._note)
        except OSError as error:
            log.warning("%s cannot be written: %s", self._note, error)
        return loaded

    def _prepare(self, number: int, folder: Path) -> Loaded:
        """Load, verify and warm up a bundle.

        Raises:
            UnavailableError: if there is not enough memory now.
            BundleError: if anything else fails.
        """
        try:
            bundle = load_bundle(folder)
            threshold = bundle.manifest.threshold_at(self._threshold)
            bundle.scorer.warm_up(self._batch_size)
        except TriageError:
            raise
        except MemoryError as error:
            raise UnavailableError(f"{folder}: not enough memory to load it: {error}") from error
        except Exception as error:
            raise BundleError(f"{folder}: {type(error).__name__}: {error}") from error
        return Loaded(number, bundle, threshold)

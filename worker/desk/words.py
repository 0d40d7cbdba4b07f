"""Words: which words drove an alert's score, by the model that gave it."""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from shared.bundle.load import Bundle, load_bundle
from shared.errors import RegistryError
from shared.model.numpy_model import NumpyModel
from shared.model.occlusion import Word, driving, occlude
from shared.registry.open import open_registry
from worker.desk.metrics import Metrics
from worker.messages.alert import Alert, Model

log = logging.getLogger("triage")

Answer = list[Word] | str
"""The words that push a score the most to where it is, or why they are not known."""

_MOST = 6
_LONGEST_TEXT = 1000
"""Characters: each word costs a score of the whole text."""
_MOST_WAITING = 64
_MOST_KNOWN = 1000
_MOST_FAILED = 64
_RETRY_SECONDS = 60
_STAY_SECONDS = 5
"""A model stays loaded for this long, whatever is asked. Loading one takes about a second of a
core; alerts of two versions in turn would otherwise load one for each."""
_REMEMBERED_TOKENS = 2048
"""Tokens whose rows a model keeps: 2 to 4 MB."""

_Key = tuple[str, str]
"""An alert's id and the digest of its model."""


class Explainer:
    """Finds the words that drove scores. One thread loads models, one at a time, and runs them.

    What is asked last is answered first. Memory is bounded: if too much is asked, what waits for
    longest is dropped, with an answer that says so.

    Args:
        registry: its address, `TRIAGE_REGISTRY`.
        cache: the folder of the bundles.
        clock: seconds.
    """

    def __init__(
        self,
        registry: str,
        cache: Path,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry, self._cache, self._metrics = registry, cache, metrics
        self._clock = clock
        self._bundle: Bundle | None = None
        self._stays_until = 0.0
        self._changed = threading.Condition()
        self._waiting: OrderedDict[_Key, tuple[Alert, Future[Answer | None]]] = OrderedDict()
        self._known: OrderedDict[_Key, Answer] = OrderedDict()
        self._failed: OrderedDict[str, tuple[str, float]] = OrderedDict()  # why, until when
        self._closed = False
        threading.Thread(target=self._run, name="words", daemon=True).start()

    def explain(self, alert: Alert) -> Future[Answer | None]:
        """Return the answer, done at once if it is known; None: the explainer was closed before.

        Several may wait for it, so it cannot be cancelled.
        """
        key = alert.alert_id, alert.model.digest
        with self._changed:
            known = self._find(alert)
            if known is None and key in self._waiting:
                self._waiting.move_to_end(key)
                return self._waiting[key][1]
            answer: Future[Answer | None] = Future()
            answer.set_running_or_notify_cancel()
            if known is not None or self._closed:
                answer.set_result(known)
                return answer
            self._waiting[key] = alert, answer
            if len(self._waiting) > _MOST_WAITING:
                _, (_, dropped) = self._waiting.popitem(last=False)
                self._metrics.explained.labels("dropped").inc()
                log.warning("more than %d tweets wait for their words", _MOST_WAITING)
                dropped.set_result(
                    "Too many tweets are waiting for their words. Reload this page in a moment."
                )
            self._changed.notify()
        return answer

    def close(self) -> None:
        """End the thread after what it does now; a download may take it minutes."""
        with self._changed:
            self._closed = True
            for _, answer in self._waiting.values():
                answer.set_result(None)
            self._waiting.clear()
            self._changed.notify()

    def _find(self, alert: Alert) -> Answer | None:
        """Return the answer if it is known already. Call it with the lock."""
        if len(alert.tweet.text) > _LONGEST_TEXT:
            return f"The tweet is longer than {_LONGEST_TEXT} characters."
        reason, until = self._failed.get(alert.model.digest, ("", 0.0))
        if reason and self._clock() < until:
            return reason
        return self._known.get((alert.alert_id, alert.model.digest))

    def _run(self) -> None:
        while asked := self._next():
            alert, answer = asked
            with self._changed:
                found = self._find(alert)
            answer.set_result(self._explain(alert) if found is None else found)

    def _next(self) -> tuple[Alert, Future[Answer | None]] | None:
        """Wait for what is to be answered next; None: the end."""
        with self._changed:
            while not self._closed:
                loaded = None if self._bundle is None else self._bundle.digest
                left = 0.0 if loaded is None else self._stays_until - self._clock()
                newest = list(reversed(self._waiting))
                same = [key for key in newest if key[1] == loaded]
                others = [key for key in newest if key[1] != loaded]
                # Others have waited until the loaded model had its time.
                if chosen := others + same if left <= 0 else same:
                    return self._waiting.pop(chosen[0])
                self._changed.wait(left if others else None)
        return None

    def _explain(self, alert: Alert) -> Answer:
        digest = alert.model.digest
        try:
            bundle = self._bundle_of(alert.model)
        except Exception as error:  # noqa: BLE001  # the page is worth more than its words
            log.warning("no words for %s: %s", alert.alert_id, error)
            reason = f"The model is not available: {error}. The desk tries again in a minute."
            self._metrics.explained.labels("unavailable").inc()
            with self._changed:
                self._failed[digest] = reason, self._clock() + _RETRY_SECONDS
                self._failed.move_to_end(digest)
                if len(self._failed) > _MOST_FAILED:
                    self._failed.popitem(last=False)
            return reason
        answer: Answer
        try:
            (words,) = occlude(bundle.scorer, [alert.tweet.text])
        except Exception as error:  # noqa: BLE001  # the same: spaCy raises errors of many classes
            log.warning("no words for %s: %s", alert.alert_id, type(error).__name__)
            self._metrics.explained.labels("failed").inc()
            answer = "The model cannot score this tweet again."
        else:
            self._metrics.explained.labels("found").inc()
            answer = driving(words, alert.probability >= alert.threshold, _MOST)
        with self._changed:
            self._known[alert.alert_id, digest] = answer
            if len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)
        return answer

    def _bundle_of(self, model: Model) -> Bundle:
        if self._bundle is not None and self._bundle.digest == model.digest:
            return self._bundle
        registry = open_registry(self._registry)
        version = registry.resolve(str(model.version))
        if version.digest != model.digest:
            raise RegistryError(
                f"version {model.version} of registry {registry.url} is not the model that scored "
                "this tweet; set TRIAGE_REGISTRY to the workers' registry"
            )
        folder = registry.fetch(version, self._cache)
        self._bundle = None  # two at a time would need twice the memory
        self._bundle = load_bundle(
            folder, NumpyModel, memo_size=_REMEMBERED_TOKENS, table_size=_REMEMBERED_TOKENS
        )
        self._stays_until = self._clock() + _STAY_SECONDS
        self._metrics.models_loaded.inc()
        return self._bundle

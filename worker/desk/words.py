"""Words: which words drove an alert's score, by the model that gave it."""

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from shared.bundle.load import Bundle, load_bundle
from shared.errors import RegistryError
from shared.model.numpy_model import NumpyModel
from shared.model.occlusion import Word, driving, occlude
from shared.registry.open import open_registry
from worker.messages.alert import Alert, Model

log = logging.getLogger("triage")

_MOST = 6
_LONGEST_TEXT = 1000
"""Characters: each word costs a score of the whole text."""
_RETRY_SECONDS = 60

_Answer = Future[list[Word] | str]


class Explainer:
    """Finds the words that drove scores. One thread loads models, one at a time, and runs them.

    Args:
        registry: its address, `TRIAGE_REGISTRY`.
        cache: the folder of the bundles.
        clock: seconds.
    """

    def __init__(
        self, registry: str, cache: Path, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._registry, self._cache, self._clock = registry, cache, clock
        self._bundle: Bundle | None = None
        self._failed: tuple[str, str, float] = ("", "", 0.0)  # a digest, why, until when
        self._asked: queue.SimpleQueue[tuple[Alert, _Answer] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="words", daemon=True).start()

    def explain(self, alert: Alert) -> _Answer:
        """Return the words that push the most to where the score is, or why they are not known."""
        answer: _Answer = Future()
        self._asked.put((alert, answer))
        return answer

    def close(self) -> None:
        """End the thread after what it was asked for; a download may take it minutes."""
        self._asked.put(None)

    def _run(self) -> None:
        while (asked := self._asked.get()) is not None:
            alert, answer = asked
            if answer.set_running_or_notify_cancel():
                answer.set_result(self._explain(alert))

    def _explain(self, alert: Alert) -> list[Word] | str:
        text = alert.tweet.text
        if len(text) > _LONGEST_TEXT:
            return f"The tweet is longer than {_LONGEST_TEXT} characters."
        digest, reason, until = self._failed
        if digest == alert.model.digest and self._clock() < until:
            return reason
        try:
            (words,) = occlude(self._bundle_of(alert.model).scorer, [text])
        except Exception as error:  # noqa: BLE001  # the page is worth more than its words
            log.warning("no words for %s: %s", alert.alert_id, error)
            reason = f"The model is not available: {error}"
            self._failed = (alert.model.digest, reason, self._clock() + _RETRY_SECONDS)
            return reason
        return driving(words, alert.probability >= alert.threshold, _MOST)

    def _bundle_of(self, model: Model) -> Bundle:
        if self._bundle is not None and self._bundle.digest == model.digest:
            return self._bundle
        self._bundle = None  # two at a time would need twice the memory
        registry = open_registry(self._registry)
        version = registry.resolve(str(model.version))
        if version.digest != model.digest:
            raise RegistryError(
                f"version {model.version} of registry {registry.url} is not the model that scored "
                "this tweet; set TRIAGE_REGISTRY to the workers' registry"
            )
        self._bundle = load_bundle(registry.fetch(version, self._cache), NumpyModel)
        return self._bundle

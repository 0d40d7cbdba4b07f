"""Shadow: score the same tweets with a second bundle, without alerts, and compare the two."""

import logging
from collections.abc import Sequence

import numpy as np

from shared.arrays import Floats
from worker.model.follower import Follower, Loaded
from worker.ops.metrics import Metrics

log = logging.getLogger("triage")

_DECISIONS = ("neither", "production", "shadow", "both")


class Shadow:
    """Compares production with the bundle of another alias, if there is one."""

    def __init__(self, follower: Follower, metrics: Metrics) -> None:
        self._follower = follower
        self._metrics = metrics
        self._loaded: Loaded | None = None

    def compare(self, texts: Sequence[str], probabilities: Floats, threshold: float) -> None:
        """Score delivered texts with the second bundle, and count where the two decisions agree.

        Args:
            probabilities: those of the production bundle, float32, shape (texts,).
            threshold: that of the production bundle. The shadow uses its own threshold.
        """
        if (loaded := self._follower.poll()) is not None:
            self._loaded = loaded
            self._metrics.shadow_model.info(
                {
                    "name": loaded.bundle.manifest.name,
                    "version": str(loaded.number),
                    "digest": loaded.bundle.digest,
                }
            )
        if self._loaded is None:
            return
        bundle = self._loaded.bundle
        try:
            own = bundle.scorer.score(texts)
        except Exception as error:  # noqa: BLE001  # a trial must not harm production
            kind = type(error).__name__  # the error's message may quote a tweet
            log.error("the shadow version %d cannot score: %s", self._loaded.number, kind)
            self._loaded = None
            return
        decisions = (probabilities >= threshold) + 2 * (own >= self._loaded.threshold)
        counts = np.bincount(decisions, minlength=4).tolist()
        for decision, count in zip(_DECISIONS, counts, strict=True):
            self._metrics.shadow_tweets.labels(decision).inc(count)
        self._metrics.shadow_difference.observe(np.abs(own - probabilities))

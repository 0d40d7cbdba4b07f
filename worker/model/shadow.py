"""Shadow: a second bundle scores the same tweets, without alerts, to be compared with the first."""

import logging
from collections.abc import Sequence

import numpy as np

from shared.arrays import Floats
from worker.model.follower import Follower, Loaded
from worker.ops.metrics import Metrics

log = logging.getLogger("triage")

_DECISIONS = ("neither", "production", "shadow", "both")


class Shadow:
    """Compares with the bundle that another alias means, when it means one."""

    def __init__(self, follower: Follower, metrics: Metrics) -> None:
        self._follower = follower
        self._metrics = metrics
        self._loaded: Loaded | None = None

    def compare(self, texts: Sequence[str], probabilities: Floats, threshold: float) -> None:
        """Scores what was delivered, and counts where the two agree.

        Args:
            probabilities: by the production bundle, float32, shape (texts,).
            threshold: of the production bundle; the shadow decides by its own, of the same name.
        """
        if (loaded := self._follower.take()) is not None:
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
        except Exception as error:  # noqa: BLE001  # a trial must not harm what is in production
            kind = type(error).__name__  # its message may quote a tweet
            log.error("the shadow version %d cannot score: %s", self._loaded.number, kind)
            self._loaded = None
            return
        decisions = (probabilities >= threshold) + 2 * (own >= self._loaded.threshold)
        counts = np.bincount(decisions, minlength=4).tolist()
        for decision, count in zip(_DECISIONS, counts, strict=True):
            self._metrics.shadow_tweets.labels(decision).inc(count)
        self._metrics.shadow_difference.observe(np.abs(own - probabilities))

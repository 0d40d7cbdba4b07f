"""Service: create the worker's parts from the settings, and run its loop."""

import contextlib
import functools
import logging
import random
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from shared.registry.open import open_registry
from worker.kafka.sink import KafkaSink
from worker.kafka.source import KafkaSource
from worker.kafka.topics import check_topics
from worker.messages.alert import Model
from worker.messages.decode import new_decoder
from worker.messages.languages import Languages
from worker.model.follower import Follower, Loaded
from worker.model.shadow import Shadow
from worker.ops.health import Health, serve, watch
from worker.ops.metrics import Metrics
from worker.review import Review
from worker.run import Loop, note_position_reset
from worker.settings import Settings
from worker.triage import Triage

log = logging.getLogger("triage")

SWITCH_SECONDS = 0.0005
"""Seconds after which a thread yields the interpreter to a waiting one. With Python's default of 5
ms, kafka-python's threads would send and receive late while a batch is scored."""


def run_service(settings: Settings, stop: threading.Event) -> None:
    """Triage until `stop` is set; then finish the current batch and leave the group.

    Raises:
        RegistryError, BundleError: if no bundle can be loaded, not even from the cache.
        DependencyError: if Kafka cannot be used, or this worker may not publish any more.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    health = Health(settings.stall_seconds)
    metrics = Metrics(health)
    port = serve(health, metrics.registry, settings.metrics_address, settings.metrics_port)
    log.info("metrics at http://%s:%d/metrics", settings.metrics_address, port)
    watch(health)

    def count_rebalance(assigned: int) -> None:
        metrics.rebalances.inc()
        metrics.assigned_partitions.set(assigned)

    source = KafkaSource(
        settings, count_rebalance, lambda reset: note_position_reset(metrics, reset)
    )
    sink = KafkaSink(settings, source.commit)
    followers: list[Follower] = []
    with contextlib.ExitStack() as stack:

        def follow(alias: str, notify: Callable[[str], None]) -> Follower:
            registry, cache = open_registry(settings.registry), Path(settings.cache).expanduser()
            follower = Follower(
                *(registry, alias, cache, settings.batch_size, notify, settings.threshold)
            )
            stack.callback(follower.stop)
            followers.append(follower)
            return follower

        production = follow(
            settings.model_alias, lambda result: metrics.model_reloads.labels(result).inc()
        )
        shadow = None
        if settings.shadow_alias is not None:
            shadow = Shadow(follow(settings.shadow_alias, lambda _: None), metrics)

        review = None
        if settings.review_topic is not None:
            review = Review(
                settings.review_topic, settings.review_per_minute, time.monotonic, random.random
            )

        def load() -> Triage:
            triage = _triage_with(production.load_initial(), settings, metrics, review)
            for follower in followers:
                follower.start(settings.reload_seconds)
            return triage

        def reload() -> Triage | None:
            loaded = production.poll()
            return None if loaded is None else _triage_with(loaded, settings, metrics, review)

        stack.callback(source.close)
        stack.callback(sink.close)
        check = functools.partial(check_topics, settings)
        Loop(settings, source, sink, load, reload, metrics, health, stop, check, shadow).run()
    log.info("stopped")


def _triage_with(
    loaded: Loaded, settings: Settings, metrics: Metrics, review: Review | None
) -> Triage:
    bundle = loaded.bundle
    model = Model(bundle.manifest.name, loaded.number, bundle.digest)
    metrics.model.info(
        {
            "name": model.name,
            "version": str(model.version),
            "digest": model.digest,
            "device": bundle.scorer.device,
        }
    )
    metrics.model_loaded.set_to_current_time()
    log.info(
        "scoring with %s, version %d, on the %s, threshold %.3f (%s)",
        model.name,
        model.version,
        bundle.scorer.device.upper(),
        loaded.threshold,
        settings.threshold,
    )
    return Triage(
        bundle.scorer,
        model,
        loaded.threshold,
        settings.alerts_topic,
        settings.dead_letters_topic,
        lambda: datetime.now(UTC),
        metrics.step,
        lambda: metrics.retries.labels("memory").inc(),
        new_decoder(settings),
        Languages(
            settings.languages.split(",") if settings.languages else bundle.manifest.languages
        ),
        review,
    )

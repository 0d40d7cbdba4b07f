"""The worker's loop: receive a batch, triage it, deliver the outcome, until told to stop."""

import logging
import random
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from shared.alert import Model
from shared.bundle import load_bundle
from shared.errors import UnavailableError
from shared.registry import open_registry
from shared.settings import Settings
from worker.kafka_clients.sink import Sink
from worker.kafka_clients.source import Source
from worker.kafka_clients.topics import check_topics
from worker.metrics import Metrics
from worker.triage import Outcome, Triage

log = logging.getLogger("triage")

_POLL_SECONDS = 0.2
"""How long a wait for the first record of a batch may hide that the worker is to stop."""
_SHORTEST_BACK_OFF = 0.2
_LONGEST_BACK_OFF = 10.0
"""Seconds between attempts to go on after Kafka failed."""


def run(settings: Settings, stop: threading.Event) -> None:
    """Triages until `stop` is set; then the batch at hand is finished and the group is left.

    Raises:
        RegistryError, BundleError: if there is nothing to score with.
        DependencyError: if Kafka cannot be used, or this worker may not publish any more.
    """
    metrics = Metrics()
    port = metrics.serve(settings.metrics_address, settings.metrics_port)
    log.info("metrics at http://%s:%d/metrics", settings.metrics_address, port)
    check_topics(settings)
    triage = _load(settings, metrics)
    source = Source(settings)
    try:
        sink = Sink(settings, source)
        log.info(
            "consuming %s as a member of %s, %s",
            settings.input_topic,
            settings.group_id,
            settings.delivery,
        )
        try:
            _loop(source, sink, triage, metrics, stop)
        finally:
            sink.close()
    finally:
        source.close()
    log.info("stopped")


def _load(settings: Settings, metrics: Metrics) -> Triage:
    registry = open_registry(settings.registry)
    version = registry.resolve(settings.model_alias)
    bundle = load_bundle(registry.fetch(version, Path(settings.cache).expanduser()))
    bundle.scorer.warm_up(settings.batch_size)
    threshold = bundle.manifest.threshold if settings.threshold is None else settings.threshold
    model = Model(bundle.manifest.name, version.number, bundle.digest)
    metrics.model.info({"name": model.name, "version": str(model.version), "digest": model.digest})
    log.info("scoring with %s, version %d, threshold %.3f", model.name, model.version, threshold)
    return Triage(
        bundle.scorer,
        model,
        threshold,
        settings.alerts_topic,
        settings.dead_letters_topic,
        lambda: datetime.now(UTC),
        metrics.step,
    )


def _loop(
    source: Source, sink: Sink, triage: Triage, metrics: Metrics, stop: threading.Event
) -> None:
    while not stop.is_set():
        batch = None
        try:
            with metrics.step("receive"):
                batch = source.receive(_POLL_SECONDS)
            if batch is None:
                continue
            outcome = triage(batch.records)
            with metrics.step("deliver"):
                sink.deliver(batch, outcome.messages)
        except UnavailableError as error:
            metrics.retries.inc()
            log.warning("%s; trying again", error)
            if batch is not None:
                source.rewind(batch)
            _recover(sink, stop)
            continue
        _account(len(batch.records), outcome, metrics)


def _recover(sink: Sink, stop: threading.Event) -> None:
    """Waits, longer each time and never in step with other workers, until the sink can go on."""
    wait = _SHORTEST_BACK_OFF
    while not stop.wait(wait * random.uniform(0.5, 1)):
        try:
            sink.reset()
        except UnavailableError as error:
            log.warning("%s; trying again", error)
            wait = min(_LONGEST_BACK_OFF, 2 * wait)
        else:
            return


def _account(consumed: int, outcome: Outcome, metrics: Metrics) -> None:
    now = time.time()
    metrics.batch_size.observe(consumed)
    metrics.consumed.inc(consumed)
    metrics.alerts.inc(len(outcome.alerted))
    metrics.not_relevant.inc(outcome.not_relevant)
    for reason in outcome.dead_letter_reasons:
        metrics.dead_letters.labels(reason).inc()
    for record in outcome.alerted:
        metrics.tweet_to_alert_seconds.observe(max(0.0, now - record.timestamp / 1000))
    metrics.last_progress.set(now)

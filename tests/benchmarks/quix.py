"""Quix Streams doing the worker's job, a tweet at a time, or in batches by a sink.

    python -m tests.benchmarks.quix WARM_UP TWEETS BUNDLE one|many

In batches it is as fast as its user can make it: what a sink has gathered between two checkpoints
goes through `nlp.pipe` and `predict` at once. A sink is no part of Quix' transactions, so that it
delivers at least once, where a tweet at a time and the worker deliver exactly once.
"""

import os
import sys
from pathlib import Path
from typing import Any

from quixstreams import Application
from quixstreams.kafka import Producer
from quixstreams.sinks.base import BatchingSink, SinkBatch

from tests.benchmarks.plain import PlainModel
from tests.benchmarks.run import Stopwatch
from worker.settings import Settings, read_settings

_CHECKPOINT = 4096
"""Tweets between two checkpoints of the form in batches; 1,024 and 16,384 were no faster."""
_ROWS = 512
"""Of a call of `predict`."""


def main() -> None:
    """Read the settings from the environment, like the worker."""
    settings = read_settings(os.environ)
    model = PlainModel(Path(sys.argv[3]))
    watch = Stopwatch(int(sys.argv[1]), int(sys.argv[2]))
    {"one": one_at_a_time, "many": in_batches}[sys.argv[4]](settings, model, watch)
    watch.tell()


def one_at_a_time(settings: Settings, model: PlainModel, watch: Stopwatch) -> None:
    """Score each message, and publish the relevant ones."""
    application = _application(settings, processing_guarantee="exactly-once")

    def score(tweet: dict[str, Any]) -> dict[str, Any]:
        probability = model.one(tweet["text"])
        if watch.add(1, probability >= model.threshold):
            application.stop()
        return tweet | {"probability": probability}

    stream = application.dataframe(application.topic(settings.input_topic))
    stream = stream.apply(score)
    stream = stream.filter(lambda tweet: tweet["probability"] >= model.threshold)
    stream.to_topic(application.topic(settings.alerts_topic))
    application.run()


def in_batches(settings: Settings, model: PlainModel, watch: Stopwatch) -> None:
    """Score the messages since the last checkpoint together, in a sink."""
    application = _application(settings, commit_every=_CHECKPOINT)
    alerts = application.topic(settings.alerts_topic)

    class Triage(BatchingSink):
        def __init__(self, producer: Producer) -> None:
            super().__init__()
            self._producer = producer

        def write(self, batch: SinkBatch) -> None:
            tweets = [item.value for item in batch]
            probabilities = model.many([tweet["text"] for tweet in tweets], _ROWS)
            relevant = (probabilities >= model.threshold).nonzero()[0].tolist()
            for number in relevant:
                value = tweets[number] | {"probability": float(probabilities[number])}
                message = alerts.serialize(value=value)
                self._producer.produce(alerts.name, message.value, headers=message.headers)
            self._producer.flush()
            if watch.add(len(tweets), len(relevant)):
                application.stop()

    with application.get_producer() as producer:
        application.dataframe(application.topic(settings.input_topic)).sink(Triage(producer))
        application.run()


def _application(settings: Settings, **options: Any) -> Application:
    return Application(
        settings.kafka_bootstrap_servers,
        consumer_group=settings.group_id,
        auto_offset_reset="earliest",
        auto_create_topics=False,
        loglevel="WARNING",
        **options,
    )


if __name__ == "__main__":
    main()

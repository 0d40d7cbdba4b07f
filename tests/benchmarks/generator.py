"""The load generator: publishes distinct tweets at a rate; their timestamps say when each went out.

    python -m tests.benchmarks.generator TEXTS FIRST TWEETS RATE

It prints `ready` when its tweets are made, begins when it reads a line, and ends when Kafka has
them all. A rate of 0 is as fast as it can. It stands for machines other than this, so that it
should take little of this one: librdkafka takes a sixth of kafka-python's time.
"""

import json
import os
import sys
import time
from pathlib import Path

from confluent_kafka import Producer

from tests.benchmarks.tweets import values
from worker.settings import read_settings

_TICK = 0.002
"""Seconds between two looks at how many are due."""


def main() -> None:
    """Read the settings from the environment, like the worker."""
    settings = read_settings(os.environ)
    texts, first, tweets, rate = sys.argv[1:]
    records = values(json.loads(Path(texts).read_text()), "distinct", int(tweets), int(first))
    producer = Producer(
        {
            "bootstrap.servers": settings.kafka_bootstrap_servers,
            "enable.idempotence": True,
            "compression.type": "lz4",
            "queue.buffering.max.messages": len(records) + 1,
            "linger.ms": 5,
        }
    )
    producer.list_topics(settings.input_topic)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    start, sent = time.perf_counter(), 0
    while sent < len(records):
        due = len(records)
        if float(rate):
            due = min(due, int((time.perf_counter() - start) * float(rate)))
        for value in records[sent:due]:
            producer.produce(settings.input_topic, value)
        sent = due
        if float(rate):
            time.sleep(_TICK)
    producer.flush()


if __name__ == "__main__":
    main()

"""The load generator: publishes distinct tweets at a rate; their timestamps say when each went out.

    python -m tests.benchmarks.generator TEXTS FIRST TWEETS RATE

It prints `ready` when its tweets are made, begins when it reads a line, and ends when Kafka has
them all. A rate of 0 is as fast as it can.
"""

import json
import os
import sys
import time
from contextlib import closing
from pathlib import Path

from shared.settings import read_settings
from tests.benchmarks.tweets import values
from worker.kafka_clients.connection import new_producer

_TICK = 0.002
"""Seconds between two looks at how many are due."""


def main() -> None:
    """Reads the settings from the environment, like the worker."""
    settings = read_settings(os.environ)
    texts, first, tweets, rate = sys.argv[1:]
    records = values(json.loads(Path(texts).read_text()), "distinct", int(tweets), int(first))
    producer = new_producer(settings)
    producer.partitions_for(settings.input_topic)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    start, sent = time.perf_counter(), 0
    with closing(producer):
        while sent < len(records):
            due = len(records)
            if float(rate):
                due = min(due, int((time.perf_counter() - start) * float(rate)))
            for value in records[sent:due]:
                producer.send(settings.input_topic, value=value)
            sent = due
            if float(rate):
                time.sleep(_TICK)
        producer.flush()


if __name__ == "__main__":
    main()

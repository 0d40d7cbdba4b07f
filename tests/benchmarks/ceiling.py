"""The ceiling: kafka-python consuming and publishing in transactions, with nothing between.

    python -m tests.benchmarks.ceiling WARM_UP TWEETS SHARE

Forwards a share of the records as they are. Clients, batch size and what a transaction holds are
the worker's; it looks at nothing, and checks nothing.
"""

import os
import sys
import time
from contextlib import closing
from typing import Any

from kafka import OffsetAndMetadata, TopicPartition

from tests.benchmarks.run import Stopwatch
from worker.kafka.connection import new_consumer, new_producer
from worker.settings import read_settings

_PATIENCE = 60
"""Seconds without a record after which it gives up, instead of waiting for ever."""


def main() -> None:
    """Read the settings from the environment, like the worker."""
    settings = read_settings(os.environ)
    share = float(sys.argv[3])
    consumer = new_consumer(
        settings,
        group_id=settings.group_id,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    # Not by `subscribe`: kafka-python 3.0.12 may forget that it joins its group, and read nothing.
    partitions = consumer.partitions_for_topic(settings.input_topic)
    consumer.assign([TopicPartition(settings.input_topic, number) for number in partitions])
    producer = new_producer(settings, transactional_id=settings.group_id)
    watch = Stopwatch(int(sys.argv[1]), int(sys.argv[2]))
    owed = 0.0
    last = time.monotonic()
    with closing(consumer), closing(producer):
        while True:
            records: list[Any] = []
            offsets = {}
            while len(records) < settings.batch_size:
                left = settings.batch_size - len(records)
                polled = consumer.poll(timeout_ms=10, max_records=left)
                for partition, some in polled.items():
                    records += some
                    offsets[partition] = OffsetAndMetadata(some[-1].offset + 1, "", -1)
                if not polled:
                    break
            if not records:
                if time.monotonic() > last + _PATIENCE:
                    raise SystemExit(f"no more records for {_PATIENCE} s; {watch.seen} were read")
                continue
            last = time.monotonic()
            producer.begin_transaction()
            forwarded = 0
            for record in records:
                owed += share
                if owed >= 1:
                    owed -= 1
                    forwarded += 1
                    producer.send(settings.alerts_topic, value=record.value)
            producer.flush()
            producer.send_offsets_to_transaction(offsets, consumer.group_metadata())
            producer.commit_transaction()
            if watch.add(len(records), forwarded):
                break
    watch.tell()


if __name__ == "__main__":
    main()

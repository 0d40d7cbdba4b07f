"""The notebook's way: a message at a time, as the article's notebook would be put behind Kafka.

python -m tests.benchmarks.notebook WARM_UP TWEETS BUNDLE
"""

import json
import os
import sys
from contextlib import closing
from pathlib import Path

from kafka import KafkaConsumer, KafkaProducer

from tests.benchmarks.plain import PlainModel
from tests.benchmarks.run import Stopwatch
from worker.settings import read_settings


def main() -> None:
    """Read the settings from the environment, like the worker."""
    settings = read_settings(os.environ)
    model = PlainModel(Path(sys.argv[3]))
    watch = Stopwatch(int(sys.argv[1]), int(sys.argv[2]))
    consumer = KafkaConsumer(
        settings.input_topic,
        bootstrap_servers=settings.kafka_bootstrap_servers,
        group_id=settings.group_id,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    producer = KafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers)
    with closing(consumer), closing(producer):
        for record in consumer:
            relevant = model.one(json.loads(record.value)["text"]) >= model.threshold
            if relevant:
                producer.send(settings.alerts_topic, record.value)
                producer.flush()
            consumer.commit()
            if watch.add(1, relevant):
                break
    watch.tell()


if __name__ == "__main__":
    main()

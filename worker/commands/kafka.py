"""`triage-worker kafka`: runs a local Kafka to try things with."""

import signal
import threading
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from shared.command_line import Count, Given
from worker.settings import Settings, worker_topics


def kafka(
    *,
    port: Annotated[int, Parameter(validator=Number(gte=1, lte=65535), metavar="PORT")] = 9092,
    partitions: Count = 6,
    settings: Annotated[Settings, Given],
) -> None:
    """Run a local Apache Kafka until Ctrl-C, with the topics of the worker.

    It listens on 127.0.0.1 and deletes its data at the end. Needs the extra `demo`.

    For example:

        $ triage-worker kafka --port 9092

    Args:
        port: The port that the broker listens on.
        partitions: Partitions of each topic.
    """
    import msgspec

    from worker.demo.local_kafka import LocalKafka
    from worker.kafka.topics import create_topics

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    topics = worker_topics(settings)
    broker = LocalKafka(port=port)
    try:
        broker.start(progress=lambda step: print(step, flush=True))
        here = msgspec.structs.replace(settings, kafka_bootstrap_servers=broker.bootstrap_servers)
        create_topics(here, dict.fromkeys(topics, partitions))
        print(f"Kafka listens on {broker.bootstrap_servers}, with the topics {', '.join(topics)}")
        print("Ctrl-C stops it and deletes its data", flush=True)
        stop.wait()
    finally:
        broker.stop()

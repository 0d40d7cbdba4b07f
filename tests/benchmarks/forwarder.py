"""The worker's way through Kafka with nothing between: what of its latency is Kafka's.

    python -m tests.benchmarks.forwarder WARM_UP TWEETS SHARE

Receives and delivers as the worker does, and forwards a share of the records, with the time of
their publication before each. It prints `ready` after the warm-up, and at the end how many batches
and CPU seconds there were since.
"""

import gc
import os
import sys
import time
from contextlib import closing

from worker.kafka.records import Message
from worker.kafka.sink import KafkaSink
from worker.kafka.source import KafkaSource
from worker.service import SWITCH_SECONDS
from worker.settings import read_settings


def main() -> None:
    """Read the settings from the environment, like the worker."""
    settings = read_settings(os.environ)
    warm_up, tweets, share = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    sys.setswitchinterval(SWITCH_SECONDS)
    source = KafkaSource(settings)
    sink = KafkaSink(settings, source.commit)
    sink.connect()
    seen, batches, owed, cpu = 0, 0, 0.0, 0.0
    with closing(source), closing(sink):
        while seen < warm_up + tweets:
            batch = source.receive(0.2, settings.batch_size)
            if batch is None:
                continue
            messages = []
            for record in batch.records:
                owed += share
                if owed >= 1:
                    owed -= 1
                    value = b"%d %b" % (record.timestamp, record.value or b"")
                    messages.append(Message(settings.alerts_topic, record.key, value, []))
            sink.deliver(batch, messages)
            batches += 1
            seen += len(batch.records)
            if seen - len(batch.records) < warm_up <= seen:
                gc.freeze()
                batches, cpu = 0, time.process_time()
                sys.stdout.write("ready\n")
                sys.stdout.flush()
        sys.stdout.write(f"{batches} {time.process_time() - cpu}\n")


if __name__ == "__main__":
    main()

"""`triage-worker create-topics` creates what is missing and says what it has left as it was."""

import subprocess
import sys
from contextlib import closing

from kafka import KafkaConsumer

from tests.kafka.processes import environment_of
from worker.demo.local_kafka import LocalKafka
from worker.settings import Settings


def create_topics(settings: Settings, *options: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "worker.cli", "create-topics", *options],
        env=environment_of(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stdout


def test_what_is_missing_is_created_and_the_rest_stays(kafka: LocalKafka) -> None:
    servers = kafka.bootstrap_servers
    topics = [f"create-topics-{n}" for n in range(4)]
    settings = Settings(
        kafka_bootstrap_servers=servers,
        input_topic=topics[0],
        alerts_topic=topics[1],
        dead_letters_topic=topics[2],
        labels_topic=topics[3],
    )
    has = f"{servers} has the topics {', '.join(topics)}\n"
    assert create_topics(settings, "--partitions", "3") == (0, has)
    as_before = f"existed already and are unchanged: {', '.join(topics)}\n"
    assert create_topics(settings, "--partitions", "5") == (0, has + as_before)
    with closing(KafkaConsumer(bootstrap_servers=servers)) as consumer:
        assert all(len(consumer.partitions_for_topic(topic)) == 3 for topic in topics)


def test_a_number_that_is_none_is_named(kafka: LocalKafka) -> None:
    settings = Settings(kafka_bootstrap_servers=kafka.bootstrap_servers)
    code, told = create_topics(settings, "--partitions", "0")
    assert code == 2
    assert told.startswith('error: Invalid value "0" for --partitions. Must be >= 1.')

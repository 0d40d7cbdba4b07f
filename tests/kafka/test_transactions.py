"""Transactions of either version against a real Kafka."""

from contextlib import closing
from typing import Any

import pytest
from kafka import KafkaAdminClient
from kafka.producer.transaction_manager import ProducerIdAndEpoch

from shared.errors import UnavailableError
from tests.kafka.processes import read_all, settings_of, wait_for
from tests.kafka.test_sink import Delivering, delivering
from worker.demo.local_kafka import LocalKafka
from worker.kafka.records import Message
from worker.kafka.sink import Sink


def agree_on(kafka: LocalKafka, version: int) -> None:
    """Lets the cluster speak a version of transactions."""
    servers = kafka.bootstrap_servers
    with closing(KafkaAdminClient(bootstrap_servers=servers)) as client:
        change = "UPGRADE" if version > finalized(client) else "SAFE_DOWNGRADE"
        client.update_features({"transaction.version": (change, version)})
        wait_for(lambda: finalized(client) == version)


def finalized(client: Any) -> int:
    """The version of transactions that the broker knows to be agreed on."""
    version: int = client.describe_features()["transaction.version"]["finalized"][1]
    return version


def manager_of(sink: Sink) -> Any:
    return sink._producer._transaction_manager


def identity_of(sink: Sink) -> tuple[int, int]:
    now = manager_of(sink).producer_id_and_epoch
    return now.producer_id, now.epoch


def deliver(made: Delivering, *values: bytes) -> None:
    topic = made.sink._settings.alerts_topic
    made.sink.deliver(made.batch, [Message(topic, value, value, []) for value in values])


def values_in(made: Delivering) -> list[bytes]:
    settings = made.sink._settings
    return sorted(value for value, _ in read_all(settings, settings.alerts_topic))


def test_each_transaction_has_an_epoch_of_its_own(kafka: LocalKafka) -> None:
    with delivering(settings_of(kafka, "transactions-epoch")) as made:
        producer_id, epoch = identity_of(made.sink)
        for number in range(1, 4):
            deliver(made, *(b"%d of %d" % (n, number) for n in range(20)))
            assert identity_of(made.sink) == (producer_id, epoch + number)
        deliver(made)  # offsets alone
        assert identity_of(made.sink) == (producer_id, epoch + 4)
        assert made.committed() == 10
        assert values_in(made) == sorted(b"%d of %d" % (n, m) for n in range(20) for m in (1, 2, 3))


def test_what_is_late_of_a_transaction_does_not_become_part_of_the_next(kafka: LocalKafka) -> None:
    with delivering(settings_of(kafka, "transactions-late")) as made:
        before = identity_of(made.sink)
        deliver(made, b"in time")
        manager_of(made.sink).set_producer_id_and_epoch(ProducerIdAndEpoch(*before))
        with pytest.raises(UnavailableError):
            deliver(made, b"late")
        made.sink.reset()
        assert values_in(made) == [b"in time"]
        deliver(made, b"anew")
        assert values_in(made) == [b"anew", b"in time"]


def test_a_cluster_that_speaks_version_1_is_spoken_to_so(own_kafka: LocalKafka) -> None:
    agree_on(own_kafka, 1)
    with delivering(settings_of(own_kafka, "transactions-1")) as made:
        identity = identity_of(made.sink)
        deliver(made, b"a", b"b")
        deliver(made, b"c")
        assert identity_of(made.sink) == identity
        agree_on(own_kafka, 2)
        deliver(made, b"d")  # a producer keeps to what it has begun with
        assert identity_of(made.sink) == identity
        made.sink.reset()
        _, epoch = identity_of(made.sink)
        deliver(made, b"e")
        assert identity_of(made.sink)[1] == epoch + 1
        agree_on(own_kafka, 1)
        deliver(made, b"f")
        made.sink.reset()
        deliver(made, b"g")
        assert made.committed() == 10
        assert values_in(made) == [b"a", b"b", b"c", b"d", b"e", b"f", b"g"]

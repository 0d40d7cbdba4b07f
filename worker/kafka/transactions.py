"""Transactions by Kafka's `transaction.version` 2 (KIP-890), which kafka-python does not speak.

By version 1 a producer asks the transaction's coordinator for each partition and for the group's
offsets before it sends anything there: five requests in turn for a delivery. By version 2 the
brokers ask it themselves, which leaves three. And each transaction has its own producer epoch, so
that what is late of one cannot become part of the next.
"""

from typing import Any

from kafka.producer.transaction_manager import (
    EndTxnHandler,
    ProducerIdAndEpoch,
    TransactionManager,
    TxnOffsetCommitHandler,
)
from kafka.protocol.metadata import ApiVersionsRequest

from worker.kafka.mends import Client
from worker.kafka.sender import DrivenSender

_PRODUCE, _TXN_OFFSET_COMMIT, _END_TXN = 12, 5, 5
"""Versions of these requests from which on they are of `transaction.version` 2."""


class TransactionalClient(Client):
    """A producer's connections.

    Attributes:
        transaction_version: what the cluster has agreed on, which its operators may change; a
            producer keeps to what it was at its start. 0 and 1 are spoken alike.
    """

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        try:
            self._manager.bootstrap(config["bootstrap_timeout_ms"])
            self.transaction_version = self._finalized("transaction.version")
        except BaseException:
            self.close()
            raise

    def _finalized(self, feature: str) -> int:
        software = self._manager.config
        request = ApiVersionsRequest(
            client_software_name=software["client_software_name"],
            client_software_version=software["client_software_version"],
        )
        response = self._net.run(self._manager.send, request)
        levels = {each.name: each.max_version_level for each in response.finalized_features or []}
        return int(levels.get(feature, 0))


def speak_version_2(producer: Any) -> None:
    """Lets a producer that has not begun yet speak version 2, if the cluster does."""
    if producer._sender._client.transaction_version >= 2:
        producer._transaction_manager.__class__ = _Transactions
        producer._sender.__class__ = _Sender


class _Transactions(TransactionManager):  # type: ignore[misc]  # kafka-python ships no types
    """Tells no coordinator what a transaction will hold."""

    def maybe_add_partition_to_transaction(self, topic_partition: Any) -> None:
        with self._lock:
            self._fail_if_not_ready_for_send()
            self._partitions_in_transaction.add(topic_partition)
            self._transaction_started = True

    def send_offsets_to_transaction(self, offsets: Any, group_metadata: Any) -> Any:
        with self._lock:
            self._fail_if_not_ready_for_send()
            self._pending_txn_offset_commits.update(offsets)
            pending = self._pending_txn_offset_commits
            handler = _TxnOffsetCommitHandler(self, group_metadata, pending, result=None)
            self._transaction_started = True
            self._enqueue_request(handler)
            return handler.result

    def _begin_completing_transaction(self, committed: bool) -> Any:
        handler = _EndTxnHandler(self, committed)
        self._enqueue_request(handler)
        return handler.result

    def begin_epoch(self, producer_id: int, epoch: int) -> None:
        """Each epoch counts its messages from 0."""
        self.set_producer_id_and_epoch(ProducerIdAndEpoch(producer_id, epoch))
        self._sequence_numbers.clear()
        self._last_acked_offset.clear()


class _TxnOffsetCommitHandler(TxnOffsetCommitHandler):  # type: ignore[misc]
    def _build_request(self) -> Any:
        return _in_version(_TXN_OFFSET_COMMIT, super()._build_request())


class _EndTxnHandler(EndTxnHandler):  # type: ignore[misc]
    def __init__(self, manager: _Transactions, committed: bool) -> None:
        super().__init__(manager, committed)
        _in_version(_END_TXN, self.request)

    def handle_response(self, response: Any) -> None:
        if not response.error_code:
            self.transaction_manager.begin_epoch(response.producer_id, response.producer_epoch)
        super().handle_response(response)


class _Sender(DrivenSender):
    def _produce_request(self, *arguments: Any) -> Any:
        return _in_version(_PRODUCE, super()._produce_request(*arguments))


def _in_version(version: int, request: Any) -> Any:
    request._min_version = request._max_version = version
    return request

"""What a poll does when Kafka's answer comes just then."""

from types import SimpleNamespace
from typing import Any

from worker.kafka_clients.mends import keep_awake


class Fetcher:
    """Like kafka-python's: an answer comes between its first look and the second."""

    def __init__(self, answer: list[str]) -> None:
        self._answer = answer
        self._completed_fetches: list[str] = []
        self._next_partition_records = None

    def fetch_records(self, most: int, timeout_ms: int) -> tuple[dict[str, list[str]], bool]:
        assert (most, timeout_ms) == (10, 200)
        if records := self._completed_fetches:
            self._completed_fetches = []
            return {"partition": records}, False
        self._completed_fetches = self._answer
        return {}, True

    def _create_fetch_requests(self) -> dict[str, tuple[SimpleNamespace, str]]:
        return {"node": (SimpleNamespace(max_wait_ms=500), "offsets")}


def poll(fetcher: Any) -> Any:
    return fetcher.fetch_records(10, timeout_ms=200)


def test_an_answer_that_comes_just_now_is_taken() -> None:
    fetcher = Fetcher(["record"])
    holds = keep_awake(fetcher)
    assert not holds()
    assert poll(fetcher) == ({"partition": ["record"]}, False)


def test_without_an_answer_it_is_idle() -> None:
    fetcher = Fetcher([])
    keep_awake(fetcher)
    assert poll(fetcher) == ({}, True)


def test_kafka_does_not_wait_for_some_partitions_while_records_of_others_are_held() -> None:
    fetcher = Fetcher([])
    holds = keep_awake(fetcher)
    ((request, _),) = fetcher._create_fetch_requests().values()
    assert request.max_wait_ms == 500
    fetcher._completed_fetches = ["record"]
    assert holds()
    ((request, _),) = fetcher._create_fetch_requests().values()
    assert request.max_wait_ms == 0

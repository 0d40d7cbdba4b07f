"""What a poll does when Kafka's answer comes just then."""

from types import SimpleNamespace
from typing import Any

import pytest

from worker.kafka_clients.mends import keep_awake


class Fetcher:
    """Like kafka-python's: an answer comes between its first look and the second."""

    def __init__(self, answer: list[str]) -> None:
        self._answer = answer
        self._completed_fetches: list[str] = []
        self._next_partition_records: list[str] | None = None
        self.requests = 0

    def fetch_records(
        self, most: int, update_offsets: bool, timeout_ms: int
    ) -> tuple[dict[str, list[str]], bool]:
        assert timeout_ms == 200
        records, _ = self.fetched_records(most, update_offsets)
        self.requests += 1
        if records:
            return records, False
        self._completed_fetches = self._answer
        return {}, True

    def fetched_records(self, most: int, update_offsets: bool) -> tuple[dict[str, list[str]], bool]:
        assert (most, update_offsets) == (10, True)
        records, self._completed_fetches = self._completed_fetches, []
        return ({"partition": records} if records else {}), False

    def send_fetches(self) -> None:
        self.requests += 1

    def _create_fetch_requests(self) -> dict[str, tuple[SimpleNamespace, str]]:
        return {"node": (SimpleNamespace(max_wait_ms=500), "offsets")}


def poll(fetcher: Any) -> Any:
    return fetcher.fetch_records(10, update_offsets=True, timeout_ms=200)


def test_an_answer_that_comes_just_now_is_taken() -> None:
    fetcher = Fetcher(["record"])
    holds = keep_awake(fetcher)
    assert not holds()
    assert poll(fetcher) == ({"partition": ["record"]}, False)


def test_without_an_answer_it_is_idle() -> None:
    fetcher = Fetcher([])
    keep_awake(fetcher)
    assert poll(fetcher) == ({}, True)


@pytest.mark.parametrize(("held", "requests"), [(9, 0), (10, 1)])
def test_more_is_asked_for_at_once_only_if_there_is_plenty(held: int, requests: int) -> None:
    fetcher = Fetcher([])
    keep_awake(fetcher)
    fetcher._completed_fetches = ["record"] * held
    assert poll(fetcher) == ({"partition": ["record"] * held}, False)
    assert fetcher.requests == requests


def test_what_is_held_and_gives_nothing_does_not_keep_from_asking() -> None:
    """Such as an answer for a partition that has moved on."""
    fetcher = Fetcher(["record"])
    keep_awake(fetcher)
    fetcher._next_partition_records = ["of another member's"]
    assert poll(fetcher) == ({"partition": ["record"]}, False)


def test_kafka_does_not_wait_for_some_partitions_while_records_of_others_are_held() -> None:
    fetcher = Fetcher([])
    holds = keep_awake(fetcher)
    ((request, _),) = fetcher._create_fetch_requests().values()
    assert request.max_wait_ms == 500
    fetcher._completed_fetches = ["record"]
    assert holds()
    ((request, _),) = fetcher._create_fetch_requests().values()
    assert request.max_wait_ms == 0

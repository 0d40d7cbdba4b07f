"""A member that Kafka has done without, against a real Kafka.

It reads on from what the group has committed meanwhile, whenever it learns of it.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import msgspec
import pytest
from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import MemberToRemove
from kafka.errors import KafkaTimeoutError
from msgspec import structs

from shared.errors import DependencyError, UnavailableError
from tests.kafka.feed import Feed, drain, sink_of
from tests.kafka.processes import settings_of, wait_for
from worker.demo.local_kafka import LocalKafka
from worker.kafka.connection import new_admin
from worker.kafka.source import KafkaSource
from worker.settings import Settings


class Stalled(msgspec.Struct):
    """A static member that has not polled for so long that Kafka has done without it.

    It has the one partition, of which it has committed nothing.
    """

    settings: Settings
    feed: Feed
    source: KafkaSource


def static(settings: Settings, name: str = "name") -> Settings:
    return structs.replace(settings, instance_id=name, session_timeout_ms=6000, stall_seconds=1)


def members(admin: KafkaAdminClient, group: str) -> set[str]:
    """Return the ids that Kafka gave the group's members."""
    described = admin.describe_groups([group])[group]
    return {member["member_id"] for member in described["members"]}


@pytest.fixture
def settings(kafka: LocalKafka, request: pytest.FixtureRequest) -> Settings:
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)
    return settings_of(kafka, name, partitions=1)


@pytest.fixture
def feed(settings: Settings) -> Iterator[Feed]:
    feed = Feed(settings)
    with closing(feed.producer):
        yield feed


@pytest.fixture
def stalled(settings: Settings, feed: Feed) -> Iterator[Stalled]:
    with closing(KafkaSource(static(settings))) as source:
        feed(0, 1)
        drain(source)
        member = source._consumer.group_metadata().member_id
        with closing(new_admin(settings)) as admin:
            wait_for(lambda: member not in members(admin, settings.group_id))
        yield Stalled(settings, feed, source)


@pytest.mark.slow
def test_a_member_that_stood_still_does_not_drive_out_its_replacement(stalled: Stalled) -> None:
    # It is not polled while the other one comes back, and must not be done without in turn.
    settings = structs.replace(
        static(stalled.settings), session_timeout_ms=30_000, stall_seconds=60
    )
    with closing(KafkaSource(settings)) as source, closing(sink_of(settings, source)) as sink:
        batch = drain(source)
        with pytest.raises(DependencyError, match="another worker of the group has come") as raised:
            drain(stalled.source, lambda _: False)
        assert not isinstance(raised.value, UnavailableError)  # it does not try again
        sink.deliver(batch, [])  # which Kafka refuses to those who are no members


def test_a_member_that_was_replaced_says_so(settings: Settings) -> None:
    """Though there is nothing to deliver."""
    with closing(KafkaSource(static(settings))) as source:
        wait_for(lambda: source.receive(0.2, 1) is None and source.joined)
        with closing(KafkaSource(static(settings))) as replacement:
            wait_for(lambda: replacement.receive(0.2, 1) is None and replacement.joined)
            with pytest.raises(DependencyError, match="another worker of the group has come"):
                drain(source, seconds=20)


@pytest.mark.slow
def test_a_member_that_stood_still_comes_back(stalled: Stalled) -> None:
    batch = drain(stalled.source)
    with closing(sink_of(stalled.settings, stalled.source)) as sink:
        sink.deliver(batch, [])


@pytest.mark.slow
def test_it_goes_on_from_what_was_committed_meanwhile(stalled: Stalled) -> None:
    """It may have asked before, too impatiently for the answer."""
    partition = TopicPartition(stalled.settings.input_topic, 0)
    with pytest.raises(KafkaTimeoutError):
        stalled.source._consumer.committed(partition, timeout_ms=0)
    settings = stalled.settings
    with closing(KafkaSource(settings)) as source, closing(sink_of(settings, source)) as sink:
        sink.deliver(drain(source), [])
    stalled.feed(0, 1)
    assert [record.offset for record in drain(stalled.source).records] == [1]


def before_it_asks_to_join(source: KafkaSource, call: Callable[[], None]) -> None:
    coordinator = source._consumer._coordinator
    prepare = coordinator._on_join_prepare_async

    async def prepare_and_call(*arguments: object, **options: object) -> None:
        await prepare(*arguments, **options)
        call()

    coordinator._on_join_prepare_async = prepare_and_call


def before_it_asks_for_its_partitions(source: KafkaSource, call: Callable[[], None]) -> None:
    coordinator = source._consumer._coordinator
    process = coordinator._process_join_group_response

    def process_and_call(*arguments: object) -> object:
        joined = process(*arguments)
        call()
        return joined

    coordinator._process_join_group_response = process_and_call


@pytest.mark.parametrize("when", [before_it_asks_to_join, before_it_asks_for_its_partitions])
@pytest.mark.parametrize("name", [None, "name"])
def test_a_member_that_stood_still_while_it_joined_delivers_nothing_again(
    settings: Settings,
    feed: Feed,
    name: str | None,
    when: Callable[[KafkaSource, Callable[[], None]], None],
) -> None:
    own = static(settings, name) if name else settings
    other = static(settings, "another") if name else settings
    taken: list[list[int]] = []

    def stand_still() -> None:
        if not taken:
            with closing(new_admin(settings)) as admin:
                member = source._consumer.group_metadata().member_id
                admin.remove_group_members(settings.group_id, [MemberToRemove(member, name)])
            feed(0, 1)
            with (
                closing(KafkaSource(other)) as replacing,
                closing(sink_of(other, replacing)) as its_sink,
            ):
                batch = drain(replacing)
                its_sink.deliver(batch, [])
                taken.append([record.offset for record in batch.records])
                if name:
                    with closing(new_admin(settings)) as admin:
                        left = MemberToRemove(None, "another")
                        admin.remove_group_members(settings.group_id, [left])
            feed(0, 1)

    with closing(KafkaSource(own)) as source, closing(sink_of(own, source)) as sink:
        feed(0, 1)
        sink.deliver(drain(source), [])
        when(source, stand_still)
        source._consumer._coordinator.request_rejoin()
        batch = drain(source)
        sink.deliver(batch, [])
        taken.append([record.offset for record in batch.records])
    assert taken == [[1], [2]]


def test_a_member_does_not_claim_the_partitions_that_it_lost(
    settings: Settings, feed: Feed
) -> None:
    """It would not give them up, so that nobody would read those that another one is to own."""
    with closing(KafkaSource(settings)) as source, closing(new_admin(settings)) as admin:
        feed(0, 1)
        drain(source)
        (assignor,) = source._consumer._coordinator._assignors.values()
        metadata, claims = assignor.metadata, []

        def note_claim(topics: set[str]) -> Any:
            joining = metadata(topics)
            claims.append(list(joining.owned_partitions))
            return joining

        assignor.metadata = note_claim
        member = source._consumer.group_metadata().member_id
        admin.remove_group_members(settings.group_id, [MemberToRemove(member, None)])
        drain(source)
    assert claims[0] == []

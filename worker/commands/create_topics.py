"""`triage-worker create-topics`: creates the topics that are missing."""

from typing import Annotated

from shared.command_line import Count, Given
from worker.settings import Settings, worker_topics


def create_topics(*, partitions: Count = 6, settings: Annotated[Settings, Given]) -> None:
    """Create the topics that do not exist yet, with the broker's defaults.

    For example:

        $ triage-worker create-topics --partitions 12

    Args:
        partitions: Partitions of each topic: the largest number of workers that can share the work.
    """
    from worker.kafka.topics import create_topics

    topics = worker_topics(settings)
    there = create_topics(settings, dict.fromkeys(topics, partitions))
    print(f"{settings.kafka_bootstrap_servers} has the topics {', '.join(topics)}")
    if there:
        print(f"existed already and are unchanged: {', '.join(there)}")

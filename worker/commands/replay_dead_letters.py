"""`triage-worker replay-dead-letters`: publishes failed records to the input topic again."""

from typing import Annotated

from cyclopts import Parameter

from shared.command_line import Count, Flag, Given
from worker.settings import Settings


def replay_dead_letters(
    *,
    send: Flag = False,
    reason: Annotated[list[str] | None, Parameter(metavar="NAME")] = None,
    since: Annotated[str | None, Parameter(metavar="TIME")] = None,
    until: Annotated[str | None, Parameter(metavar="TIME")] = None,
    count: Count | None = None,
    settings: Annotated[Settings, Given],
) -> None:
    """Publish failed records to the input topic again, each of them once.

    Without `--send`, the command only prints what it would send.

    For example:

        $ triage-worker replay-dead-letters --reason invalid_json --since 2026-11-23T10:00Z --send

    Args:
        send: Send the records.
        reason: Only records that failed for this reason; repeat the option for more reasons.
        since: Only records that failed at this time or later, such as `2026-11-23T10:00Z`.
        until: Only records that failed before this time.
        count: At most N records.
    """
    from worker.replay import DeadLetterFilter, moment_of, replay, report

    selection = DeadLetterFilter(
        frozenset(reason or ()),
        moment_of(since) if since is not None else None,
        moment_of(until) if until is not None else None,
        count,
    )
    summary = replay(settings, selection, send=send)
    print("\n".join(report(settings, summary, sent=send)))

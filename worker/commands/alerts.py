"""`triage-worker alerts`: prints alerts as they are published."""

import sys
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from shared.command_line import Count, Flag, Given
from shared.console import Console, set_stdout_to_utf8
from worker.settings import Settings


def alerts(
    *,
    json: Flag = False,
    incidents: Flag = False,
    from_beginning: Flag = False,
    min_probability: Annotated[
        float, Parameter(validator=Number(gte=0, lte=1), metavar="P", show_default=False)
    ] = 0,
    match: Annotated[str | None, Parameter(metavar="REGEX")] = None,
    lang: Annotated[list[str] | None, Parameter(metavar="LANG")] = None,
    author: Annotated[list[str] | None, Parameter(metavar="NAME")] = None,
    since: Annotated[str | None, Parameter(metavar="TIME")] = None,
    until: Annotated[str | None, Parameter(metavar="TIME")] = None,
    max_messages: Count | None = None,
    settings: Annotated[Settings, Given],
) -> None:
    """Print alerts as they are published.

    For example:

        $ triage-worker alerts --json --from-beginning --max-messages 10
        $ triage-worker alerts --incidents --min-probability 0.8 --match 'flood|dam'

    Args:
        json: Print the alerts as JSON, one per line.
        incidents: Group alerts of the same news; print a line when an incident begins and as it
            grows. Needs the extra `desk`.
        from_beginning: Begin with the oldest alert.
        min_probability: Only alerts of at least this probability.
        match: Only alerts whose text matches this regular expression, ignoring case.
        lang: Only alerts in this language, such as `en`; repeat the option for more.
        author: Only alerts by this author; repeat the option for more.
        since: Only alerts scored at this time or later, such as `2026-11-23T10:00Z`; earlier alerts
            of the topic are read, too.
        until: Only alerts scored before this time; ends if it is in the past.
        max_messages: End after N lines; by default, never.
    """
    from worker.alerts import AlertFilter, print_alerts
    from worker.replay import moment_of

    selection = AlertFilter(
        min_probability,
        match,
        frozenset(lang or ()),
        frozenset(author or ()),
        moment_of(since) if since is not None else None,
        moment_of(until) if until is not None else None,
    )
    console = Console(soft_wrap=True, highlight=False, emoji=False)
    if json:
        set_stdout_to_utf8()
    print_alerts(
        settings,
        (lambda line: print(line, flush=True)) if json else console.print,
        lambda line: print(f"warning: {line}", file=sys.stderr),
        selection=selection,
        from_beginning=from_beginning,
        as_json=json,
        incidents=incidents,
        max_messages=max_messages,
    )

"""`triage-worker alerts`: prints alerts as they are published."""

import sys
from typing import Annotated

from shared.command_line import Count, Flag, Given
from shared.console import Console, print_json_as_utf8
from worker.settings import Settings


def alerts(
    *,
    json: Flag = False,
    from_beginning: Flag = False,
    max_messages: Count | None = None,
    settings: Annotated[Settings, Given],
) -> None:
    """Print alerts as they are published.

    For example:

        $ triage-worker alerts --json --from-beginning --max-messages 10

    Args:
        json: Print the alerts as they are, one a line.
        from_beginning: Begin with the oldest alert.
        max_messages: End after N alerts; by default, never.
    """
    from worker.alerts import print_alerts

    console = Console(soft_wrap=True, highlight=False, emoji=False)
    if json:
        print_json_as_utf8()
    print_alerts(
        settings,
        (lambda line: print(line, flush=True)) if json else console.print,
        lambda line: print(f"warning: {line}", file=sys.stderr),
        from_beginning=from_beginning,
        as_json=json,
        max_messages=max_messages,
    )

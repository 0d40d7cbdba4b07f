"""`triage-worker label`: gives a tweet a label from a shell."""

from typing import Annotated, Literal

from cyclopts import Parameter

from shared.command_line import Given
from worker.settings import Settings


def label(
    alert_id: Annotated[str, Parameter(metavar="ALERT_ID")],
    verdict: Annotated[
        Literal["relevant", "not-relevant", "withdrawn"], Parameter(metavar="LABEL")
    ],
    /,
    *,
    by: Annotated[str | None, Parameter(metavar="NAME", show_default=False)] = None,
    settings: Annotated[Settings, Given],
) -> None:
    """Say whether the tweet of an alert is relevant, as the desk does by a key.

    For example:

        $ triage-worker label tweets.raw-0-17-1795375111335 not-relevant

    Args:
        alert_id: The alert's `alert_id`.
        verdict: `relevant`, `not-relevant`, or `withdrawn` to take back your label.
        by: Who says so; by default the user's name on this machine.
    """
    from worker.labels import give_label

    given = give_label(settings, alert_id, verdict, by)
    print(f"{given.alert_id} is {verdict} by {given.by}")

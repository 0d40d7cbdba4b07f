"""`triage-worker settings`: lists the settings."""

from typing import Annotated

from shared.command_line import Flag, Given
from worker.settings import Settings


def settings(*, markdown: Flag = False, settings: Annotated[Settings, Given]) -> None:
    """List the settings with their values, in the form of an environment file.

    Secrets are not shown.

    For example:

        $ TRIAGE_BATCH_SIZE=256 triage-worker settings

    Args:
        markdown: Print the reference instead: a Markdown table of the defaults.
    """
    from shared.settings import describe

    rows = describe(settings)
    if markdown:
        print("| setting | default | meaning | expected |\n| --- | --- | --- | --- |")
        for row in rows:
            default = "none" if row.default is None else f"`{row.default}`"
            print(f"| `{row.variable}` | {default} | {row.description} | {row.expected} |")
        return
    for row in rows:
        print(f"# {row.description} ({row.expected})")
        print(f"# {row.variable}=" if row.value is None else f"{row.variable}={row.value}")

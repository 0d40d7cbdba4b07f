"""`triage-worker demo`: shows the whole system on this machine."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from shared.command_line import Flag


def demo(
    *,
    data: Annotated[Path | None, Parameter(metavar="FILE")] = None,
    text_column: Annotated[str | None, Parameter(metavar="NAME")] = None,
    label_column: Annotated[str | None, Parameter(metavar="NAME")] = None,
    positive: Annotated[str | None, Parameter(metavar="LABEL")] = None,
    picture: Annotated[Path | None, Parameter(metavar="FILE")] = None,
    desk: Flag = False,
) -> None:
    """Start a Kafka, train, promote, and watch tweets become alerts.

    Needs the extra `demo`.

    For example:

        $ triage-worker demo --picture demo.svg

    Args:
        data: Labelled tweets; by default a sample.
        text_column: The column of `--data` with the text, as in `triage-trainer train`.
        label_column: The column with the label.
        positive: The label of relevant tweets.
        picture: Write a picture of the output to this SVG file.
        desk: Also serve the desk, and continue until Ctrl-C. Needs the extra `desk`.
    """
    from worker.demo.demo import demo

    columns = {"text_column": text_column, "label_column": label_column, "positive": positive}
    given = {name: value for name, value in columns.items() if value is not None}
    demo(data, picture, given, desk=desk)

"""`triage-worker ingest`: publishes the records of files into the input topic."""

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from shared.command_line import Flag, Given
from worker.settings import Settings


def ingest(
    files: Annotated[list[Path] | None, Parameter(metavar="FILE")] = None,
    /,
    *,
    rate: Annotated[float | None, Parameter(validator=Number(gt=0), metavar="N")] = None,
    restart: Flag = False,
    settings: Annotated[Settings, Given],
) -> None:
    """Publish the records of files into the input topic, to replay an archive.

    A file has JSON Lines, a JSON array, or is from X's archive (`tweets.js`). It may be compressed
    with gzip, zstd, bzip2 or xz. If you repeat an interrupted run, it continues where it ended. A
    finished file is not sent twice.

    For example:

        $ triage-worker ingest 2023-08-05.jsonl.gz 2023-08-06.jsonl.zst --rate 1000

    Args:
        files: The files, in this order; `-` or no file means standard input.
        rate: Send N records per second at most.
        restart: Send files from their beginning, even if they were sent before.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    from worker.ingest import STANDARD_INPUT, Pace, report
    from worker.ingest import ingest as ingest_one

    pace = Pace(rate)
    reports = []
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[sent]:,} records"),
        TimeRemainingColumn(),
    )
    console = Console(file=sys.stderr)
    try:
        with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
            for path in files or [STANDARD_INPUT]:
                task = bar.add_task(path.name, total=None, sent=0)

                def show(read: int, size: int | None, sent: int, task: Any = task) -> None:
                    bar.update(task, completed=read, total=size, sent=sent)

                counts = ingest_one(settings, path, pace, restart=restart, progress=show)
                reports.append(report(settings, path, counts))
    finally:
        for line in reports:
            print(line)

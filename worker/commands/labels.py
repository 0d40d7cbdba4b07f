"""`triage-worker labels`: writes the labels that people gave."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from shared.command_line import Given
from worker.settings import Settings


def labels(
    *,
    out: Annotated[Path | None, Parameter(metavar="FILE")] = None,
    form: Annotated[
        Literal["csv", "jsonl"] | None, Parameter(name="--format", show_default=False)
    ] = None,
    settings: Annotated[Settings, Given],
) -> None:
    """Write the labels that people gave, one tweet a line, with its text.

    The last label of a person counts, and among persons the last one. Tweets that were skipped or
    whose labels were withdrawn are left out. A line on standard error counts them, and the tweets
    that people disagree about.

    For example:

        $ triage-worker labels --out labels.csv
        $ triage-worker labels | triage-trainer adapt --labels -

    Args:
        out: Write to this file; by default, to standard output.
        form: CSV or JSON Lines; by default CSV if FILE ends with `.csv`, else JSON Lines.
    """
    from shared.console import check_writable, set_stdout_to_utf8
    from worker.labels import read_labels, settle_labels, write_labels

    if out is not None:
        check_writable(out)
    found = read_labels(settings, lambda line: print(f"warning: {line}", file=sys.stderr))
    tweets, summary = settle_labels(found)
    suffix = out.suffix.lower() if out is not None else ""
    lines = write_labels(tweets, form or ("csv" if suffix == ".csv" else "jsonl"))
    if out is not None:
        with out.open("w", encoding="utf-8", newline="") as file:
            file.writelines(lines)
    else:
        set_stdout_to_utf8()
        sys.stdout.writelines(lines)
    print(summary, file=sys.stderr)

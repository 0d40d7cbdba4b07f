"""`triage-trainer predict`: scores texts, the lines of standard input, or a file."""

import os
import sys
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.progress import Progress

from shared.command_line import Flag
from shared.console import set_stdout_to_utf8
from shared.errors import UsageError
from shared.registry.base import PRODUCTION
from trainer.commands.options import Context, ContextGiven, Decision
from trainer.commands.output import expect_outcome

if TYPE_CHECKING:
    from trainer.classifier import Classifier


def predict(
    *texts: str,
    data: Annotated[Path | None, Parameter(metavar="FILE")] = None,
    text_column: Annotated[str, Parameter(metavar="NAME")] = "text",
    out: Annotated[Path | None, Parameter(metavar="FILE")] = None,
    version: str = PRODUCTION,
    decision: Decision = Decision(),  # noqa: B008  # it is frozen
    json: Flag = False,
    context: ContextGiven,
) -> None:
    """Score texts, the lines of standard input, or a column of a file.

    Blank lines and rows without a text are skipped and counted.

    For example:

        $ triage-trainer predict "Forest fire near La Ronge"
        $ triage-trainer predict --json < tweets.txt > scored.jsonl
        $ triage-trainer predict --data tweets.csv --text-column message --out scored.parquet

    Args:
        texts: The texts; without any, each line of standard input is one.
        data: A file with a column of texts: CSV, TSV, JSON Lines, JSON, Parquet or Excel.
        text_column: The column of the file that holds the text.
        out: Write the rows of the file to this one, with the columns `probability`, `relevant`,
            `version` and `threshold`; its name ends with .csv, .tsv, .jsonl or .parquet.
        version: The version that scores them, a number or an alias.
        json: Print a JSON object for each text, one a line.

    Raises:
        DataError: if the file cannot be read, is damaged, or lacks the column.
        UsageError: if the options do not go together, or a text is empty.
    """
    if (data is None) != (out is None):
        raise UsageError("expected both --data and --out, or none of them")
    if data and out:
        if texts or json:
            raise UsageError("--data: expected no texts and no --json beside it")
        _predict_file(data, text_column, out, version, decision, context)
        return
    for text in texts:
        if not text.strip():
            raise UsageError(f"text {text!r}: expected a tweet")
    # A command line can hold bytes that are not UTF-8; they score like any unreadable character.
    tweets = [os.fsencode(text).decode("utf-8", "replace") for text in texts] or _read_lines()
    model = _open(version, context)
    threshold = model.threshold_at(decision.threshold)
    if json:
        set_stdout_to_utf8()
    blank = 0
    for text, probability in zip(tweets, model.score(tweets).tolist(), strict=True):
        relevant = probability >= threshold
        if not text.strip():
            blank += 1
        elif json:
            line = {
                "text": text,
                "probability": probability,
                "relevant": relevant,
                "version": model.version,
                "threshold": threshold,
            }
            print(dumps(line, ensure_ascii=False))
        else:
            verdict = "relevant    " if relevant else "not relevant"
            context.out.print(
                f"{probability:.3f}  {verdict}  {text}", markup=False, highlight=False
            )
    if blank:
        context.err.print(f"skipped: {blank} blank line{'s' * (blank != 1)}")


def _predict_file(
    data: Path, text_column: str, out: Path, version: str, decision: Decision, context: Context
) -> None:
    """Score a column of a file, and write its rows with what the model says."""
    from trainer.data.scored import expect_format, read_texts, write_scored

    expect_format(out)
    expect_outcome(out, [data])
    with context.err.status(f"reading {data}"):
        table = read_texts(data, text_column)
    for note in table.notes:
        context.err.print(f"{data.name}: {note}", highlight=False)
    model = _open(version, context)
    threshold = model.threshold_at(decision.threshold)
    texts = table.column(text_column.strip())
    with Progress(console=context.err) as progress:
        task = progress.add_task(
            f"scoring with {model.name}", total=sum(bool(text.strip()) for text in texts)
        )
        probabilities = model.score(texts, lambda count: progress.advance(task, count))
    scored, blank = write_scored(table, probabilities, model.version, threshold, out)
    skipped = f"; skipped: {blank} without a text" if blank else ""
    context.err.print(f"{out}: {scored} rows scored{skipped}")


def _open(version: str, context: Context) -> "Classifier":
    """Open a version of the registry."""
    from shared.bundle.load import load_bundle
    from trainer.classifier import Classifier

    found = context.registry.resolve(version)
    with context.err.status(f"loading {found.manifest.name}, version {found.number}"):
        bundle = load_bundle(context.registry.fetch(found, context.cache))
    return Classifier(bundle, found.number)


def _read_lines() -> list[str]:
    """Return the lines of standard input. Only "\\n" ends a line, as a tweet may hold U+2028."""
    content = sys.stdin.buffer.read().decode("utf-8", "replace").replace("\r\n", "\n")
    return content.removesuffix("\n").split("\n") if content else []

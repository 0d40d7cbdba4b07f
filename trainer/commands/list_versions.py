"""`triage-trainer list`: shows the versions of a registry with their figures, and its history."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter
from rich import box
from rich.cells import cell_len
from rich.console import Group
from rich.table import Table

from shared.bundle.manifest import Manifest
from shared.errors import DataError
from shared.live import LiveFigures
from shared.registry.base import Event, Version
from trainer.commands.options import ContextGiven, JsonFile
from trainer.commands.output import write_json

_SHORTEST_REASON = 12
"""Columns for the text of a reason, in a terminal that is too narrow."""


def list_versions(
    *,
    live: Annotated[str | None, Parameter(metavar="FILE", allow_leading_hyphen=True)] = None,
    json: JsonFile = None,
    context: ContextGiven,
) -> None:
    """List the registered versions, their aliases, and the registry's history.

    For example:

        $ triage-trainer list
        $ triage-worker estimates | triage-trainer list --live -

    Args:
        live: Also show what the versions are worth on the live stream, as `triage-worker estimates`
            wrote it to this file; `-` for standard input.
        json: Write the listing to this file as JSON, too; `-`: to standard output, and no tables.

    Raises:
        DataError: if the file of `--live` cannot be read.
    """
    registry, out = context.registry, context.out
    versions, history = registry.versions(), registry.history()
    figures = None if live is None else _read_live(live)
    known = {version.digest for version in versions}
    for one in (figures or {}).values():
        if one.digest not in known:
            context.err.print(
                f"warning: {live}: {one.model} {one.version} ({one.digest[:12]}) is not a version "
                f"of {registry.url}"
            )
    if json:
        write_json(json, as_json(versions, history, figures))
    if json == "-":
        return
    if versions:
        out.print(as_tables(versions, history, out.width, figures), crop=False)
    else:
        why = "has no version that can be read" if history else "is empty"
        out.print(f"registry {registry.url} {why}")


def _read_live(path: str) -> dict[str, LiveFigures]:
    """Read live figures, by the digest of their version.

    Raises:
        DataError: if they cannot be read.
    """
    try:
        content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        lines = [line for line in content.splitlines() if line.strip()]
        found = [msgspec.json.decode(line, type=LiveFigures) for line in lines]
    except (OSError, msgspec.DecodeError) as error:
        raise DataError(
            f"--live {path}: expected the lines of `triage-worker estimates`: {error}"
        ) from error
    return {one.digest: one for one in found}


def as_json(
    versions: list[Version], history: list[Event], live: Mapping[str, LiveFigures] | None = None
) -> dict[str, Any]:
    """Return the listing as JSON types, with live figures if they are given."""
    return {
        "versions": [
            {
                "version": version.number,
                "aliases": version.aliases,
                "name": version.manifest.name,
                "recipe": version.manifest.recipe,
                "created": version.manifest.created,
                "metrics": version.manifest.metrics,
                "labels": version.manifest.adaptation.labels if version.manifest.adaptation else 0,
                "operating_points": msgspec.to_builtins(version.manifest.operating_points),
                **({} if live is None else {"live": msgspec.to_builtins(live.get(version.digest))}),
            }
            for version in versions
        ],
        "history": [msgspec.structs.asdict(event) for event in history],
    }


def as_tables(
    versions: list[Version],
    history: list[Event],
    width: int,
    live: Mapping[str, LiveFigures] | None = None,
) -> Group:
    """Return the listing as two tables for this width, each with the oldest first.

    Live figures, by digest, are two more columns.
    """
    rows = [
        (
            str(version.number),
            ", ".join(version.aliases),
            version.manifest.name,
            version.manifest.recipe,
            _minute(version.manifest.created),
            _accuracy_and_auc(version.manifest, "validation"),
            _accuracy_and_auc(version.manifest, "test"),
            *(_live_cells(live.get(version.digest)) if live is not None else ()),
        )
        for version in versions
    ]
    columns = ["version", "aliases", "model", "recipe", "made (UTC)", "validation", "test"]
    notes = [
        "validation, test: accuracy, and the area under the ROC curve in brackets, on these",
        "parts of the data that the version was trained on",
    ]
    if live is not None:
        columns += ["live precision", "live recall"]
        notes += [
            "live: of the stream, estimated from labels of review tweets, with 95 % intervals"
        ]
    events = [
        (
            _minute(event.time),
            event.who,
            f"{event.action} (forced)" if event.forced else event.action,
            event.alias,
            str(event.version),
            event.reason,
        )
        for event in history
    ]
    return Group(
        _table(columns, rows, width),
        *notes,
        "",
        _table(("when (UTC)", "who", "did", "alias", "version", "reason"), events, width),
    )


def _table(columns: Sequence[str], rows: Sequence[tuple[str, ...]], width: int) -> Table:
    """Return a table that cuts no word in two but those of a reason, so that names can be copied.

    Where it does not fit into `width`, its columns are as wide as their longest words. With the
    longest of our own names that is 80.
    """
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0)
    texts = list(zip(columns, *rows, strict=True))
    fits = sum(max(map(cell_len, column)) for column in texts) + len(texts) - 1 <= width
    needed = len(texts) - 1
    for column in texts:
        longest = max(cell_len(word) for text in column for word in text.split())
        fixed = None if fits or column[0] == "reason" else longest
        table.add_column(column[0], overflow="fold", width=fixed)
        needed += fixed or _SHORTEST_REASON
    if not fits:
        table.width = max(width, needed) if "reason" in columns else needed
    for row in rows:
        table.add_row(*row)
    return table


def _minute(time: str) -> str:
    """Return an ISO 8601 time to the minute."""
    return time[: len("2024-05-06T07:08")].replace("T", " ")


def _live_cells(live: LiveFigures | None) -> tuple[str, str]:
    """Return precision and recall with their intervals; nothing where they are not known."""
    if live is None:
        return "", ""
    precision, recall = (f"{one}" if one else "" for one in (live.precision, live.recall))
    return precision, recall


def _accuracy_and_auc(manifest: Manifest, part: str) -> str:
    figures = manifest.metrics.get(part, {})
    if not {"accuracy", "roc_auc"} <= figures.keys():
        return ""
    return f"{figures['accuracy']:.3f} ({figures['roc_auc']:.3f})"

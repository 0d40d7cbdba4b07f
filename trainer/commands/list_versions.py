"""`triage-trainer list`: shows the versions of a registry with their figures, and its history."""

from collections.abc import Sequence
from typing import Any

import msgspec
from rich import box
from rich.cells import cell_len
from rich.console import Group
from rich.table import Table

from shared.bundle.manifest import Manifest
from shared.registry.base import Event, Version
from trainer.commands.options import ContextGiven, JsonFile
from trainer.commands.output import write_json

_SHORTEST_REASON = 12
"""Columns for the text of a reason, in a terminal that is too narrow."""


def list_versions(*, json: JsonFile = None, context: ContextGiven) -> None:
    """List the registered versions, their aliases, and the registry's history.

    For example:

        $ triage-trainer list

    Args:
        json: Write the listing to this file as JSON, too; `-`: to standard output, and no tables.
    """
    registry, out = context.registry, context.out
    versions, history = registry.versions(), registry.history()
    if json:
        write_json(json, as_json(versions, history))
    if json == "-":
        return
    if versions:
        out.print(as_tables(versions, history, out.width), crop=False)
    else:
        why = "has no version that can be read" if history else "is empty"
        out.print(f"registry {registry.url} {why}")


def as_json(versions: list[Version], history: list[Event]) -> dict[str, Any]:
    """Return the listing as JSON types."""
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
            }
            for version in versions
        ],
        "history": [msgspec.structs.asdict(event) for event in history],
    }


def as_tables(versions: list[Version], history: list[Event], width: int) -> Group:
    """Return the listing as two tables for this width, each with the oldest first."""
    rows = [
        (
            str(version.number),
            ", ".join(version.aliases),
            version.manifest.name,
            version.manifest.recipe,
            _minute(version.manifest.created),
            _accuracy_and_auc(version.manifest, "validation"),
            _accuracy_and_auc(version.manifest, "test"),
        )
        for version in versions
    ]
    columns = ("version", "aliases", "model", "recipe", "made (UTC)", "validation", "test")
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
        "validation, test: accuracy, and the area under the ROC curve in brackets, on these",
        "parts of the data that the version was trained on",
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


def _accuracy_and_auc(manifest: Manifest, part: str) -> str:
    figures = manifest.metrics.get(part, {})
    if not {"accuracy", "roc_auc"} <= figures.keys():
        return ""
    return f"{figures['accuracy']:.3f} ({figures['roc_auc']:.3f})"

"""`triage-trainer list`: shows the versions of a registry with their figures, and its history."""

from typing import Any

import msgspec
from rich import box
from rich.console import Group
from rich.table import Column, Table

from shared.bundle.manifest import Manifest
from shared.registry.base import Event, Version
from trainer.commands.options import ContextGiven, JsonFile
from trainer.commands.output import write_json


def list_versions(*, json: JsonFile = None, context: ContextGiven) -> None:
    """List the registered versions, their aliases, and the registry's history.

    For example:

        $ triage-trainer list

    Args:
        json: Write the listing to this file as JSON; `-` for standard output.
    """
    registry, out = context.registry, context.out
    versions, history = registry.versions(), registry.history()
    if json:
        write_json(json, as_json(versions, history))
    elif versions:
        out.print(as_tables(versions, history))
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
                "operating_points": msgspec.to_builtins(version.manifest.operating_points),
            }
            for version in versions
        ],
        "history": [msgspec.structs.asdict(event) for event in history],
    }


def as_tables(versions: list[Version], history: list[Event]) -> Group:
    """Return the listing as two tables, each with the oldest first."""
    table = _table("version", "aliases", "model", "recipe", "made (UTC)", "validation", "test")
    for version in versions:
        manifest = version.manifest
        table.add_row(
            str(version.number),
            ", ".join(version.aliases),
            manifest.name,
            manifest.recipe,
            _minute(manifest.created),
            _accuracy_and_auc(manifest, "validation"),
            _accuracy_and_auc(manifest, "test"),
        )
    events = _table("when (UTC)", "who", "did", "alias", "version", "reason")
    for event in history:
        did = f"{event.action} (forced)" if event.forced else event.action
        told = (event.who, did, event.alias, str(event.version), event.reason)
        events.add_row(_minute(event.time), *told)
    return Group(table, "", events)


def _table(*columns: str) -> Table:
    table = Table(*(Column(name, overflow="fold") for name in columns), box=box.SIMPLE_HEAD)
    table.show_edge = table.pad_edge = False  # so that it fits into 80 columns
    table.collapse_padding = True
    return table


def _minute(time: str) -> str:
    """Return an ISO 8601 time to the minute."""
    return time[: len("2024-05-06T07:08")].replace("T", " ")


def _accuracy_and_auc(manifest: Manifest, part: str) -> str:
    figures = manifest.metrics.get(part, {})
    if not {"accuracy", "roc_auc"} <= figures.keys():
        return ""
    return f"{figures['accuracy']:.3f} ({figures['roc_auc']:.3f})"

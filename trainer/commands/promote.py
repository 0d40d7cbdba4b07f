"""`triage-trainer promote`: lets an alias mean a version, `production` behind the gate."""

import argparse
import re
from pathlib import Path

from rich.console import Console

from shared.bundle.files import load_bundle
from shared.errors import BundleError, RegistryError, UsageError
from shared.registry.base import PREVIOUS, PRODUCTION, Registry, Version

_NAME = re.compile(r"[\w.-]+", re.ASCII)
_VERSION = re.compile(r"v?\d+|latest", re.ASCII)
_MOVED_BY = {PRODUCTION: "`promote` moves it", PREVIOUS: "`promote` and `rollback` move it"}


def expect_free(alias: str, *taken: str) -> None:
    """Checks that an alias is a name, and none of those that other commands move.

    W&B takes few characters, and numbers its versions v0, v1 and so on; what a folder could not
    hand over to it is refused as well.

    Raises:
        UsageError: if it is not.
    """
    if alias in taken:
        raise UsageError(f"--alias {alias}: expected another alias: {_MOVED_BY[alias]}")
    if not _NAME.fullmatch(alias) or _VERSION.fullmatch(alias):
        raise UsageError(
            f"--alias {alias!r}: expected a name of ASCII letters, digits, '-', '_' and '.'; "
            "numbers, v3 and the like, and latest are those of versions"
        )


def promote(
    arguments: argparse.Namespace, registry: Registry, cache: Path, out: Console, err: Console
) -> None:
    """Runs the command.

    Raises:
        RegistryError: if the gate refuses the version, and it is not forced.
        UsageError: if the options do not go together, or the alias is not to be had.
    """
    expect_free(arguments.alias, PREVIOUS)
    if arguments.force and not arguments.reason.strip():
        raise UsageError("--force: expected --reason TEXT as well, which the history keeps")
    if arguments.alias != PRODUCTION and (arguments.data or arguments.force):
        raise UsageError(f"--alias {arguments.alias}: only {PRODUCTION} has a gate to pass")
    version = registry.resolve(arguments.version)
    refusals = []
    if arguments.alias == PRODUCTION:
        refusals = _refusals(version, arguments, registry, cache, out, err)
    if refusals and not arguments.force:
        raise RegistryError(
            f"version {version.number} is not promoted: {'; '.join(refusals)} "
            "(--force --reason TEXT promotes it all the same)"
        )
    for refusal in refusals:
        out.print(f"forced, although {refusal}")
    version = registry.promote(
        str(version.number), arguments.alias, arguments.reason, forced=bool(refusals)
    )
    out.print(f"{arguments.alias} is now version {version.number} ({version.manifest.name})")


def _refusals(
    version: Version,
    arguments: argparse.Namespace,
    registry: Registry,
    cache: Path,
    out: Console,
    err: Console,
) -> list[str]:
    """Shows how a version compares with production, and returns why it should not replace it."""
    try:
        production = registry.resolve(PRODUCTION)
    except RegistryError:  # the first promotion
        return []
    except BundleError as error:
        return [f"there is nothing to compare with: {error}"]
    if production.digest == version.digest:
        return []
    with err.status("comparing with production"):
        from trainer.data.read import read_asked
        from trainer.evaluate.gate import LoadedVersion, judge, judge_recorded

        if arguments.data is None:
            verdict = judge_recorded(version, production)
        else:
            dataset = read_asked(arguments)
            folder = registry.fetch(version, cache)
            candidate = LoadedVersion(version, folder, load_bundle(folder))
            try:
                folder = registry.fetch(production, cache)
                current = LoadedVersion(production, folder, load_bundle(folder))
            except BundleError as error:
                return [f"there is nothing to compare with: {error}"]
            verdict = judge(candidate, current, dataset)
    if verdict.table:
        out.print(verdict.table)
    for note in verdict.notes:
        out.print(note)
    return verdict.refusals

"""`triage-trainer report`: which models and which rows a report is about."""

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from shared.bundle.files import MANIFEST, load_bundle
from shared.errors import BundleError, DataError, UsageError
from shared.registry.base import Registry, Version
from trainer.data.duplicates import held_out_rows, trained_on, without_repeats
from trainer.data.read import Dataset, Indices, read_asked
from trainer.report.contents import Contender, contents
from trainer.report.write import PAGE, write_report


def report(
    arguments: argparse.Namespace, registry: Registry, cache: Path, out: Console, err: Console
) -> None:
    """Runs the command."""
    versions = [registry.resolve(version) for version in arguments.version]
    bundles = arguments.bundles or (None if versions else Path("bundles"))
    with err.status("reading the data"):
        dataset = read_asked(arguments)
    with err.status("loading the models"):
        fetched = [(version, registry.fetch(version, cache)) for version in versions]
        contenders = load_contenders(bundles, fetched)
    rows, test_part = _rows(contenders, dataset, other_data=arguments.other_data)
    created = datetime.now(UTC).isoformat(timespec="minutes")
    with err.status(f"measuring {len(contenders)} models on {len(rows)} tweets"):
        found, measured = contents(contenders, dataset, rows, test_part=test_part, created=created)
        write_report(found, measured, arguments.out)
    part = "the test part" if test_part else "all"
    repeats = f", {found.data.repeats} repeats left out" if found.data.repeats else ""
    out.print(
        f"{arguments.out / PAGE} compares {', '.join(c.name for c in contenders)} "
        f"on {part} of {dataset.name}, {len(rows)} tweets{repeats}"
    )


def load_contenders(
    bundles: Path | None, versions: Sequence[tuple[Version, Path]]
) -> list[Contender]:
    """Loads versions of the registry and the models of a training, each model once.

    Args:
        bundles: a folder of bundles, or a bundle.
        versions: each with the folder in which its bundle was fetched.

    Raises:
        BundleError: if a bundle does not verify, or there is none in the folder.
    """
    contenders: dict[str, Contender] = {}
    for version, folder in versions:
        bundle = load_bundle(folder)
        name = f"{version.manifest.name} (version {version.number})"
        contenders.setdefault(bundle.digest, Contender(name, folder, bundle))
    if bundles is not None:
        manifests = [*bundles.glob(MANIFEST), *bundles.glob(f"*/{MANIFEST}")]
        if not manifests:
            raise BundleError(f"{bundles} holds no bundle")
        loaded = [(load_bundle(path.parent), path.parent) for path in manifests]
        loaded.sort(key=lambda pair: (pair[0].manifest.created, pair[0].manifest.name))
        for bundle, folder in loaded:
            name = bundle.manifest.name
            if name in {contender.name for contender in contenders.values()}:
                name = f"{name} ({folder.name})"
            contenders.setdefault(bundle.digest, Contender(name, folder, bundle))
    return list(contenders.values())


def _rows(
    contenders: Sequence[Contender], dataset: Dataset, *, other_data: bool
) -> tuple[Indices, bool]:
    """The rows to measure on, and whether they are the test part of a model's own data.

    Of other data's rows that repeat each other there is the first alone.
    """
    own = [c.name for c in contenders if trained_on(c.bundle.manifest, dataset)]
    if own and other_data:
        raise UsageError(f"--other-data: {own[0]} was trained on {dataset.name}")
    if not own and not other_data:
        raise DataError(
            f"{dataset.name} is not what {' or '.join(c.name for c in contenders)} was trained on, "
            "so that there is no test part; with --other-data all of its rows are measured"
        )
    rows, test_part = held_out_rows(dataset, [c.bundle.manifest for c in contenders])
    return (rows if test_part else without_repeats(dataset, rows)), test_part

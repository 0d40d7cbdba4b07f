"""`triage-trainer report`: writes a report that compares models."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from shared.command_line import Flag
from shared.errors import BundleError, DataError, UsageError
from shared.registry.base import Version
from trainer.commands.options import ContextGiven, LabelledData

if TYPE_CHECKING:
    from trainer.data.dataset import Dataset, Indices
    from trainer.evaluate.loaded_model import LoadedModel


def report(
    *,
    labelled: LabelledData,
    bundles: Annotated[Path | None, Parameter(metavar="FOLDER")] = None,
    version: list[str] | None = None,
    other_data: Flag = False,
    out: Annotated[Path, Parameter(metavar="FOLDER")] = Path("report"),
    context: ContextGiven,
) -> None:
    """Compare models on tweets that they did not see, and write an HTML report.

    For example:

        $ triage-trainer report --data tweets.csv
        $ triage-trainer report --data tweets.csv --version production --version candidate

    Args:
        bundles: The folder of bundles of a training; by default `bundles`, unless there is a
            `--version`.
        version: A registered version, a number or an alias; repeat the option for more of them.
        other_data: Measure on all rows of the data, which none of the models was trained on.
        out: The folder for `report.html`, `report.json` and the pictures.

    Raises:
        BundleError: if a bundle does not verify, or there is none.
        DataError: if none of the models was trained on the data.
        UsageError: if one of them was, with `--other-data`.
    """
    from trainer.report.contents import contents
    from trainer.report.write import PAGE, write_report

    err = context.err
    versions = [context.registry.resolve(each) for each in version or ()]
    folder = bundles or (None if versions else Path("bundles"))
    with err.status("loading the models"):
        fetched = [(each, context.registry.fetch(each, context.cache)) for each in versions]
        models = load_models(folder, fetched)
    with err.status("reading the data"):
        dataset = labelled.read(err, models[0].bundle.manifest.labelling)
    rows, test_part = _rows(models, dataset, other_data=other_data)
    created = datetime.now(UTC).isoformat(timespec="minutes")
    with err.status(f"measuring {len(models)} models on {len(rows)} tweets"):
        found, measured = contents(models, dataset, rows, test_part=test_part, created=created)
        write_report(found, measured, out)
    part = "the test part" if test_part else "all"
    repeats = f", {found.data.repeats} repeats left out" if found.data.repeats else ""
    context.out.print(
        f"{out / PAGE} compares {', '.join(c.name for c in models)} "
        f"on {part} of {dataset.name}, {len(rows)} tweets{repeats}"
    )


def load_models(
    bundles: Path | None, versions: Sequence[tuple[Version, Path]]
) -> "list[LoadedModel]":
    """Load versions of the registry and the models of a training, each model once.

    Args:
        bundles: a folder of bundles, or a bundle.
        versions: each with the folder of its bundle.

    Raises:
        BundleError: if a bundle does not verify, or there is none in the folder.
    """
    from shared.bundle.files import MANIFEST
    from shared.bundle.load import load_bundle
    from trainer.evaluate.loaded_model import LoadedModel

    models: dict[str, LoadedModel] = {}
    for version, folder in versions:
        bundle = load_bundle(folder)
        name = f"{version.manifest.name} (version {version.number})"
        models.setdefault(bundle.digest, LoadedModel(name, folder, bundle))
    if bundles is not None:
        manifests = [*bundles.glob(MANIFEST), *bundles.glob(f"*/{MANIFEST}")]
        if not manifests:
            raise BundleError(f"{bundles} holds no bundle")
        loaded = [(load_bundle(path.parent), path.parent) for path in manifests]
        loaded.sort(key=lambda pair: (pair[0].manifest.created, pair[0].manifest.name))
        for bundle, folder in loaded:
            name = bundle.manifest.name
            if name in {model.name for model in models.values()}:
                name = f"{name} ({folder.name})"
            models.setdefault(bundle.digest, LoadedModel(name, folder, bundle))
    return list(models.values())


def _rows(
    models: "Sequence[LoadedModel]", dataset: "Dataset", *, other_data: bool
) -> "tuple[Indices, bool]":
    """Return the rows to measure on, and whether they are the test part of a model's own data.

    Of repeated rows in other data, only the first is used.
    """
    from trainer.data.duplicates import held_out_rows, trained_on, without_repeats

    own = [c.name for c in models if trained_on(c.bundle.manifest, dataset)]
    if own and other_data:
        raise UsageError(f"--other-data: {own[0]} was trained on {dataset.name}")
    if not own and not other_data:
        raise DataError(
            f"{dataset.name} is not what {' or '.join(c.name for c in models)} was trained on, "
            "so that there is no test part; with --other-data all of its rows are measured"
        )
    rows, test_part = held_out_rows(dataset, [c.bundle.manifest for c in models])
    return (rows if test_part else without_repeats(dataset, rows)), test_part

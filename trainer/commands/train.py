"""`triage-trainer train`: trains a recipe's models, shows how good they are, registers the best."""

import re
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import Parameter
from rich.console import Console

from shared.bundle.manifest import Manifest
from shared.errors import TriageError, UnavailableError, UsageError
from shared.registry.base import CANDIDATE, Registry
from trainer.commands.options import ContextGiven, JsonFile, LabelledData, TrainingOptions
from trainer.commands.output import (
    expect_bundle_if_any,
    expect_outcome,
    make_folder,
    readable,
    write_json,
)

if TYPE_CHECKING:
    from trainer.evaluate.metrics import Metrics
    from trainer.pipeline import Trained


_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8})*", re.ASCII | re.IGNORECASE)


def train(
    *,
    labelled: LabelledData,
    training: TrainingOptions = TrainingOptions(),  # noqa: B008  # it is frozen
    bundles: Annotated[Path, Parameter(metavar="FOLDER")] = Path("bundles"),
    test_out: Annotated[Path | None, Parameter(metavar="FILE")] = None,
    teaching: Annotated[Path | None, Parameter(metavar="FILE")] = None,
    leave_out_by: Annotated[str | None, Parameter(metavar="COLUMN")] = None,
    language: Annotated[tuple[str, ...], Parameter(metavar="CODE")] = ("en",),
    json: JsonFile = None,
    context: ContextGiven,
) -> None:
    """Train the models of a recipe, show how good they are, and register the best one.

    For example:

        $ triage-trainer train --data tweets.csv

    Args:
        bundles: The folder for the models' bundles.
        test_out: Write the test part to this CSV file.
        teaching: The soft labels that `distill` wrote for this data; by default those that ship
            for the published data set.
        leave_out_by: The column with what the tweets were found by, such as `keyword`: also train
            without each group of its values, and measure on that group.
        language: A language of the tweets, as in a tweet's `lang`; workers score these languages.
        json: Write the figures to this file as JSON; `-` for standard output.

    Raises:
        UsageError: if the outcome would replace the data, or what is no bundle.
        TriageError: when all is done, if some of it could not be registered or written, or W&B does
            not have all of it; the first of these, as the others are printed.
    """
    from trainer.commands.progress import bars
    from trainer.data.dataset import write_rows
    from trainer.distill.soft_labels import read_teaching
    from trainer.evaluate.behaviour import table as behaviour_table
    from trainer.evaluate.groups import table as groups_table
    from trainer.evaluate.metrics import comparison
    from trainer.evaluate.thresholds import table as points_table
    from trainer.fit.recipes import load_recipe, seed_of
    from trainer.tracking.tracker import Tracker, tracking_mode

    registry, out, err = context.registry, context.out, context.err
    recipe, name = load_recipe(training.recipe), readable(Path(training.recipe).name)
    seed = seed_of(recipe, training.seed)
    mode = tracking_mode(training.wandb)
    with err.status("reading the data"):
        dataset = labelled.read(err, keyword_column=leave_out_by)
        dataset = msgspec.structs.replace(dataset, languages=_codes(language))
        soft_labels = read_teaching(dataset, teaching) if recipe.has_teacher else None
    for path in (test_out, json):
        expect_outcome(path, labelled.paths)
    _expect_to_write(bundles, recipe.models, registry, err)
    err.print(
        f"{dataset.name}: {len(dataset.texts)} tweets, {int(dataset.labels.sum())} of them relevant"
    )
    with err.status("loading Keras"):
        from trainer import pipeline

    tracker = None
    if mode is not None:
        group = f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        tracker = Tracker(mode, group, dataset, err.print, _entity(registry))
    with bars(err) as progress, tracker or nullcontext():
        trained, parts = pipeline.train(
            name,
            recipe,
            dataset,
            bundles,
            seed,
            progress,
            tracker,
            soft_labels,
            leave_out_by=leave_out_by,
        )
    rows = []
    for model in trained:
        rows += [(model.name, *row) for row in _rows_of(model.manifest)]
    shown = err if json == "-" else out
    shown.print(comparison(rows, f"Recipe {name}, seed {seed}"))
    shown.print(points_table([model.manifest for model in trained]))
    shown.print(
        behaviour_table(
            {m.name: m.manifest.quality.behaviour for m in trained if m.manifest.quality}
        )
    )
    if leave_out_by:
        shown.print(groups_table([model.manifest for model in trained]))
    chosen = pipeline.best(trained)
    number = None
    failures: list[TriageError] = []  # none of which keeps the steps after it from being taken
    try:
        if tracker:
            number = tracker.register(registry, chosen.name, chosen.bundle).number
        else:
            number = registry.register(chosen.bundle).number
    except TriageError as error:
        told = (
            f"{chosen.name}, the best by ROC AUC on validation, is not registered: {error}; "
            f"its bundle is in {chosen.bundle}, and this registers it: "
            f"triage-trainer register {shlex.quote(str(chosen.bundle))}"
        )
        failures.append(type(error)(told))
    else:
        shown.print(
            f"registered {chosen.name}, the best by ROC AUC on validation, "
            f"as version {number} ({CANDIDATE}) in {registry.url}"
        )
    with _noting(failures):
        if test_out:
            write_rows(dataset, parts.test, test_out)
    with _noting(failures):
        if json:
            figures = [_as_json(model, number if model is chosen else None) for model in trained]
            write_json(json, {"recipe": name, "seed": seed, "models": figures})
    with _noting(failures):
        if tracker:
            tracker.close()
    for failure in failures[1:]:
        err.print(f"warning: {failure}")
    if failures:
        raise failures[0]


def _codes(languages: Iterable[str]) -> tuple[str, ...]:
    """The languages in lower case.

    Raises:
        UsageError: if one of them is not a language code.
    """
    for language in languages:
        if not _LANGUAGE.fullmatch(language):
            raise UsageError(f"--language {language!r}: expected a code such as en or pt-br")
    return tuple(language.lower() for language in languages)


@contextmanager
def _noting(failures: list[TriageError]) -> Iterator[None]:
    """Puts off the error of a step."""
    try:
        yield
    except TriageError as error:
        failures.append(error)


def _as_json(model: "Trained", version: int | None) -> dict[str, Any]:
    """What `--json` says of a model, and its version if it was registered."""
    return {
        "name": model.name,
        **model.manifest.metrics,
        "operating_points": msgspec.to_builtins(model.manifest.operating_points),
        "quality": msgspec.to_builtins(model.manifest.quality),
        "parameters": model.parameters,
        "bundle": readable(model.bundle),
        "version": version,
    }


def _rows_of(manifest: Manifest) -> "Iterator[tuple[str, Metrics]]":
    """The figures of each part, and of the test part's tweets on which they mean most."""
    from trainer.data.slices import UNANIMOUS, UNLIKE

    yield from manifest.metrics.items()
    for subset in manifest.quality.slices if manifest.quality else ():
        if subset.name in (UNANIMOUS, UNLIKE):
            yield subset.name, {k: v.value for k, v in subset.figures.items()}


def _entity(registry: Registry) -> str | None:
    """Who logs the bundles of a registry in W&B."""
    scheme, _, rest = registry.url.partition(":")
    return rest.split("/")[0] if scheme == "wandb" else None


def _expect_to_write(
    bundles: Path, models: Iterable[str], registry: Registry, err: Console
) -> None:
    """Finds out before a long training, and not after it, that its outcome has nowhere to go."""
    make_folder(bundles)
    for name in models:
        expect_bundle_if_any(bundles / name)
    try:
        registry.history()
    except UnavailableError as error:  # which may be over when the models are trained
        err.print(f"warning: {error}; the models are trained all the same")

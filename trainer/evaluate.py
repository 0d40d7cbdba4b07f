"""`triage-trainer evaluate`: measures a version on labelled tweets, and checks its behaviour."""

import argparse
from pathlib import Path

import msgspec
from rich.console import Console

from shared.bundle import load_bundle
from shared.registry import Registry
from trainer.behaviour import behaviour
from trainer.behaviour import table as behaviour_table
from trainer.dataset import read_dataset
from trainer.evaluation import comparison
from trainer.evaluation import evaluate as measure
from trainer.output import write_json


def evaluate(
    arguments: argparse.Namespace, registry: Registry, cache: Path, out: Console, err: Console
) -> None:
    """Runs the command.

    Raises:
        BundleError: if the version lacks the operating point that is asked for.
    """
    version = registry.resolve(arguments.version)
    dataset = read_dataset(
        arguments.data, arguments.text_column, arguments.label_column, arguments.positive
    )
    name = version.manifest.name
    threshold = version.manifest.threshold_at(arguments.threshold)
    with err.status(f"loading {name}, version {version.number}"):
        scorer = load_bundle(registry.fetch(version, cache)).scorer
    rows = len(dataset.texts)
    with err.status(f"scoring {rows} tweets"):
        figures = measure(dataset.labels, scorer.score(dataset.texts), threshold)
        behaves = behaviour(scorer, threshold, dataset.texts)
    if arguments.json:
        found = {"version": version.number, "name": name, "rows": rows, "threshold": threshold}
        behaving = {"behaviour": msgspec.to_builtins(behaves)}
        write_json(arguments.json, {**found, **figures, **behaving})
    else:
        called = f"{name} (version {version.number})"
        title = f"{rows} tweets, relevant from {threshold} on"
        out.print(comparison([(called, dataset.name, figures)], title))
        out.print(behaviour_table({called: behaves}))

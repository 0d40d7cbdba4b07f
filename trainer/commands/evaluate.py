"""`triage-trainer evaluate`: measures a version on labelled tweets, and checks its behaviour."""

import argparse
from pathlib import Path

import msgspec
from rich.console import Console

from shared.bundle.files import load_bundle
from shared.registry.base import Registry
from trainer.commands.output import expect_outcome, write_json
from trainer.data.duplicates import OVERLAP, held_out_rows, near_duplicates
from trainer.data.read import read_asked
from trainer.evaluate.behaviour import behaviour
from trainer.evaluate.behaviour import table as behaviour_table
from trainer.evaluate.metrics import comparison
from trainer.evaluate.metrics import evaluate as measure


def evaluate(
    arguments: argparse.Namespace, registry: Registry, cache: Path, out: Console, err: Console
) -> None:
    """Runs the command.

    Of the data that the version was trained on, the test part alone is measured.

    Raises:
        BundleError: if the version lacks the operating point that is asked for.
        UsageError: if the outcome would replace the data.
    """
    version = registry.resolve(arguments.version)
    dataset = read_asked(arguments)
    expect_outcome(arguments.json, arguments.data)
    manifest = version.manifest
    name, called = manifest.name, f"{manifest.name} (version {version.number})"
    threshold = manifest.threshold_at(arguments.threshold)
    with err.status(f"loading {name}, version {version.number}"):
        folder = registry.fetch(version, cache)
        scorer = load_bundle(folder).scorer
    rows, test_part = held_out_rows(dataset, [manifest])
    seen = near_duplicates(dataset, rows, manifest, folder)
    if seen is None:
        err.print(f"warning: {called} does not say which texts it was trained on")
    elif not test_part and seen.mean() > OVERLAP:
        err.print(
            f"warning: {called} was trained on near-duplicates of {int(seen.sum())} of these "
            f"{len(rows)} tweets: its figures are too good"
        )
    texts = dataset.texts_of(rows)
    with err.status(f"scoring {len(rows)} tweets"):
        figures = measure(dataset.labels[rows], scorer.score(texts), threshold)
        behaves = behaviour(scorer, threshold, texts)
    if arguments.json:
        found = {
            "version": version.number,
            "name": name,
            "part": "test part" if test_part else "all rows",
            "rows": len(rows),
            "near_duplicates": None if seen is None else int(seen.sum()),
            "threshold": threshold,
        }
        behaving = {"behaviour": msgspec.to_builtins(behaves)}
        write_json(arguments.json, {**found, **figures, **behaving})
    else:
        part = f" (the test part of {len(dataset.texts)})" if test_part else ""
        title = f"{len(rows)} tweets{part}, relevant from {threshold} on"
        out.print(comparison([(called, dataset.name, figures)], title))
        out.print(behaviour_table({called: behaves}))

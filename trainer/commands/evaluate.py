"""`triage-trainer evaluate`: measures a version on labelled tweets, and checks its behaviour."""

import msgspec

from trainer.commands.options import ContextGiven, Decision, JsonFile, LabelledData
from trainer.commands.output import expect_outcome, write_json


def evaluate(
    version: str,
    /,
    *,
    labelled: LabelledData,
    decision: Decision = Decision(),  # noqa: B008  # it is frozen
    json: JsonFile = None,
    context: ContextGiven,
) -> None:
    """Measure a version on labelled tweets and check its behaviour.

    Of the data set that the version was trained on, only the test part is measured.

    For example:

        $ triage-trainer evaluate production --data tweets.csv

    Args:
        version: A number or an alias.
        json: Write the figures to this file as JSON, too; `-`: to standard output, and no tables.

    Raises:
        BundleError: if the version lacks the operating point that is asked for.
        UsageError: if the outcome would replace the data.
    """
    from shared.bundle.load import load_bundle
    from trainer.data.duplicates import OVERLAP, held_out_rows, near_duplicates
    from trainer.evaluate.behaviour import behaviour
    from trainer.evaluate.behaviour import table as behaviour_table
    from trainer.evaluate.metrics import comparison
    from trainer.evaluate.metrics import evaluate as measure

    registry, err = context.registry, context.err
    chosen = registry.resolve(version)
    dataset = labelled.read(err, chosen.manifest.labelling)
    expect_outcome(json, labelled.paths)
    manifest = chosen.manifest
    name, called = manifest.name, f"{manifest.name} (version {chosen.number})"
    threshold = manifest.threshold_at(decision.threshold)
    with err.status(f"loading {name}, version {chosen.number}"):
        folder = registry.fetch(chosen, context.cache)
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
    if json:
        found = {
            "version": chosen.number,
            "name": name,
            "part": "test part" if test_part else "all rows",
            "rows": len(rows),
            "near_duplicates": None if seen is None else int(seen.sum()),
            "threshold": threshold,
        }
        behaving = {"behaviour": msgspec.to_builtins(behaves)}
        write_json(json, {**found, **figures, **behaving})
    if json == "-":
        return
    part = f" (the test part of {len(dataset.texts)})" if test_part else ""
    title = f"{len(rows)} tweets{part}, relevant from {threshold} on"
    context.out.print(comparison([(called, dataset.name, figures)], title))
    context.out.print(behaviour_table({called: behaves}))

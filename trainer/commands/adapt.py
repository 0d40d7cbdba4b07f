"""`triage-trainer adapt`: adapts a version to labelled tweets of one crisis."""

import sys
import tempfile
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cyclopts import Parameter
from rich.console import Group

from shared.bundle.manifest import Labelling, Manifest
from shared.registry.base import CANDIDATE, PRODUCTION
from trainer.commands.options import ContextGiven, JsonFile, LabelledData
from trainer.commands.output import expect_outcome, write_json

_SHOWN = ("roc_auc", "accuracy")

_LABELS = Labelling("text", "label", ("relevant",), (), ("skip", "withdrawn"))
"""How `triage-worker labels` writes labels."""


def adapt(
    *,
    labels: Annotated[str, Parameter(metavar="FILE", allow_leading_hyphen=True)],
    from_: Annotated[str, Parameter(name="--from", metavar="VERSION")] = PRODUCTION,
    text_column: Annotated[str | None, Parameter(metavar="NAME")] = None,
    label_column: Annotated[str | None, Parameter(metavar="NAME")] = None,
    positive: Annotated[list[str] | None, Parameter(metavar="LABEL")] = None,
    negative: Annotated[list[str] | None, Parameter(metavar="LABEL")] = None,
    leave_out: Annotated[list[str] | None, Parameter(metavar="LABEL")] = None,
    wandb: Literal["online", "offline", "disabled"] | None = None,
    json: JsonFile = None,
    context: ContextGiven,
) -> None:
    """Adapt a version to labelled tweets of one crisis, and register the result.

    It takes seconds and needs neither the data that the version was trained on nor a GPU. Labels
    that do not help are refused.

    For example:

        $ triage-worker labels | triage-trainer adapt --labels -
        $ triage-trainer promote candidate

    Args:
        labels: Labelled tweets, in any format that `train --data` reads; `-` for standard input.
        from_: The version that learns, a number or an alias. If it has learned labels already, the
            version that it was adapted from learns: give all labels, the old ones too.
        text_column: The column that holds the text: `text` by default.
        label_column: The column that holds the label: `label` by default.
        positive: A label of relevant tweets: `relevant` by default.
        negative: A label of other tweets; by default the only one that is left.
        leave_out: A label of tweets that are not used: `skip` and `withdrawn` by default.
        wandb: Track the adaptation in Weights & Biases; by default `WANDB_MODE`, or `disabled`.
        json: Write the figures to this file as JSON; `-` for standard output.

    Raises:
        DataError: if the labels are too few, are damaged, or do not help.
        UsageError: if the version's kind of model cannot be adapted.
    """
    import numpy as np

    from shared.model.architecture import count_parameters
    from trainer.adapt.bundle import write_adapted
    from trainer.adapt.learn import FEWEST_OF_A_CLASS
    from trainer.adapt.learn import adapt as learn
    from trainer.adapt.network import Network
    from trainer.data.split import Parts
    from trainer.evaluate.bootstrap import Scores
    from trainer.origin import describe_data
    from trainer.tracking.tracker import new_tracker

    registry, err = context.registry, context.err
    other = base = registry.resolve(from_)
    if adaptation := other.manifest.adaptation:  # learns all labels anew, and none twice
        base = registry.resolve(str(adaptation.version))
    with tempfile.TemporaryDirectory() as scratch:
        file = str(_spool(Path(scratch))) if labels == "-" else labels
        data = LabelledData(
            data=[file],
            text_column=text_column,
            label_column=label_column,
            positive=positive,
            negative=negative,
            leave_out=leave_out,
        )
        dataset = data.read(err, _LABELS, fewest=FEWEST_OF_A_CLASS)
        expect_outcome(json, data.paths)
        tracker = new_tracker(wandb, "adapt", dataset, err.print, registry, job_type="adapt")
        bundle = Path(scratch) / base.manifest.name
        rows = np.arange(len(dataset.texts))
        parts = Parts(rows, rows, rows)  # each label is predicted by a head that did not learn it
        name, before = base.manifest.name, base.manifest
        with tracker or nullcontext():
            if tracker:
                settings = {
                    "recipe": before.recipe,
                    "seed": before.seed,
                    "adapted_from": base.digest,
                    "data": describe_data(dataset, parts),
                }
                tracker.on_model_begin(name, settings, parts)
            with err.status(f"teaching {name} {len(rows)} labels"):
                source = registry.fetch(base, context.cache)
                adapted = learn(Network(source), dataset)
                folder = registry.fetch(other, context.cache)
                manifest = write_adapted(bundle, base, other, folder, adapted, dataset, source)
            if tracker:
                test = Scores(adapted.probabilities, manifest.threshold)
                parameters = count_parameters(manifest.architecture)
                tracker.on_model_end(manifest.metrics, parameters, test, bundle)
        register = partial(tracker.register, registry, name) if tracker else registry.register
        version = register(bundle)
    if json:
        figures = msgspec.to_builtins(manifest.adaptation)
        write_json(json, {"version": version.number, "adaptation": figures})
    shown = err if json == "-" else context.out
    shown.print(_summary(manifest))
    shown.print(
        f"registered {manifest.name} as version {version.number} ({CANDIDATE}) in {registry.url}\n"
        f"next: triage-trainer promote {CANDIDATE}   lets workers use it"
    )
    if tracker:
        tracker.close()


def _spool(folder: Path) -> Path:
    """Copy standard input to a file."""
    path = folder / "standard-input"
    path.write_bytes(sys.stdin.buffer.read())
    return path


def _summary(manifest: Manifest) -> Group:
    """Show the figures before and after, and which tweets' decisions may change."""
    from trainer.evaluate.metrics import NAMES, figures_table

    adaptation = manifest.adaptation
    if adaptation is None:
        return Group()
    title = (
        f"{manifest.name} before and after it learned {adaptation.labels} labels, "
        f"{adaptation.relevant} of them relevant; on {adaptation.compared} new ones"
    )
    table = figures_table(title, "")
    measured = (adaptation.before, adaptation.after, adaptation.difference)
    shown = [metric for metric in _SHOWN if all(metric in figures for figures in measured)]
    for metric in shown:
        table.add_column(NAMES[metric], no_wrap=True)
    rows = (("before", adaptation.before), ("after", adaptation.after))
    for when, figures in (*rows, ("difference", adaptation.difference)):
        sign = "+" if when == "difference" else ""
        table.add_row(when, *(f"{figures[metric]:{sign}}" for metric in shown))
    scope = "scores change for all texts"
    if adaptation.keywords:
        scope = (
            f"scores change for texts with one of the words {', '.join(adaptation.keywords)}, "
            f"which {adaptation.coverage:.0%} of the labelled tweets contain"
        )
    return Group(table, "each label is predicted by a model that did not learn it", scope)

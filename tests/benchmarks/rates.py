"""Rates: the worker, and at once the ceiling, Quix Streams and the notebook's way beside it."""

import statistics
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

from rich import box
from rich.table import Table

from tests.benchmarks.bench import Bench
from tests.benchmarks.run import Run
from tests.benchmarks.tweets import MIXES
from tests.benchmarks.watched import worker_run

_WARM_UP, _TWEETS = 15_000, 180_000
"""Of a run of the worker, and of the ceiling; in the beginning most chunks are new."""
_SLOWER = {"quix-many": (4_096, 12_288), "quix-one": (10, 60), "notebook": (10, 60)}
"""The same of the others; Quix in batches needs whole checkpoints. Those at a tweet a time have one
run: they are a thousand times slower, and whether it is 900 or 1,100 says nothing."""


def measure(bench: Bench, tell: Callable[[str], None]) -> dict[str, Any]:
    """Return the medians of the runs, by mix, and by contender and model.

    A machine's speed changes within minutes: each run of the worker is followed at once by those
    that it is compared with. The ceiling forwards as large a share as its alerts were.
    """
    found: dict[str, Any] = {}
    for mix in MIXES:
        runs: dict[str, list[Run]] = {}
        for number, model in product(range(bench.runs), bench.models):
            tell(f"run {number + 1} of {bench.runs}, {mix} tweets, {model}: the worker")
            worker = worker_run(bench, model, mix, _WARM_UP, _TWEETS)
            tell(f"run {number + 1} of {bench.runs}, {mix} tweets, {model}: the others")
            settings = bench.settings(input_topic=bench.filled(mix, _WARM_UP + _TWEETS))
            ceiling = bench.program("ceiling", settings, _WARM_UP, _TWEETS, worker.alerts)
            beside = {"worker": worker, "ceiling": ceiling}
            if mix == "distinct":
                beside |= others(bench, model, first=number == 0)
            for name, run in beside.items():
                runs.setdefault(f"{name} {model}", []).append(run)
        found[mix] = {name: median(some) for name, some in runs.items()}
    return found


def others(bench: Bench, model: str, *, first: bool) -> dict[str, Run]:
    """Run each of the other ways with a model; only those in batches unless `first`."""
    found = {}
    for name, (warm_up, tweets) in _SLOWER.items():
        program, _, form = name.partition("-")
        if form != "many" and not first:
            continue
        settings = bench.settings(input_topic=bench.filled("distinct", _WARM_UP + _TWEETS))
        bundle = bench.models[model]
        arguments = [warm_up, tweets, bundle, form] if form else [warm_up, tweets, bundle]
        found[name] = bench.program(program, settings, *arguments)
    return found


def median(runs: list[Run]) -> dict[str, Any]:
    """Return each figure's median, and the rates of which it is the median."""
    return {
        name: statistics.median(getattr(run, name) for run in runs)
        for name in ("rate", "cpu", "resident", "start_up", "alerts")
    } | {
        "rates": [round(run.rate, 1) for run in runs],
        "steps": {
            step: statistics.median(run.steps[step] for run in runs) for step in runs[0].steps
        },
    }


def tables(found: dict[str, Any]) -> list[Table]:
    """Return the results as tables."""
    return [_rates(found), _steps(found)]


def ratio(worker: Sequence[float], other: Sequence[float]) -> float:
    """Return the median ratio of runs that were next to each other."""
    return statistics.median(mine / its for mine, its in zip(worker, other, strict=False))


def _rates(found: dict[str, Any]) -> Table:
    table = Table(
        *("tweets", "contender", "tweets/s", "of the ceiling", "× Quix in batches", "× Quix, one"),
        *("× notebook", "CPU s / 10⁶", "MB", "s to first alert"),
        box=box.SIMPLE_HEAD,
        title="Rates",
    )
    for mix, contenders in found.items():
        for name, figures in contenders.items():
            kind, _, model = name.partition(" ")
            ratios = [""] * (1 + len(_SLOWER))
            if kind == "worker":
                beside = [contenders.get(f"{other} {model}") for other in ("ceiling", *_SLOWER)]
                formats = ["{:.0%}"] + ["{:,.1f}"] * len(_SLOWER)
                ratios = [
                    form.format(ratio(figures["rates"], other["rates"])) if other else ""
                    for form, other in zip(formats, beside, strict=True)
                ]
            rate = figures["rate"]
            table.add_row(
                mix,
                name,
                f"{rate:,.0f}" if rate > 100 else f"{rate:.1f}",
                *ratios,
                f"{figures['cpu']:,.0f}",
                f"{figures['resident']:,.0f}",
                f"{figures['start_up']:.1f}",
            )
    return table


def _steps(found: dict[str, Any]) -> Table:
    some = next(figures for figures in found["distinct"].values() if figures["steps"])
    table = Table("tweets", "worker", *some["steps"], box=box.SIMPLE_HEAD)
    table.title = "Microseconds per tweet by step"
    for mix, contenders in found.items():
        for name, figures in contenders.items():
            if figures["steps"]:
                steps = (f"{value:.1f}" for value in figures["steps"].values())
                table.add_row(mix, name.removeprefix("worker "), *steps)
    return table

"""Rates: the worker beside the ceiling, Quix Streams and the notebook's way, run in turn."""

import statistics
from collections.abc import Callable
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
    """Medians of the runs, by mix and contender; the contenders take turns.

    The ceiling forwards as large a share as the models' alerts were in the same round.
    """
    found: dict[str, Any] = {}
    for mix in MIXES:
        runs: dict[str, list[Run]] = {}
        for number in range(bench.runs):
            for model in bench.models:
                tell(f"run {number + 1} of {bench.runs}, {mix} tweets: the worker with {model}")
                run = worker_run(bench, model, mix, _WARM_UP, _TWEETS)
                runs.setdefault(f"worker {model}", []).append(run)
            shares = [run[-1].alerts for run in runs.values() if len(run) > number]
            settings = bench.settings(input_topic=bench.filled(mix, _WARM_UP + _TWEETS))
            share = statistics.mean(shares)
            tell(f"run {number + 1} of {bench.runs}, {mix} tweets: the others")
            run = bench.program("ceiling", settings, _WARM_UP, _TWEETS, share)
            runs.setdefault("ceiling", []).append(run)
            if mix == "distinct":
                for name, other in others(bench, first=number == 0).items():
                    runs.setdefault(name, []).append(other)
        found[mix] = {name: median(some) for name, some in runs.items()}
    return found


def others(bench: Bench, *, first: bool) -> dict[str, Run]:
    """A run of each of the other ways, with each model; only the first is of all of them."""
    found = {}
    for model, bundle in bench.models.items():
        for name, (warm_up, tweets) in _SLOWER.items():
            program, _, form = name.partition("-")
            if form != "many" and not first:
                continue
            settings = bench.settings(input_topic=bench.filled("distinct", _WARM_UP + _TWEETS))
            arguments = [warm_up, tweets, bundle, form] if form else [warm_up, tweets, bundle]
            found[f"{name} {model}"] = bench.program(program, settings, *arguments)
    return found


def median(runs: list[Run]) -> dict[str, Any]:
    """Each figure's median, and the rates that it was taken of."""
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
    """What was found, to be printed."""
    return [_rates(found), _steps(found)]


def _rates(found: dict[str, Any]) -> Table:
    table = Table(
        *("tweets", "contender", "tweets/s", "of the ceiling", "× Quix in batches", "× Quix, one"),
        *("× notebook", "CPU s / 10⁶", "MB", "s to first alert"),
        box=box.SIMPLE_HEAD,
        title="Rates",
    )
    for mix, contenders in found.items():
        for name, figures in contenders.items():
            rate = figures["rate"]
            kind, _, model = name.partition(" ")

            def times(other: str, rate: float = rate, model: str = model) -> str:
                slower = found["distinct"].get(f"{other} {model}")
                return f"{rate / slower['rate']:,.1f}" if slower else ""

            of_worker = [times(o) for o in _SLOWER] if kind == "worker" else ["", "", ""]
            table.add_row(
                mix,
                name,
                f"{rate:,.0f}" if rate > 100 else f"{rate:.1f}",
                f"{rate / contenders['ceiling']['rate']:.0%}" if kind == "worker" else "",
                *of_worker,
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

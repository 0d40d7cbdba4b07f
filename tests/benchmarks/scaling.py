"""Scaling: members of one group on this machine, by their number and the size of their batches."""

import statistics
from collections.abc import Callable
from typing import Any

from rich import box
from rich.table import Table

from tests.benchmarks.bench import Bench
from tests.benchmarks.burst import bursts

_TWEETS = 40_000
_PARTITIONS = 8
_SIZES = ((1, 256), (1, 4096), (2, 256), (2, 4096), (4, 1024))
"""Members, and tweets in a batch at most, which one model is measured with beside 1 and 2 members
with batches of 1,024."""


def measure(bench: Bench, tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """Return the medians of bursts by model, members and batch size."""
    found = []
    for number, model in enumerate(bench.models):
        for members, batch_size in ((1, 1024), (2, 1024), *(_SIZES if number == 1 else ())):
            tell(f"{members} members with {model}, batches of {batch_size}")
            settings = bench.settings(_PARTITIONS, batch_size=batch_size)
            runs = bursts(bench, settings, model, members, _TWEETS, bench.runs)
            row: dict[str, Any] = {"model": model, "members": members, "batch_size": batch_size}
            row["rate"] = statistics.median(run.rate for run in runs)
            row["rates"] = [round(run.rate) for run in runs]
            row["batch"] = statistics.median(run.batch for run in runs)
            row["cpu"] = statistics.median(run.cores["members"] / run.rate * 1e6 for run in runs)
            for name in runs[0].cores:
                row[f"{name}_cores"] = statistics.median(run.cores[name] for run in runs)
            tell(f"{row['rate']:,.0f} tweets/s, {row['cpu']:.0f} CPU seconds per million")
            found.append(row)
    return found


def tables(found: list[dict[str, Any]]) -> list[Table]:
    """Return the results as tables."""
    table = Table(
        *("model", "members", "TRIAGE_BATCH_SIZE", "tweets/s", "in a batch"),
        *("CPU s / 10⁶", "members' cores", "broker's", "generator's"),
        box=box.SIMPLE_HEAD,
        title=f"Members, with {_PARTITIONS} partitions, all texts distinct, beside the generator",
    )
    for row in found:
        table.add_row(
            *(row["model"], str(row["members"]), f"{row['batch_size']:,}", f"{row['rate']:,.0f}"),
            f"{row['batch']:,.0f}",
            f"{row['cpu']:,.0f}",
            *(f"{row[f'{name}_cores']:.2f}" for name in ("members", "broker", "generator")),
        )
    return [table]

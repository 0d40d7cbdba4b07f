"""Report: what a run did and the verdict, in a table for people."""

import statistics
from collections import Counter

from rich import box
from rich.markup import escape
from rich.table import Table

from tests.faults.recovery import Recovery
from tests.faults.run import Report
from tests.faults.soak import Soak


def table(report: Report | Recovery | Soak) -> Table:
    """Return a report as a table."""
    if isinstance(report, Recovery):
        return _recovery(report)
    return _soak(report) if isinstance(report, Soak) else _run(report)


def _recovery(report: Recovery) -> Table:
    made = Table("seconds after kill -9", "median", "longest", "times", box=box.SIMPLE_HEAD)
    for name, seconds in (
        ("worker: another commits on one of its partitions", report.first_moved),
        ("worker: others commit on all of its partitions", report.all_moved),
        ("only broker: it listens again", report.broker_back),
        ("only broker: a new alert is at a subscriber", report.alerts_flow),
    ):
        median, longest = statistics.median(seconds), max(seconds)
        made.add_row(name, f"{median:.1f}", f"{longest:.1f}", str(len(seconds)))
    return made


def _soak(report: Soak) -> Table:
    made = Table(f"{report.tweets} distinct tweets", "", box=box.SIMPLE_HEAD)
    after = [memory for tweets, memory in report.samples if tweets >= report.warm_up]
    low, high = report.interval
    rate = report.tweets / report.seconds
    made.add_row("took", f"{report.seconds:.0f} s, {rate:,.0f} tweets/s")
    made.add_row("warm-up", f"{report.warm_up} tweets")
    made.add_row("resident memory after it", f"{min(after):.0f} to {max(after):.0f} MB")
    made.add_row("slope", f"{report.slope:+.2f} MB for a million tweets")
    made.add_row("95 % interval", f"{low:+.2f} to {high:+.2f}")
    made.add_row("correlation of neighbouring blocks", f"{report.correlation:.2f}, allowed for")
    return made


def _run(report: Report) -> Table:
    made = Table(f"seed {report.seed}, {report.seconds:.0f} s", "", box=box.SIMPLE_HEAD)
    verdict = report.verdict
    made.add_row("faults", f"{sum(report.faults.values())}: {_listed(report.faults)}")
    made.add_row("had to leave a trace", f"{report.traces} of them")
    made.add_row("records that faults took out", _listed(verdict.taken_out))
    exits = Counter(f"{end.cause} ({end.code})" for end in report.exits)
    made.add_row("workers' ends", _listed(exits))
    made.add_row("deliveries refused", f"{report.refused_deliveries}, to members that were none")
    refused = f"; refused: {_listed(report.refused)}" if report.refused else ""
    made.add_row("sent", f"{report.sent}, of which {report.confirmed} confirmed{refused}")
    made.add_row("input partitions", str(report.partitions))
    made.add_row("account", _listed(verdict.account))
    made.add_row("dead letters", _listed(verdict.by_reason))
    made.add_row("alerts by version", _listed(verdict.by_version))
    seconds = verdict.latencies
    if seconds:
        at = {name: seconds[int(q * (len(seconds) - 1))] for name, q in _QUANTILES.items()}
        made.add_row("record to alert", ", ".join(f"{name} {s:.1f} s" for name, s in at.items()))
    made.add_row("all consumed", f"{report.drained_in:.1f} s after the last fault")
    for violation in verdict.violations:
        made.add_row("[bold red]violation[/]", escape(violation))
    if not verdict.violations:
        made.add_row("[bold green]verdict[/]", "every promise was kept")
    return made


_QUANTILES = {"median": 0.5, "90 %": 0.9, "99 %": 0.99, "longest": 1.0}


def _listed(counts: dict[str, int] | dict[int, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in counts.items())

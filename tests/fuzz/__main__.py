"""Sends records of every kind through the worker's triage: each must end in exactly one way.

    uv run python -m tests.fuzz --count N --seed N

It ends with 1 if one did not, and shows that record.
"""

import argparse
import random
import sys
import tempfile
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from shared.bundle.load import load_bundle
from tests.faults.__main__ import train
from tests.fuzz.run import fuzz


def main() -> int:
    """Run, print the report, and return 1 if a promise was broken."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--count", type=int, default=100_000, help="default: %(default)s")
    parser.add_argument(
        "--seed", type=int, default=random.randrange(10**6), help="default: a new one"
    )
    parser.add_argument(
        "--bundle", type=Path, metavar="FOLDER", help="default: an LSTM trained on the sample"
    )
    arguments = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"seed {arguments.seed}")
    with tempfile.TemporaryDirectory(prefix="triage-fuzz-") as folder:
        path = arguments.bundle or train(Path(folder)) / "LSTM"
        report = fuzz(load_bundle(path), arguments.count, arguments.seed)
    made = Table(f"{report.inputs} records", "", box=box.SIMPLE_HEAD)
    for name, number in report.outcomes.most_common():
        made.add_row(name, str(number))
    made.add_row("took", f"{report.seconds:.0f} s")
    made.add_row("slowest record", f"{report.slowest:.2f} s of processor time")
    made.add_row("violations", str(len(report.violations)))
    console.print(made)
    for violation in report.violations[:20]:
        console.print(f"  {escape(violation)}")
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())

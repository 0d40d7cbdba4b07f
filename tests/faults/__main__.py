"""Disturbs real workers and brokers at random, and holds the outcome against the truth.

    uv run python -m tests.faults --seed N --seconds S [--json FILE]
    uv run python -m tests.faults --recovery TIMES [--json FILE]
    uv run python -m tests.faults --soak TWEETS [--json FILE]

The first ends with 1 if a promise was broken, and leaves its logs where it says then.
"""

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
from rich.console import Console

from shared.registry.folder import FolderRegistry
from tests.conftest import SAMPLE, Trained
from tests.faults.recovery import Recovery, measure
from tests.faults.report import table
from tests.faults.run import Report, run
from tests.faults.soak import Soak, soak
from tests.kafka.processes import environment_of
from worker.settings import Settings


def main() -> int:
    """Run, print the report, and return 1 if a promise was broken."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--seed", type=int, default=random.randrange(10**6), help="default: a new one"
    )
    parser.add_argument("--seconds", type=float, default=60, help="of faults; default: %(default)s")
    parser.add_argument(
        "--rate", type=float, default=200, help="records per second; default: %(default)s"
    )
    parser.add_argument(
        "--recovery", type=int, metavar="TIMES", help="instead: time how kills are recovered from"
    )
    parser.add_argument(
        "--soak", type=int, metavar="TWEETS", help="instead: send so many through one worker"
    )
    parser.add_argument(
        "--bundles", type=Path, metavar="FOLDER", help="default: trained on the sample"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report to FILE")
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # both end all that was started
        signal.signal(number, signal.default_int_handler)
    console = Console(highlight=False, soft_wrap=True)
    folder = Path(tempfile.mkdtemp(prefix="triage-faults-"))
    console.print(f"seed {arguments.seed}, logs in {folder}")
    bundles = arguments.bundles or train(folder)
    report: Report | Recovery | Soak
    if arguments.recovery:
        report = measure(arguments.recovery, bundles, folder, console.print)
    elif arguments.soak:
        report = soak(arguments.soak, bundles, folder, console.print)
    else:
        report = run(
            arguments.seed, arguments.seconds, arguments.rate, bundles, folder, console.print
        )
    console.print(table(report))
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))
    if isinstance(report, Report) and report.verdict.violations:
        return 1
    shutil.rmtree(folder)
    return 0


def train(folder: Path) -> Path:
    """Train the three models on the sample, and return the folder of their bundles."""
    bundles = folder / "bundles"
    train = [sys.executable, "-m", "trainer.cli", "train", "--data", str(SAMPLE)]
    train += ["--recipe", "tuned"]
    subprocess.run(
        [*train, "--bundles", str(bundles)],
        env=environment_of(
            Settings(), Trained(FolderRegistry(folder / "trained"), bundles, folder, {})
        ),
        check=True,
    )
    return bundles


if __name__ == "__main__":
    sys.exit(main())

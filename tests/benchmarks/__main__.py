"""Measures the worker beside its ceiling and other ways to do its work, through a real Kafka.

    uv run python -m tests.benchmarks [--only NAME …] [--data FILE] [--bundles FOLDER] [--json FILE]

    rates     tweets/s: the worker with each model; `ceiling`, kafka-python with nothing between
              consuming and publishing; Quix Streams in batches and a tweet at a time; the
              notebook's way
    latency   from publication to the visible alert at half load, by `TRIAGE_BATCH_WAIT_MS`, and
              without a model
    scaling   one, two and four members by the size of their batches, beside a load generator
    parts     text → ids and predict alone, on one core
    device    encode, pad and predict by the size of the batches, on a GPU if there is one

Trust ratios within a run more than figures: broker, generator and contenders share this machine.
"""

import argparse
import json
import platform
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from tests.benchmarks import device, latency, parts, rates, scaling
from tests.benchmarks.bench import Bench
from tests.conftest import SAMPLE
from worker.demo.local_kafka import LocalKafka

_MEASUREMENTS = {
    "rates": rates,
    "latency": latency,
    "scaling": scaling,
    "parts": parts,
    "device": device,
}


def main() -> None:
    """Measure, and print tables."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", choices=_MEASUREMENTS, action="append", help="default: all")
    parser.add_argument("--runs", type=int, default=3, help="of each; default: %(default)s")
    parser.add_argument("--data", type=Path, default=SAMPLE, help="labelled tweets")
    parser.add_argument("--bundles", type=Path, help="of a training; default: trains on the data")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # both end all that was started
        signal.signal(number, signal.default_int_handler)
    console = Console(width=160, highlight=False)
    told = Console(stderr=True, highlight=False)
    begun = time.monotonic()

    def tell(what: str) -> None:
        told.print(f"{time.monotonic() - begun:5.0f} s  load {psutil.getloadavg()[0]:.1f}  {what}")

    found: dict[str, Any] = {"machine": _machine(), "load": psutil.getloadavg()[0]}
    with tempfile.TemporaryDirectory(prefix="triage-benchmark-") as name, LocalKafka() as kafka:
        folder = Path(name)
        bundles = arguments.bundles or folder / "bundles"
        bench = Bench(kafka, bundles, arguments.data, folder, arguments.runs)
        for measurement in arguments.only or _MEASUREMENTS:
            module: Any = _MEASUREMENTS[measurement]
            found[measurement] = module.measure(bench, tell)
            for table in module.tables(found[measurement]):
                console.print(table)
            if arguments.json:
                arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    console.print(f"{found['machine']}; load before {found['load']:.1f}")


def _machine() -> str:
    memory = psutil.virtual_memory().total / 1e9
    return f"{psutil.cpu_count()} cores, {memory:.0f} GB, Python {platform.python_version()}"


if __name__ == "__main__":
    main()

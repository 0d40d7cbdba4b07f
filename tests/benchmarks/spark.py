"""Speed of the Spark job beside `predict`: python -m tests.benchmarks.spark BUNDLE…

Both programs score the same JSON Lines of distinct texts into Parquet, by turns, each pinned to one
core. Before, each scores a short file: a rate counts the rows and the seconds that the long file
takes beyond it, so that it does not depend on the time to start.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

from shared.bundle.files import read_manifest
from shared.registry.folder import FolderRegistry
from tests.benchmarks.tweets import mixed
from tests.conftest import ROOT, SAMPLE
from trainer.data.read import read_dataset

SHORT, LONG = 1_000, 1_000_000
ROUNDS = 2

_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "PYSPARK_PYTHON": sys.executable,
    "PYTHONPATH": str(ROOT),
    "SPARK_LOCAL_IP": "127.0.0.1",
}
_PROGRAMS = Path(sys.executable).parent

Command = Callable[[Path, Path], Sequence[str | Path]]
"""The file of tweets and the file to write → the command that scores them."""


def main(bundles: Sequence[str]) -> None:
    """Measure each bundle, and print the figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for rows in (SHORT, LONG):
            _write(folder / f"{rows}.jsonl", rows)
        for bundle in map(Path, bundles):
            predict, spark = _predict(bundle, folder / "registry"), _spark(bundle)
            short, long = folder / f"{SHORT}.jsonl", folder / f"{LONG}.jsonl"
            starts = [_seconds(program, short) for program in (predict, spark)]
            name = read_manifest(bundle).name
            print(f"{name}: {SHORT} tweets: predict {starts[0]:.1f} s, Spark {starts[1]:.1f} s")
            ratios = []
            for _ in range(ROUNDS):
                alone, of_spark = (
                    (LONG - SHORT) / (_seconds(program, long) - start)
                    for program, start in zip((predict, spark), starts, strict=True)
                )
                ratios.append(of_spark / alone)
                print(f"predict {alone:,.0f}, Spark {of_spark:,.0f} tweets/s: {ratios[-1]:.0%}")
            print(f"median: {statistics.median(ratios):.0%}", flush=True)


def _write(path: Path, rows: int) -> None:
    texts = islice(mixed(read_dataset(SAMPLE).texts, "distinct"), rows)
    with path.open("w") as lines:
        lines.writelines(json.dumps({"id": n, "text": text}) + "\n" for n, text in enumerate(texts))


def _predict(bundle: Path, folder: Path) -> Command:
    registry = FolderRegistry(folder)
    number = str(registry.register(bundle, "candidate").number)
    program: list[str | Path] = ["env", f"TRIAGE_REGISTRY={registry.url}"]
    program += [_PROGRAMS / "triage-trainer", "predict"]
    return lambda tweets, out: [*program, "--version", number, "--data", tweets, "--out", out]


def _spark(bundle: Path) -> Command:
    program: list[str | Path] = [_PROGRAMS / "spark-submit", "--master", "local[1]"]
    program.append(ROOT / "deploy" / "spark" / "score.py")
    return lambda tweets, out: [*program, tweets, out, "--bundle", bundle]


def _seconds(command: Command, tweets: Path) -> float:
    out = tweets.with_suffix(".parquet")
    start = time.monotonic()
    done = subprocess.run(
        ["taskset", "--cpu-list", "0", *command(tweets, out)],
        env=os.environ | _ENVIRONMENT | {"TRIAGE_CACHE": str(tweets.parent / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - start
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    if out.is_dir():
        shutil.rmtree(out)
    else:
        out.unlink()
    return seconds


if __name__ == "__main__":
    main(sys.argv[1:])

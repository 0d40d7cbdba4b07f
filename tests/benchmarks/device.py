"""Device: encode → pad → predict by the size of the batches, on a GPU if there is one.

    python -m tests.benchmarks.device --bundles FOLDER --texts FILE [--processes N …] [--json FILE]

Needs no Kafka: a folder of bundles of any recipe, a JSON list of texts, and Keras on any
backend (`KERAS_BACKEND`). Each text gets a link, a mention or a number that is new. Encode and pad
are work of one CPU core; predict is from the padded batch to the probabilities, and brings what the
table of tokens lacks to the device. NumPy does the same on one core.

How busy the GPU is, NVML tells: the share of time in which a kernel ran, whatever part of the GPU
it took. It is asked five times a second while the pipeline goes round, but for the first second,
because what it tells is of the last sixth of a second up to a whole one.
"""

import argparse
import contextlib
import itertools
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table

from shared.bundle.files import MANIFEST
from shared.bundle.load import load_bundle
from shared.model.keras_model import KerasModel, import_keras, keras_device
from shared.model.numpy_model import NumpyModel
from shared.model.scorer import Scorer
from tests.benchmarks.tweets import mixed

if TYPE_CHECKING:
    from tests.benchmarks.bench import Bench

_SIZES = (64, 256, 1024, 4096, 16_384)
_SIZE = 4096
"""Tweets in a batch where several processes share the device."""
_FASTEST = 150_000
"""Tweets/s that one process may reach; so many texts are made before time counts."""
_PATIENCE = 300
"""Seconds in which a process loads and warms up."""

Steps = dict[str, float]
"""Tweets/s of `encode`, `pad`, `predict` and `whole`, and the GPU's `busy` in per cent."""


def measure(bench: "Bench", tell: Callable[[str], None]) -> dict[str, Any]:
    """Run `main` for the bench's models in a process of its own, and return its output."""
    tell("encode, pad and predict by the size of the batches")
    bundles = next(iter(bench.models.values())).parent
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "device.json"
        command = [sys.executable, "-m", "tests.benchmarks.device", "--json", str(figures)]
        command += ["--bundles", str(bundles), "--texts", str(bench.texts)]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        found: dict[str, Any] = json.loads(figures.read_text())
    return found


def tables(found: dict[str, Any]) -> list[Table]:
    """Return the results as tables."""
    title = f"Device: {found['device']}, Keras on {found['backend']}; tweets/s"
    table = Table(box=box.SIMPLE_HEAD, title=title)
    heads = ("model", "in a batch", "encode", "pad", "predict", "whole", "busy, %")
    for head in (*heads, "NumPy: predict", "whole"):
        table.add_column(head, justify="right")
    for model, figures in found["models"].items():
        for size, on_device in figures["device"].items():
            on_core = figures["numpy"][size]
            table.add_row(
                model,
                f"{int(size):,}",
                *(f"{on_device[step]:,.0f}" for step in ("encode", "pad", "predict", "whole")),
                _percent(on_device),
                *(f"{on_core[step]:,.0f}" for step in ("predict", "whole")),
            )
        for processes, together in figures["processes"].items():
            rows = f"{processes} × {_SIZE:,}"
            table.add_row(model, rows, *[""] * 3, f"{together['whole']:,.0f}", _percent(together))
    return [table]


def main() -> None:
    """Measure all bundles of a folder."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.device",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--bundles", type=Path, required=True, help="of a training")
    parser.add_argument("--texts", type=Path, required=True, help="a JSON list")
    parser.add_argument("--sizes", type=int, nargs="+", default=_SIZES, help="of the batches")
    parser.add_argument("--seconds", type=float, default=3, help="of each measurement")
    parser.add_argument("--processes", type=int, nargs="*", default=[], help="at the same time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    arguments = parser.parse_args()
    labelled: list[str] = json.loads(arguments.texts.read_text())
    models: dict[str, Any] = {}
    for manifest in sorted(arguments.bundles.glob(f"*/{MANIFEST}")):
        bundle = manifest.parent
        models[bundle.name] = _measure(bundle, labelled, arguments.sizes, arguments.seconds)
        models[bundle.name]["processes"] = {
            count: _together(bundle, labelled, arguments.seconds, count)
            for count in arguments.processes
        }
        sys.stderr.write(f"{bundle.name}: {json.dumps(models[bundle.name])}\n")
        found = {
            "device": keras_device(),
            "backend": import_keras().backend.backend(),
            "models": models,
        }
        if arguments.json:
            arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    for table in tables(json.loads(json.dumps(found))):
        Console(width=160, highlight=False).print(table)
    for name, figures in models.items():
        Console(width=160, highlight=False).print(
            f"{name}: warm-up {figures['warm_up_seconds']:.1f} s, probabilities on the device "
            f"and in NumPy differ by {figures['difference']:.1e} at most"
        )


def _measure(
    bundle: Path, labelled: Sequence[str], sizes: Sequence[int], seconds: float
) -> dict[str, Any]:
    """Measure both ways to serve a bundle, and how far their probabilities differ."""
    found: dict[str, Any] = {}
    probabilities = []
    for name, new_model in (("device", KerasModel), ("numpy", NumpyModel)):
        scorer = load_bundle(bundle, new_model).scorer
        start = time.perf_counter()
        scorer.warm_up(max(sizes) if new_model is KerasModel else 1)
        found.setdefault("warm_up_seconds", time.perf_counter() - start)
        probabilities.append(scorer.score(labelled))  # its chunks have been seen from here on
        stream = mixed(labelled, "distinct")
        found[name] = {size: _go_round(scorer, stream, size, seconds) for size in sizes}
    found["difference"] = float(abs(probabilities[0] - probabilities[1]).max())
    return found


def _go_round(
    scorer: Scorer,
    stream: Iterator[str],
    size: int,
    seconds: float,
    begin: Callable[[], object] = lambda: None,
) -> Steps:
    """Score batches of a stream for this long, starting when `begin` returns."""
    texts = list(itertools.islice(stream, int(seconds * _FASTEST)))
    scored = 0
    encoding = padding = predicting = 0.0
    begin()
    with _busy() as samples:
        start = time.perf_counter()
        while scored + size <= len(texts) and time.perf_counter() - start < seconds:
            before = time.perf_counter()
            encoded = scorer.encode(texts[scored : scored + size])
            encoded_at = time.perf_counter()
            padded = scorer.pad(encoded)
            padded_at = time.perf_counter()
            scorer.predict(padded)
            predicting += time.perf_counter() - padded_at
            padding += padded_at - encoded_at
            encoding += encoded_at - before
            scored += size
    spent = {"encode": encoding, "pad": padding, "predict": predicting}
    spent["whole"] = sum(spent.values())
    rates = {step: scored / taken for step, taken in spent.items()}
    return rates | ({"busy": statistics.mean(samples)} if samples else {})


def _together(bundle: Path, labelled: Sequence[str], seconds: float, count: int) -> Steps:
    """Run processes on one device at the same time, and return their summed rate."""
    context = multiprocessing.get_context("spawn")
    barrier, rates = context.Barrier(count + 1), context.SimpleQueue()
    processes = [
        context.Process(target=_member, args=(bundle, labelled, seconds, number, barrier, rates))
        for number in range(count)
    ]
    for process in processes:
        process.start()
    barrier.wait(_PATIENCE)
    with _busy() as samples:
        whole = sum(rates.get() for _ in processes)
    for process in processes:
        process.join()
    return {"whole": whole} | ({"busy": statistics.mean(samples)} if samples else {})


def _member(
    bundle: Path, labelled: Sequence[str], seconds: float, number: int, barrier: Any, rates: Any
) -> None:
    scorer = load_bundle(bundle, KerasModel).scorer
    scorer.score(labelled)
    first = int(number * seconds * _FASTEST)
    stream = mixed(labelled, "distinct", first)
    _go_round(scorer, stream, _SIZE, 1)  # makes what this size of batches needs
    rates.put(_go_round(scorer, stream, _SIZE, seconds, lambda: barrier.wait(_PATIENCE))["whole"])


@contextlib.contextmanager
def _busy() -> Iterator[list[float]]:
    """Sample the GPU's utilisation in per cent. The list stays empty without NVML."""
    samples: list[float] = []
    try:
        import pynvml

        pynvml.nvmlInit()
        gpu = pynvml.nvmlDeviceGetHandleByIndex(0)
    except Exception:  # noqa: BLE001  # no package, no driver or no GPU
        yield samples
        return
    stop = threading.Event()

    def sample() -> None:
        if not stop.wait(1):
            while not stop.wait(0.2):
                samples.append(pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        stop.set()
        thread.join()


def _percent(steps: Steps) -> str:
    return f"{steps['busy']:.0f}" if "busy" in steps else "–"


if __name__ == "__main__":
    main()

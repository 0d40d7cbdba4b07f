"""Measures the worker beside the notebook's way, through a real Kafka, in one run.

    uv run python -m tests.benchmarks --data FILE [--tweets N] [--json FILE]

    worker    `triage-worker run` as a process, with each model of the tuned recipe
    notebook  what a notebook does with a message: spaCy, ids, padding to 140, `model.predict`,
              send, flush, commit; with the same models

Rates are tweets per second of wall time on this machine, which the broker shares; trust the ratios.
"""

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np
from kafka import KafkaConsumer, KafkaProducer
from rich import box
from rich.console import Console
from rich.table import Table
from safetensors.numpy import load_file

from shared.bundle import MANIFEST, PIPELINE, VOCABULARY, WEIGHTS, read_manifest
from shared.folder_registry import FolderRegistry
from shared.models import build_model, import_keras, set_weights
from shared.settings import Settings
from shared.text import UNKNOWN_ID, pipeline_from_bytes, plain_words
from tests.conftest import SAMPLE, Trained
from tests.integration.processes import environment_of, running, settings_of, wait_for
from worker.kafka_clients.publisher import Publisher
from worker.kafka_clients.records import Message
from worker.local_kafka import LocalKafka

RUNS = 3


def main() -> None:
    """Trains, measures, and prints the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--data", type=Path, default=SAMPLE, help="labelled tweets")
    parser.add_argument("--tweets", type=int, default=60_000, help="for a run of the worker")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="triage-benchmark-") as name, LocalKafka() as kafka:
        figures = measure(arguments.data, arguments.tweets, Path(name), kafka)
    table = Table("model", "worker, tweets/s", "notebook, tweets/s", "ratio", box=box.SIMPLE_HEAD)
    for model, found in figures.items():
        table.add_row(
            model, f"{found['worker']:,.0f}", f"{found['notebook']:.1f}", f"{found['ratio']:,.0f}"
        )
    Console().print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


def measure(
    data: Path, tweets: int, folder: Path, kafka: LocalKafka
) -> dict[str, dict[str, float]]:
    """Tweets per second by model, of the worker and of the notebook's way; medians of the runs."""
    bundles, held_out = folder / "bundles", folder / "held_out.csv"
    registry = FolderRegistry(folder / "registry")
    trained = Trained(registry, bundles, held_out, {})
    train = [sys.executable, "-m", "trainer.cli", "train", "--data", str(data)]
    train += ["--bundles", str(bundles), "--test-out", str(held_out)]
    subprocess.run(train, env=environment_of(Settings(), trained), check=True)
    with held_out.open(newline="", encoding="utf-8") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    values = [json.dumps({"id": n, "text": texts[n % len(texts)]}).encode() for n in range(tweets)]
    figures = {}
    for bundle in sorted(path.parent for path in bundles.glob(f"*/{MANIFEST}")):
        alias = bundle.name.lower()
        registry.register(bundle, alias)
        runs: dict[str, list[float]] = {"worker": [], "notebook": []}
        notebook = NotebooksWay(bundle, kafka)
        for run in range(RUNS):
            settings = settings_of(kafka, f"{alias}-{run}")
            publisher = Publisher(settings)
            publisher.publish(Message(settings.input_topic, None, v, []) for v in values)
            publisher.close()
            environment = environment_of(settings, trained) | {"TRIAGE_MODEL_ALIAS": alias}
            runs["worker"].append(worker_rate(environment, tweets, folder / f"{alias}-{run}"))
            runs["notebook"].append(notebook(settings, 100))
        medians = {name: statistics.median(rates) for name, rates in runs.items()}
        figures[bundle.name] = medians | {"ratio": medians["worker"] / medians["notebook"]}
    return figures


def worker_rate(environment: dict[str, str], tweets: int, log: Path) -> float:
    """From joining the group to the last commit, of a topic that is full when it begins."""
    with running(environment, log) as worker:
        start = time.time()
        wait_for(lambda: worker.consumed() == tweets, 300, every=0.5)  # it costs the worker
        seconds = worker.metrics()["triage_last_progress_timestamp_seconds"] - start
    return tweets / seconds


class NotebooksWay:
    """A message at a time, as the article's notebook would be put behind a consumer."""

    def __init__(self, bundle: Path, kafka: LocalKafka) -> None:
        manifest = read_manifest(bundle)
        self._manifest = manifest
        self._servers = kafka.bootstrap_servers
        self._pipeline = pipeline_from_bytes((bundle / PIPELINE).read_bytes())
        words = json.loads((bundle / VOCABULARY).read_text("utf-8"))
        self._ids = {word: number for number, word in enumerate(words)}
        self._model = build_model(manifest.architecture)
        set_weights(self._model, load_file(bundle / WEIGHTS))

    def __call__(self, settings: Settings, tweets: int) -> float:
        """Tweets per second over that many tweets, after ten to warm up."""
        pad_sequences = import_keras().utils.pad_sequences
        consumer = KafkaConsumer(
            settings.input_topic,
            bootstrap_servers=self._servers,
            group_id=f"{settings.group_id}-notebook",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        producer = KafkaProducer(bootstrap_servers=self._servers)
        with closing(consumer), closing(producer):
            start = 0.0
            for number, record in enumerate(consumer):
                if number == 10:
                    start = time.perf_counter()
                if number == tweets + 10:
                    break
                text = json.loads(record.value)["text"]
                words = plain_words(self._pipeline, text, rewrite=self._manifest.text.rewrite)
                ids = [[self._ids.get(word, UNKNOWN_ID) for word in words]]
                padded = pad_sequences(ids, maxlen=140, padding="post")
                logit = np.ravel(self._model.predict(padded, verbose=0))
                (probability,) = self._manifest.calibration.probabilities(logit)
                if probability >= self._manifest.threshold:
                    producer.send(settings.alerts_topic, record.value)
                    producer.flush()
                consumer.commit()
            return tweets / (time.perf_counter() - start)


if __name__ == "__main__":
    main()

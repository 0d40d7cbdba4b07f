"""Bench: what all measurements share, which are a Kafka, the three models, and tweets."""

import itertools
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from shared.bundle.files import MANIFEST, read_manifest
from shared.registry.folder import FolderRegistry
from tests.benchmarks.run import Run
from tests.benchmarks.tweets import values
from tests.conftest import Trained
from tests.kafka.processes import environment_of, settings_of
from trainer.data.read import read_dataset
from worker.demo.local_kafka import LocalKafka
from worker.kafka.publisher import Publisher
from worker.kafka.records import Message
from worker.settings import Settings


class Bench:
    """A running Kafka with trained models.

    Args:
        bundles: the folder of a training's bundles, which are trained here if it is empty.
        data: labelled tweets, as `triage-trainer train` takes them; the stream is made of them all.
        folder: for everything else.
        runs: of each contender, of which the medians are told.

    Attributes:
        models: the bundles by name, each with an alias, which is the name in lower case.
        texts: a file of the data's texts, as a JSON list.
    """

    def __init__(
        self, kafka: LocalKafka, bundles: Path, data: Path, folder: Path, runs: int
    ) -> None:
        self.kafka, self.folder, self.runs = kafka, folder, runs
        registry = FolderRegistry(folder / "registry")
        self._trained = Trained(registry, bundles, folder / "held_out.csv", {})
        self._numbers = itertools.count()
        self._used = 0
        if not list(bundles.glob(f"*/{MANIFEST}")):
            train = [sys.executable, "-m", "trainer.cli", "train", "--data", str(data)]
            environment = environment_of(Settings(), self._trained)
            subprocess.run([*train, "--bundles", str(bundles)], env=environment, check=True)
        self.models = {path.parent.name: path.parent for path in bundles.glob(f"*/{MANIFEST}")}
        order = ("feed-forward", "lstm", "bidirectional-lstm")
        self.models = dict(
            sorted(
                self.models.items(),
                key=lambda model: order.index(read_manifest(model[1]).architecture.kind),
            )
        )
        for name, bundle in self.models.items():
            registry.register(bundle, name.lower())
        self._data = read_dataset(data).texts
        self.texts = folder / "texts.json"
        self.texts.write_text(json.dumps(self._data))
        self._filled: dict[tuple[str, int], str] = {}

    def settings(self, partitions: int = 3, **changes: object) -> Settings:
        """Return settings with new topics and a new group."""
        settings = settings_of(self.kafka, f"bench-{next(self._numbers)}", partitions)
        return msgspec.structs.replace(settings, **changes)

    def records(self, mix: str, count: int, first: int = 0) -> list[bytes]:
        """Return the values of tweets."""
        return values(self._data, mix, count, first)

    def next_text(self, count: int) -> int:
        """Return a start number for this many distinct texts that no member has seen."""
        self._used += count
        return self._used - count

    def filled(self, mix: str, count: int) -> str:
        """Return an input topic with this many tweets of a mix, filled on the first call."""
        if (mix, count) not in self._filled:
            settings = self.settings()
            fill(settings, self.records(mix, count))
            self._filled[mix, count] = settings.input_topic
        return self._filled[mix, count]

    def environment(self, settings: Settings, model: str) -> dict[str, str]:
        """Return the environment of a program that uses a model by its alias."""
        return environment_of(settings, self._trained) | {"TRIAGE_MODEL_ALIAS": model.lower()}

    def log(self, settings: Settings) -> Path:
        """Return a file for a program's output."""
        return self.folder / f"{settings.group_id}.log"

    def program(self, name: str, settings: Settings, *arguments: object) -> Run:
        """Run a contender that measures itself."""
        command = [sys.executable, "-m", f"tests.benchmarks.{name}", *map(str, arguments)]
        environment = environment_of(settings, self._trained)
        with self.log(settings).open("wb") as log:
            done = subprocess.run(
                command, env=environment, stdout=subprocess.PIPE, stderr=log, check=False
            )
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}: {self.log(settings).read_text()[-2000:]}")
        return msgspec.json.decode(done.stdout.splitlines()[-1], type=Run)


def fill(settings: Settings, records: Sequence[bytes]) -> None:
    """Publish records to the input topic."""
    publisher = Publisher(settings)
    publisher.publish(Message(settings.input_topic, None, value, []) for value in records)
    publisher.close()

"""`triage-trainer train --from`: training that starts from a bundle."""

import csv
import json
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
from safetensors.numpy import load_file

from shared.bundle.files import (
    MANIFEST,
    PIPELINE,
    TRAINED_ON,
    VECTORS,
    VOCABULARY,
    WEIGHTS,
    read_trained_on,
)
from shared.bundle.load import load_bundle
from shared.bundle.manifest import Base
from shared.errors import UsageError
from shared.registry.folder import FolderRegistry
from tests.conftest import SAMPLE, Trained
from tests.trainer.adapt.crisis import make_tweets
from tests.trainer.conftest import Program
from tests.trainer.fit.test_training import FEED_FORWARD, tiny_recipe
from tests.wandb.tracked import write_recipe
from trainer.data.dataset import write_rows
from trainer.data.read import read_dataset
from trainer.data.split import cut_test
from trainer.fit.recipes import load_recipe
from trainer.fit.start import RATE, read_start, starting_from


def new_tweets(path: Path, count: int, *more: tuple[str, str]) -> Path:
    """Write tweets of a crisis that no model knows, and some more rows."""
    names = ("Not Relevant", "Relevant")
    texts, labels = make_tweets(count, 1)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "choose_one"])
        writer.writerows([text, names[label]] for text, label in zip(texts, labels, strict=True))
        writer.writerows(more)
    return path


def test_training_starts_with_the_weights_and_words_of_a_version(
    program: Program, registry: FolderRegistry, trained: Trained, tmp_path: Path
) -> None:
    version = registry.register(trained.bundles / FEED_FORWARD, "start")
    sample = read_dataset(SAMPLE)
    known = sample.texts[cut_test(sample)[0][0]]
    data = new_tweets(tmp_path / "new.csv", 120, (known, "Relevant"))
    # A training that changes nothing shows what it began with.
    recipe = write_recipe(tiny_recipe(learning_rate=1e-12, epochs=1), tmp_path / "still.toml")
    options = ("--recipe", recipe, "--bundles", tmp_path / "bundles")
    ran = program("train", "--data", data, "--from", "start", *options)
    assert ran.code == 0, ran.err
    assert "left out 1 tweets that start has learned" in ran.err
    found = registry.resolve("candidate")
    manifest, before = found.manifest, version.manifest
    assert (found.number, manifest.name) == (3, FEED_FORWARD)
    assert manifest.base == Base(version.digest, version.number)
    assert (manifest.recipe, manifest.architecture) == ("still.toml", before.architecture)
    assert sum(int(manifest.data[part]) for part in ("train", "validation", "test")) == 120
    for file in (VOCABULARY, PIPELINE, VECTORS):
        assert manifest.files[file] == before.files[file], file
    folders = [registry.folder / "versions" / number for number in ("2", "3")]
    first, after = (load_file(folder / WEIGHTS) for folder in folders)
    assert first.keys() == after.keys()
    for path, weight in first.items():
        np.testing.assert_allclose(after[path], weight, atol=1e-6, err_msg=path)
    hashes = [read_trained_on(folder) for folder in folders]
    assert hashes[0] is not None
    assert hashes[1] is not None
    assert set(hashes[0]) < set(hashes[1])
    load_bundle(folders[1])  # reproduces its golden probabilities
    card = (folders[1] / "model-card.md").read_text()
    assert f"version 2 (`{version.digest[:12]}`), which had learned none" in card


def test_tweets_that_the_bundle_has_learned_do_not_suffice(
    program: Program, trained: Trained, tmp_path: Path
) -> None:
    sample = read_dataset(SAMPLE)
    rows = cut_test(sample)[0]
    write_rows(sample, rows, tmp_path / "old.csv")
    start = trained.bundles / FEED_FORWARD
    ran = program("train", "--data", tmp_path / "old.csv", "--from", start)
    ran.is_refused(3, f"has learned all but 0 of the {len(rows)} tweets", "without --from")


def test_unknown_version_is_refused(program: Program) -> None:
    ran = program("train", "--data", SAMPLE, "--from", "stagin")
    ran.is_refused(5, "'stagin'", "expected one of")


def test_bundle_that_does_not_say_what_it_has_learned_is_refused(
    trained: Trained, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(trained.bundles / FEED_FORWARD, tmp_path / "old"))
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["files"][TRAINED_ON]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match="does not say which tweets it has learned"):
        read_start(folder, None)


def test_recipe_says_how_the_bundles_network_is_trained(trained: Trained) -> None:
    start = read_start(trained.bundles / "LSTM", None)
    small = load_recipe("small")
    recipe = starting_from(small, start)
    assert recipe.models == {"LSTM": start.manifest.architecture}
    assert recipe.training.learning_rate == pytest.approx(RATE * small.training.learning_rate)
    keeping = msgspec.structs.replace(small.training, keep_best_epoch=True)
    with pytest.raises(UsageError, match="cannot train LSTM of recipe tuned: keep_best_epoch"):
        starting_from(msgspec.structs.replace(small, training=keeping), start)

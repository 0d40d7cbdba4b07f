"""Training: of the tuned recipe on the sample, and of tiny recipes that take seconds."""

import importlib.metadata
import random
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from shared.bundle.files import WEIGHTS, read_trained_on, verify_bundle
from shared.bundle.load import load_bundle
from shared.model.calibration import Calibration
from shared.model.scorer import Scorer
from tests.conftest import SAMPLE, Trained
from trainer.candidate import Candidate
from trainer.data.dataset import Dataset
from trainer.data.read import read_dataset
from trainer.data.same_text import normalized_hashes, word_hashes
from trainer.data.split import split
from trainer.evaluate.metrics import Metrics, decisions, evaluate
from trainer.fit.recipes import Recipe, load_recipe
from trainer.listener import Listener
from trainer.pipeline import train

RUNS = ["Vanilla-Feedforward-NN", "LSTM", "Bidirectional-RNN"]
PARTS = ("train", "validation", "test")
FEED_FORWARD = "Vanilla-Feedforward-NN"


class TestSample:
    """The tuned recipe on the sample, by the program."""

    @pytest.mark.parametrize("run", RUNS)
    def test_bundle_verifies_and_says_what_it_is(self, trained: Trained, run: str) -> None:
        manifest = verify_bundle(trained.bundles / run)
        recipe = load_recipe("tuned")
        assert (manifest.name, manifest.recipe, manifest.seed) == (run, "tuned", recipe.seed)
        assert manifest.architecture == recipe.models[run]
        assert manifest.text == recipe.text
        assert manifest.threshold == manifest.operating_points["balanced"].threshold
        assert 0.35 < manifest.threshold <= 0.5
        dataset = read_dataset(SAMPLE)
        parts = split(dataset, recipe.validation_size, recipe.seed)
        assert manifest.data == {
            "name": SAMPLE.name,
            "sha256": dataset.sha256,
            "train": len(parts.train),
            "validation": len(parts.validation),
            "test": len(parts.test),
        }
        seen = np.concatenate([parts.train, parts.validation])
        hashes = read_trained_on(trained.bundles / run)
        texts = dataset.texts_of(seen)
        expected = np.unique([normalized_hashes(texts), word_hashes(texts)])
        np.testing.assert_array_equal(hashes, expected)
        import tensorflow

        versions = {n: importlib.metadata.version(n) for n in ("keras", "numpy", "spacy")}
        assert manifest.packages == versions | {"tensorflow": tensorflow.__version__}

    def test_figures_are_those_of_the_manifests(self, trained: Trained) -> None:
        assert trained.figures["recipe"] == "tuned"
        assert trained.figures["seed"] == load_recipe("tuned").seed
        assert [model["name"] for model in trained.figures["models"]] == RUNS
        for model in trained.figures["models"]:
            manifest = verify_bundle(trained.bundles / model["name"])
            assert {part: model[part] for part in PARTS} == manifest.metrics
            assert model["bundle"] == str(trained.bundles / model["name"])

    def test_registered_is_the_best_by_roc_auc_on_validation(self, trained: Trained) -> None:
        models = trained.figures["models"]
        best = max(models, key=lambda model: model["validation"]["roc_auc"])
        versions = {model["name"]: model["version"] for model in models}
        assert versions == {run: 1 if run == best["name"] else None for run in RUNS}
        (registered,) = trained.registry.versions()
        assert registered.manifest == verify_bundle(trained.bundles / best["name"])

    def test_every_model_beats_always_no_by_a_margin(self, trained: Trained) -> None:
        dataset = read_dataset(SAMPLE)
        recipe = load_recipe("tuned")
        parts = split(dataset, recipe.validation_size, recipe.seed)
        always_no = 1 - dataset.labels[parts.validation].mean()
        for model in trained.figures["models"]:
            assert model["validation"]["accuracy"] > always_no + 0.15, model["name"]
            assert model["validation"]["roc_auc"] > 0.8, model["name"]
            assert model["test"]["accuracy"] > 0.7, model["name"]

    @pytest.mark.parametrize("run", RUNS)
    def test_every_epoch_is_in_the_manifest(self, trained: Trained, run: str) -> None:
        epochs = verify_bundle(trained.bundles / run).epochs
        assert len(epochs) > 5  # as many as the sample takes for the recipe's least steps
        for epoch in epochs:
            assert set(epoch) == {"loss", "accuracy", "val_loss", "val_accuracy"}
        assert epochs[-1]["loss"] < epochs[0]["loss"]
        assert epochs[-1]["accuracy"] > max(0.75, epochs[0]["accuracy"])

    def test_embedding_s_parameters_are_counted(self, trained: Trained) -> None:
        for model in trained.figures["models"]:
            architecture = verify_bundle(trained.bundles / model["name"]).architecture
            assert model["parameters"] > architecture.num_words * architecture.embedding

    @pytest.mark.parametrize("run", RUNS)
    def test_quality_is_of_the_test_part(self, trained: Trained, run: str) -> None:
        manifest = verify_bundle(trained.bundles / run)
        quality = manifest.quality
        assert quality is not None
        values = {metric: figure.value for metric, figure in quality.test.items()}
        assert values == pytest.approx(manifest.metrics["test"])
        for part in ("validation", "test"):
            bins = quality.reliability[part]
            rows = sum(bin_.tweets for bin_ in bins)
            assert rows == manifest.data[part]
            gaps = [bin_.tweets * abs(bin_.relevant.value - bin_.mean_probability) for bin_ in bins]
            error = manifest.metrics[part]["calibration_error"]
            assert sum(gaps) / rows == pytest.approx(error)
        lengths = [one for one in quality.slices if one.group == "length"]
        assert sum(one.rows for one in lengths) == manifest.data["test"]
        for one in quality.slices:
            for figure in one.figures.values():
                assert figure.low <= figure.value <= figure.high

    def test_bundle_on_disk_reproduces_its_figures(self, trained: Trained) -> None:
        bundle = load_bundle(trained.bundles / "LSTM")
        dataset = read_dataset(SAMPLE)
        recipe = load_recipe("tuned")
        parts = split(dataset, recipe.validation_size, recipe.seed)
        for part, rows in msgspec.structs.asdict(parts).items():
            probabilities = bundle.scorer.score(dataset.texts_of(rows))
            figures = evaluate(dataset.labels[rows], probabilities, bundle.manifest.threshold)
            assert figures == pytest.approx(bundle.manifest.metrics[part], abs=1e-6), part
            for point in bundle.manifest.operating_points.values():
                if part != "train":
                    again = decisions(dataset.labels[rows], probabilities, point.threshold)
                    assert again == pytest.approx(point.figures[part]), part
            if part == "validation":  # Calibrated there, they are right on average.
                labels = dataset.labels[rows]
                assert probabilities.mean() == pytest.approx(labels.mean(), abs=1e-3)


class Recorder(Listener):
    """Notes the events of a training."""

    def __init__(self) -> None:
        self.models: list[str] = []
        self.batches: list[tuple[int, int]] = []
        self.epochs: list[Metrics] = []

    def on_model_begin(self, name: str, *_: object) -> None:
        self.models.append(name)

    def on_batch_end(self, done: int, batches: int) -> None:
        self.batches.append((done, batches))

    def on_epoch_end(self, _: Scorer, figures: Metrics) -> None:
        self.epochs.append(figures)


class Run(msgspec.Struct, frozen=True):
    """A tiny training: the candidates by name, and its events."""

    models: dict[str, Candidate]
    events: Recorder

    @property
    def weights(self) -> dict[str, str]:
        """The SHA-256 of each model's weights."""
        return {name: model.manifest.files[WEIGHTS] for name, model in self.models.items()}


def tiny_recipe(*runs: str, **changes: object) -> Recipe:
    """Return recipe `tuned` with small models (by default one, feed-forward) and two epochs."""
    recipe = load_recipe("tuned")
    small = {
        name: msgspec.structs.replace(
            recipe.models[name], num_words=400, embedding=8, length=24, units=4
        )
        for name in runs or (FEED_FORWARD,)
    }
    text = msgspec.structs.replace(recipe.text, num_words=400)
    training = msgspec.structs.replace(
        recipe.training, **{"epochs": 2, "epochs_without_teacher": 0, "least_steps": 0, **changes}
    )
    return msgspec.structs.replace(recipe, text=text, training=training, models=small)


def tiny_dataset(agreement: float = 1.0) -> Dataset:
    """Return the first 120 tweets of the sample."""
    dataset = read_dataset(SAMPLE)
    return msgspec.structs.replace(
        dataset,
        texts=dataset.texts[:120],
        labels=dataset.labels[:120],
        agreement=np.full(120, agreement, np.float32),
    )


Runner = Callable[..., Run]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """Train a recipe on tweets of the sample, into a folder of its own."""

    def run_tiny(recipe: Recipe, dataset: Dataset | None = None, seed: int = 1) -> Run:
        folder: Path = tmp_path_factory.mktemp("tiny")
        recipe = msgspec.structs.replace(recipe, seed=seed)
        events = Recorder()
        trained = train(recipe, dataset or tiny_dataset(), folder, listener=events)
        return Run({model.name: model for model in trained.candidates}, events)

    return run_tiny


@pytest.fixture(scope="module")
def first(run: Runner) -> Run:
    """Return the training that others are compared with: seed 1, agreement 1."""
    return run(tiny_recipe(FEED_FORWARD, "LSTM"))


class TestTiny:
    """Tiny recipes on a part of the sample, by the function."""

    def test_same_seed_gives_the_same_weights_bit_for_bit(self, run: Runner, first: Run) -> None:
        # And in the other order, as no model depends on those before it.
        assert run(tiny_recipe("LSTM", FEED_FORWARD)).weights == first.weights

    def test_other_seed_gives_other_weights(self, run: Runner, first: Run) -> None:
        other = run(tiny_recipe(), seed=2)
        assert other.weights[FEED_FORWARD] != first.weights[FEED_FORWARD]
        assert other.models[FEED_FORWARD].manifest.seed == 2

    def test_agreement_is_the_target_where_the_recipe_says_so(
        self, run: Runner, first: Run
    ) -> None:
        unsure = run(tiny_recipe(), tiny_dataset(agreement=0.6))
        assert unsure.weights[FEED_FORWARD] != first.weights[FEED_FORWARD]

    def test_agreement_and_calibration_are_left_out_where_the_recipe_says_so(
        self, run: Runner, first: Run
    ) -> None:
        recipe = tiny_recipe(soft_targets=False, calibrate=False)
        plain = run(recipe, tiny_dataset(agreement=0.6))
        assert plain.weights[FEED_FORWARD] == first.weights[FEED_FORWARD]
        assert plain.models[FEED_FORWARD].manifest.calibration == Calibration()
        assert first.models[FEED_FORWARD].manifest.calibration != Calibration()

    @pytest.mark.slow
    def test_best_epoch_is_kept_only_if_the_recipe_says_so(self, run: Runner) -> None:
        # The rate is constant, so that an epoch does not depend on how many come after it, and
        # far too high, so that the loss goes up and down.
        def train_for(epochs: int, *, keep_best_epoch: bool) -> Run:
            changes = {"keep_best_epoch": keep_best_epoch, "calibrate": False}
            return run(tiny_recipe(epochs=epochs, optimizer="adam", learning_rate=0.3, **changes))

        last = train_for(2, keep_best_epoch=False)
        losses = [epoch["val_loss"] for epoch in last.events.epochs]
        best = 1 + losses.index(min(losses))
        assert len(losses) == 2
        assert best < 2, f"the last epoch is the best, which proves nothing: {losses}"
        kept = train_for(2, keep_best_epoch=True)
        assert kept.weights == train_for(best, keep_best_epoch=False).weights
        assert kept.weights != last.weights

    def test_last_epoch_is_what_the_bundle_holds_where_it_is_kept(self, run: Runner) -> None:
        plain = run(tiny_recipe(keep_best_epoch=False, calibrate=False))
        manifest = plain.models[FEED_FORWARD].manifest
        assert len(manifest.epochs) == 2
        last = manifest.epochs[-1]
        assert manifest.threshold == 0.5  # as it is not calibrated
        assert last["val_accuracy"] == pytest.approx(manifest.metrics["validation"]["accuracy"])
        assert plain.events.epochs == manifest.epochs

    @pytest.mark.slow
    def test_places_names_teach_nothing_where_other_words_do(self, run: Runner) -> None:
        def brier(relevant: str, other: str) -> float:
            words = random.Random(1)
            sayings = [
                words.sample(("the", "a", "we", "see", "it", "there"), 3) for _ in range(120)
            ]
            texts = [
                " ".join([*saying, relevant if row % 2 else other])
                for row, saying in enumerate(sayings)
            ]
            labels = np.arange(120, dtype=np.int8) % 2
            dataset = msgspec.structs.replace(tiny_dataset(), texts=texts, labels=labels)
            recipe = tiny_recipe(epochs=20, batch_size=16, learning_rate=0.01, calibrate=False)
            metrics = run(recipe, dataset).models[FEED_FORWARD].manifest.metrics["train"]
            return metrics["brier"]

        assert brier("garden", "river") < 0.05
        assert brier("Nevada", "Ohio") > 0.15

    @pytest.mark.slow
    def test_an_epoch_is_told_as_a_whole(self, run: Runner) -> None:
        # Nothing is learned or dropped, so that all batches meet the same model.
        recipe = tiny_recipe(learning_rate=1e-12, batch_size=16, calibrate=False)
        model = recipe.models[FEED_FORWARD]
        model = msgspec.structs.replace(model, embedding_dropout=0.0, dropout=0.0)
        recipe = msgspec.structs.replace(recipe, models={FEED_FORWARD: model})
        manifest = run(recipe).models[FEED_FORWARD].manifest
        told = [epoch["accuracy"] for epoch in manifest.epochs]
        assert told == pytest.approx([manifest.metrics["train"]["accuracy"]] * 2)

    @pytest.mark.slow
    def test_a_small_data_set_gets_more_epochs(self, run: Runner) -> None:
        trained = run(tiny_recipe(epochs=1, least_steps=5, batch_size=64))
        epoch = -(-len(split(tiny_dataset(), 0.1, 1).train) // 64)
        assert epoch == 2
        assert trained.events.batches[-1] == (3 * epoch, 3 * epoch)

    def test_a_recipe_has_epochs_of_its_own_for_data_without_a_teacher(self, run: Runner) -> None:
        trained = run(tiny_recipe(epochs=1, epochs_without_teacher=3))
        assert len(trained.models[FEED_FORWARD].manifest.epochs) == 3

    def test_every_batch_and_epoch_is_an_event(self, first: Run) -> None:
        rows = len(split(tiny_dataset(), 0.1, 1).train)
        batches = 2 * -(-rows // load_recipe("tuned").training.batch_size)
        assert first.events.models == [FEED_FORWARD, "LSTM"]
        assert first.events.batches == 2 * [(n, batches) for n in range(1, batches + 1)]
        epochs = [model.manifest.epochs for model in first.models.values()]
        assert first.events.epochs == epochs[0] + epochs[1]

"""The gate before promotion: what passes, what is refused, and what is recorded."""

import json
from collections.abc import Callable
from copy import copy
from pathlib import Path

import msgspec
import numpy as np
import pytest
from safetensors import numpy as safetensors

from shared.bundle.files import (
    PIPELINE,
    TRAINED_ON,
    VECTORS,
    VOCABULARY,
    WEIGHTS,
    read_trained_on,
    write_bundle,
)
from shared.bundle.load import Bundle, load_bundle
from shared.bundle.quality import Figure
from shared.model.calibration import Calibration
from shared.registry.folder import FolderRegistry
from shared.text.tokens import vectors_from_bytes
from tests.conftest import SAMPLE, Trained
from tests.trainer.conftest import Program, Ran
from trainer.data.dataset import write_rows
from trainer.data.read import read_dataset
from trainer.data.same_text import Hashes, normalized_hashes
from trainer.data.split import cut_test
from trainer.evaluate.bootstrap import Scores, draw, measure_difference
from trainer.evaluate.gate import judge_recorded

Change = Callable[[Calibration], Calibration]
Make = Callable[..., int]

FEED_FORWARD = "Vanilla-Feedforward-NN"


def as_it_is(calibration: Calibration) -> Calibration:
    return calibration


def turned_round(calibration: Calibration) -> Calibration:
    """Reverse the order: the most probable tweets become the least probable."""
    return Calibration(-calibration.scale, -calibration.offset)


def never_relevant(calibration: Calibration) -> Calibration:
    """Keep the order, but let no probability reach the threshold."""
    return Calibration(calibration.scale, calibration.offset - 8)


@pytest.fixture(scope="module")
def loaded(trained: Trained) -> dict[str, Bundle]:
    """Return the trained bundles by name. Do not change them."""
    return {name: load_bundle(trained.bundles / name) for name in ("LSTM", FEED_FORWARD)}


@pytest.fixture
def make(
    trained: Trained, loaded: dict[str, Bundle], registry: FolderRegistry, tmp_path: Path
) -> Make:
    """Register a version made from a trained bundle, and return its number."""

    def make_version(
        run: str = "LSTM",
        change: Change = as_it_is,
        hashes: Hashes | None = None,
        accuracy: float | None = None,
        roc_auc: Figure | None = None,
        **data: str | int,
    ) -> int:
        source, target = trained.bundles / run, tmp_path / "made"
        if hashes is None:
            hashes = read_trained_on(source)
            assert hashes is not None
        manifest, scorer = loaded[run].manifest, copy(loaded[run].scorer)
        scorer.calibration = change(scorer.calibration)
        metrics = {part: dict(figures) for part, figures in manifest.metrics.items()}
        if accuracy is not None:
            metrics["test"]["accuracy"] = accuracy
        quality = manifest.quality
        if roc_auc is not None:
            assert quality is not None
            test = {**quality.test, "roc_auc": roc_auc}
            quality = msgspec.structs.replace(quality, test=test)
        write_bundle(
            target,
            msgspec.structs.replace(
                manifest,
                calibration=scorer.calibration,
                metrics=metrics,
                quality=quality,
                data={**manifest.data, **data},
                created=f"2030-01-01T00:00:{len(registry.versions()):02}+00:00",
            ),
            safetensors.load_file(source / WEIGHTS),
            json.loads((source / VOCABULARY).read_text()),
            (source / PIPELINE).read_bytes(),
            scorer,
            hashes,
            "a card",
            vectors_from_bytes((source / VECTORS).read_bytes(), manifest.architecture.vectors),
        )
        return registry.register(target).number

    return make_version


def refused(ran: Ran, registry: FolderRegistry, *named: str) -> None:
    """Assert that the gate refused with one line of reason, and that no alias moved."""
    assert ran.code == 5
    assert ran.err.startswith("error: version ")
    assert len(ran.err.splitlines()) == 1
    for name in (*named, "is not promoted: ", "--force --reason TEXT"):
        assert name in ran.err
    assert registry.aliases()["production"] == 1
    assert registry.history()[-1].action == "register"


class TestOnData:
    def test_another_good_model_passes(
        self, program: Program, registry: FolderRegistry, make: Make
    ) -> None:
        number = make("LSTM")
        ran = program("promote", "candidate", "--data", SAMPLE, "--reason", "newer")
        assert (ran.code, ran.err) == (0, "")
        first, *table, last = [line for line in ran.out.splitlines() if line.strip()]
        production = registry.resolve("1").manifest.name
        assert first.startswith(f"version 2 (LSTM) against version 1 ({production}) in production")
        assert "192 tweets that are new to both" in first
        assert table[0].split() == ["version", "ROC", "AUC", "accuracy"]
        assert all(len(line) <= 80 for line in table[:5])
        rows = [line.split() for line in table[2:5]]
        assert [row[0] for row in rows] == ["candidate", "production", "difference"]
        assert [row.count("to") for row in rows] == [2, 2, 2]
        assert "McNemar's exact test" in ran.out
        assert last == "production is now version 2 (LSTM)"
        promoted = registry.history()[-2]
        assert (promoted.action, promoted.version) == ("promote", number)
        assert (promoted.reason, promoted.forced) == ("newer", False)

    @pytest.mark.parametrize(
        ("change", "named"),
        [
            (turned_round, ["ROC AUC -0.", "accuracy -0."]),
            (never_relevant, ["accuracy -0."]),
        ],
    )
    def test_significantly_worse_is_refused(
        self,
        program: Program,
        registry: FolderRegistry,
        make: Make,
        change: Change,
        named: list[str],
    ) -> None:
        make("LSTM", change)
        ran = program("promote", "2", "--data", SAMPLE)
        refused(ran, registry, "version 2 (LSTM) is significantly worse than version 1", *named)
        assert ran.err.count("significantly worse") == len(named)
        assert "difference" in ran.out

    def test_forced_it_goes_through_and_is_recorded(
        self, program: Program, registry: FolderRegistry, make: Make
    ) -> None:
        make("LSTM", turned_round)
        force = ("--force", "--reason", "the drill of 3 May")
        ran = program("promote", "2", "--data", SAMPLE, *force)
        assert (ran.code, ran.err) == (0, "")
        assert "forced, although version 2 (LSTM) is significantly worse" in ran.out
        assert registry.aliases()["production"] == 2
        for event in registry.history()[-2:]:
            assert (event.action, event.forced) == ("promote", True)
            assert event.reason == "the drill of 3 May"

    def test_force_that_was_not_needed_is_not_recorded(
        self, program: Program, registry: FolderRegistry, make: Make
    ) -> None:
        make("LSTM")
        assert program("promote", "2", "--force", "--reason", "sure").code == 0
        assert registry.aliases()["production"] == 2
        assert not any(event.forced for event in registry.history())

    @pytest.mark.parametrize(("share", "passes"), [(0.1, True), (0.4, False)])
    def test_candidate_that_was_trained_on_the_test_part(
        self, program: Program, registry: FolderRegistry, make: Make, share: float, passes: bool
    ) -> None:
        dataset = read_dataset(SAMPLE)
        test = cut_test(dataset)[1]
        seen = test[: round(share * len(test))]
        hashes = normalized_hashes(dataset.texts_of(seen))
        make("LSTM", hashes=hashes, sha256="of other data", name="other.csv")
        ran = program("promote", "2", "--data", SAMPLE)
        said = f"was trained on near-duplicates of {len(seen)} of the 192 tweets of {SAMPLE.name}"
        assert f"{192 - len(seen)} tweets that are new to both" in ran.out
        if passes:
            assert ran.code == 0
            assert f"version 2 (LSTM) {said} (the test part): they are left out" in ran.out
        else:
            refused(ran, registry, f"version 2 (LSTM) {said} (the test part), more than 25%")

    @pytest.mark.slow
    def test_production_that_was_trained_on_the_candidate_s_test_part(
        self, program: Program, registry: FolderRegistry, make: Make
    ) -> None:
        dataset = read_dataset(SAMPLE)
        seen = cut_test(dataset)[1][:100]
        hashes = normalized_hashes(dataset.texts_of(seen))
        make("LSTM", hashes=hashes, sha256="of other data")
        registry.promote("2")
        make(FEED_FORWARD)
        ran = program("promote", "3", "--data", SAMPLE)
        assert (ran.code, ran.err) == (0, "")
        assert "version 2 (LSTM) was trained on near-duplicates of 100 of the 192" in ran.out
        assert "92 tweets that are new to both" in ran.out
        assert registry.aliases()["production"] == 3

    @pytest.mark.slow
    def test_file_that_grew_around_the_training_rows_is_refused(
        self, program: Program, registry: FolderRegistry, make: Make, tmp_path: Path
    ) -> None:
        make("LSTM")
        grown = tmp_path / "grown.csv"
        grown.write_text(SAMPLE.read_text("utf-8") + "nothing new,Not Relevant\n", "utf-8")
        ran = program("promote", "2", "--data", grown)
        rows = len(cut_test(read_dataset(SAMPLE))[0])
        refused(ran, registry, f"version 2 (LSTM) was trained on near-duplicates of {rows} of")
        assert "193 tweets that are new to both" in ran.out

    def test_tweets_that_repeat_each_other_are_judged_once(
        self, program: Program, make: Make, trained: Trained, tmp_path: Path
    ) -> None:
        make("LSTM")
        once = read_dataset(trained.held_out)
        texts = [f"{text} http://t.co/{n}" for text in once.texts for n in range(10)]
        repeated = msgspec.structs.replace(once, texts=texts, labels=np.repeat(once.labels, 10))
        data = tmp_path / "repeated.csv"
        write_rows(repeated, np.arange(len(texts)), data)
        ran = program("promote", "2", "--data", data)
        assert (ran.code, ran.err) == (0, "")
        assert "on 192 tweets that are new to both" in ran.out
        assert "1728 of the 1920 tweets of repeated.csv repeat the words of another" in ran.out

    def test_too_few_new_tweets_are_refused(
        self, program: Program, registry: FolderRegistry, make: Make
    ) -> None:
        hashes = normalized_hashes(read_dataset(SAMPLE).texts)
        make("LSTM", hashes=hashes, sha256="of other data")
        ran = program("promote", "2", "--data", SAMPLE)
        refused(ran, registry, "0 of the 192 tweets", "needs 10 of each label")
        assert ran.out == ""

    @pytest.mark.slow
    def test_candidate_that_does_not_say_what_it_saw_is_refused_on_other_data(
        self, program: Program, registry: FolderRegistry, make: Make, trained: Trained
    ) -> None:
        make("LSTM")
        bundle = registry.folder / "versions" / "2"
        manifest = json.loads((bundle / "manifest.json").read_text())
        del manifest["files"][TRAINED_ON]
        (bundle / "manifest.json").write_text(json.dumps(manifest))
        (bundle / TRAINED_ON).unlink()
        ran = program("promote", "2", "--data", trained.held_out)
        refused(ran, registry, "version 2 (LSTM) does not say which texts it was trained on")
        assert program("promote", "2", "--data", SAMPLE).code == 0  # its own data says it

    def test_broken_candidate_is_refused_even_by_force(
        self, program: Program, registry: FolderRegistry, make: Make
    ) -> None:
        make("LSTM")
        (registry.folder / "versions" / "2" / WEIGHTS).write_bytes(b"")
        for more in ("", f"--data {SAMPLE}", "--force --reason now"):
            ran = program("promote", "2", *more.split())
            assert ran.code == 4
            assert "was changed" in ran.err
        assert registry.aliases()["production"] == 1

    def test_broken_production_can_be_replaced_by_force(
        self, program: Program, registry: FolderRegistry, make: Make
    ) -> None:
        make("LSTM")
        (registry.folder / "versions" / "1" / WEIGHTS).write_bytes(b"")
        ran = program("promote", "2", "--data", SAMPLE)
        refused(ran, registry, "there is nothing to compare with", "was changed")
        force = ("--force", "--reason", "production is broken")
        assert program("promote", "2", "--data", SAMPLE, *force).code == 0
        assert registry.aliases()["production"] == 2
        assert registry.history()[-1].forced

    def test_data_that_cannot_be_read_is_refused(
        self, program: Program, registry: FolderRegistry, make: Make
    ) -> None:
        make("LSTM")
        program("promote", "2", "--data", "missing.csv").is_refused(3, "missing.csv")
        program("promote", "2", "--data", SAMPLE, "--label-column", "x").is_refused(3, "'x'")
        assert registry.aliases()["production"] == 1


class TestWithoutData:
    def test_recorded_figures_of_the_same_test_part_are_compared(
        self, program: Program, registry: FolderRegistry, make: Make
    ) -> None:
        make("LSTM")
        ran = program("promote", "2")
        assert (ran.code, ran.err) == (0, "")
        recorded = [registry.resolve(number).manifest.metrics["test"] for number in ("2", "1")]
        for figures in recorded:
            assert f"{figures['accuracy']:.3f} (0." in ran.out
        difference = recorded[0]["accuracy"] - recorded[1]["accuracy"]
        assert f"{difference:+.3f} (-0." in ran.out
        rows = [line.split() for line in ran.out.splitlines() if line.strip()]
        assert rows[1] == ["version", "ROC", "AUC", "accuracy"]
        assert [row.count("to") for row in rows[3:6]] == [2, 2, 2]
        assert "the 192 tweets of their test part, as training measured them" in ran.out
        assert registry.aliases()["production"] == 2

    def test_far_worse_figures_are_refused(
        self, program: Program, registry: FolderRegistry, make: Make
    ) -> None:
        make("LSTM", accuracy=0.5)
        refused(program("promote", "2"), registry, "significantly worse", "accuracy -0.")

    def test_useless_ranker_is_refused_whatever_its_accuracy(
        self, program: Program, registry: FolderRegistry, make: Make
    ) -> None:
        make("LSTM", roc_auc=Figure(0.5, 0.42, 0.58))
        refused(program("promote", "2"), registry, "significantly worse", "ROC AUC -0.")

    def test_accuracy_alone_is_compared_where_a_manifest_holds_no_more(
        self, registry: FolderRegistry, make: Make
    ) -> None:
        make("LSTM")
        new, production = registry.resolve("2"), registry.resolve("1")
        old = msgspec.structs.replace(
            new, manifest=msgspec.structs.replace(new.manifest, quality=None)
        )
        for verdict in (judge_recorded(old, production), judge_recorded(production, old)):
            assert verdict.refusals == []
            assert verdict.table is not None
            assert [column.header for column in verdict.table.columns] == ["version", "accuracy"]

    @pytest.mark.parametrize("data", [{"sha256": "of other data"}, {"test": 100}])
    def test_figures_of_other_tweets_are_not_compared(
        self, program: Program, registry: FolderRegistry, make: Make, data: dict[str, str | int]
    ) -> None:
        make("LSTM", **data)
        ran = program("promote", "2")
        refused(ran, registry, "version 2 (LSTM) was tested on", "with --data FILE")
        assert program("promote", "2", "--force", "--reason", "I know").code == 0
        assert registry.history()[-1].forced

    def test_first_promotion_has_nothing_to_be_compared_with(
        self, program: Program, trained: Trained, environment: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        new = FolderRegistry(tmp_path / "new")
        new.register(trained.bundles / "LSTM")
        environment.setenv("TRIAGE_REGISTRY", new.url)
        said = "production is now version 1 (LSTM)\n"
        assert program("promote", "candidate") == Ran(0, said, "")

    def test_another_alias_has_no_gate(self, program: Program, make: Make) -> None:
        make("LSTM", turned_round, accuracy=0.1)
        said = "canary is now version 2 (LSTM)\n"
        assert program("promote", "2", "--alias", "canary") == Ran(0, said, "")

    @pytest.mark.parametrize(
        ("arguments", "named"),
        [
            (["--force"], ["--force", "--reason TEXT"]),
            (["--force", "--reason", " "], ["--force", "--reason TEXT"]),
            (["--alias", "canary", "--data", "x"], ["--alias canary", "production"]),
            (["--alias", "canary", "--force", "--reason", "x"], ["--alias canary"]),
        ],
    )
    def test_options_that_do_not_go_together(
        self, program: Program, registry: FolderRegistry, arguments: list[str], named: list[str]
    ) -> None:
        program("promote", "1", *arguments).is_refused(2, *named)
        assert registry.aliases() == {"candidate": 1, "production": 1}


def test_equally_good_models_are_refused_by_chance_alone() -> None:
    """What the gate promises: at most some 5 % of the candidates that are as good as production."""
    counts = draw(150)
    refusals = 0
    for seed in range(100):
        random = np.random.default_rng(seed)
        labels = random.integers(2, size=150).astype(np.int8)
        first, second = (
            Scores((1 / (1 + np.exp(1 - 2 * labels - random.normal(size=150)))).astype("f4"), 0.5)
            for _ in range(2)
        )
        differences = measure_difference(labels, first, second, counts)
        refusals += any(differences[metric].high < 0 for metric in ("roc_auc", "accuracy"))
    assert refusals <= 11

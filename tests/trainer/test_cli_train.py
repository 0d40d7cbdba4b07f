"""`triage-trainer train`: what it prints, and what it refuses before it has trained for long."""

import csv
import json
import os
from pathlib import Path

import pytest

from shared.registry.folder import FolderRegistry
from tests.conftest import SAMPLE
from tests.trainer.conftest import Program
from tests.trainer.fit.test_training import tiny_recipe
from tests.wandb.tracked import call, surroundings, write_recipe
from trainer.evaluate.metrics import COLUMNS, METRICS


def test_standard_output_holds_the_json_alone_where_it_goes_there(
    program: Program, registry: FolderRegistry, few: Path, tmp_path: Path
) -> None:
    recipe = write_recipe(tiny_recipe(), tmp_path / "tiny.toml")
    arguments = ("--data", few, "--recipe", recipe, "--bundles", tmp_path / "bundles")
    out = ("--json", "-", "--test-out", tmp_path / "test.csv")
    ran = program("train", *arguments, "--seed", "7", *out)
    assert ran.code == 0
    figures = json.loads(ran.out)
    assert (figures["recipe"], figures["seed"]) == ("tiny.toml", 7)
    for model in figures["models"]:
        assert set(model["test"]) == set(METRICS)
        assert model["name"] in ran.err
        for metric in COLUMNS:
            assert f"{model['test'][metric]:.3f}" in ran.err
    (registered,) = [model["name"] for model in figures["models"] if model["version"]]
    assert f"registered {registered}" in ran.err
    assert f"next: triage-trainer report --data {few}" in ran.err
    assert "triage-trainer promote candidate" in ran.err
    assert registry.resolve("candidate").number == 2
    assert registry.resolve("candidate").manifest.name == registered
    assert registry.resolve("production").number == 1
    with (tmp_path / "test.csv").open(encoding="utf-8", newline="") as file:
        assert len(list(csv.reader(file))) == 1 + 30


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["--recipe", "tunde"], 2, ["'tunde'", "article, small, tuned"]),
        (["--seed", "-1"], 2, ["--seed -1", "from 0 to 4294967295"]),
        (["--seed", "4294967296"], 2, ["--seed 4294967296"]),
        (["--data", "missing.csv"], 3, ["missing.csv", "No such file"]),
        (["--text-column", "tweet"], 3, ["no column 'tweet'", "'text', 'choose_one'"]),
        (["--label-column", "text"], 3, ["'text'", "expected two labels"]),
        (["--positive", "relevant"], 3, ["'relevant'", "'Relevant' (288)"]),
        (["--json", "missing/figures.json"], 3, ["missing/figures.json cannot be written"]),
        (["--json", "."], 3, [". cannot be written: it is a folder"]),
        (["--test-out", "missing/test.csv"], 3, ["missing/test.csv cannot be written"]),
        (["--test-out", "."], 3, [". cannot be written: it is a folder"]),
        (["--bundles", "file/bundles"], 3, ["file/bundles cannot be written"]),
        (["--bundles", "file"], 3, ["file cannot be written"]),
        (["--bundles", "mine"], 2, ["mine/LSTM exists and is not a bundle"]),
        (["--bundles", "odd"], 3, ["odd/LSTM cannot be written: Not a directory"]),
        (["--data", "own.csv", "--test-out", "own.csv"], 2, ["own.csv is the labelled data"]),
        (["--data", "own.csv", "--json", "link.csv"], 2, ["link.csv is the labelled data"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_refused_before_anything_is_trained(
    program: Program,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    code: int,
    named: list[str],
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    Path("file").touch()
    for folder in ("mine/LSTM", "odd"):
        Path(folder).mkdir(parents=True)
    for file in ("mine/LSTM/notes.txt", "odd/LSTM"):
        Path(file).write_text("mine")
    Path("own.csv").write_bytes(SAMPLE.read_bytes())
    Path("link.csv").symlink_to("own.csv")
    data = [] if "--data" in arguments else ["--data", SAMPLE]
    program("train", *data, *arguments).is_refused(code, *named)
    assert not list(Path().rglob("manifest.json"))
    assert Path("own.csv").read_bytes() == SAMPLE.read_bytes()
    assert Path("mine/LSTM/notes.txt").read_text() == "mine"


@pytest.mark.slow
def test_full_disk_keeps_no_model_from_being_registered(few: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tiny_recipe(), tmp_path / "tiny.toml")
    full = Path("/dev/full")
    arguments = ("--data", few, "--recipe", recipe, "--bundles", tmp_path / "bundles")
    with surroundings(tmp_path) as registry:
        ran = call("train", *arguments, "--test-out", full, "--json", full, "--wandb", "offline")
    assert ran.code == 3
    assert "as version 1 (candidate)" in ran.out
    assert registry.resolve("candidate").number == 1
    *_, offline, warning, last = ran.err.splitlines()
    assert offline.startswith("the runs are offline; this uploads what is kept: wandb sync ")
    for line, start in ((warning, "warning: "), (last, "error: ")):
        assert line.startswith(f"{start}/dev/full cannot be written: ")
        assert "No space left on device" in line


def test_names_that_are_not_utf8(
    program: Program, registry: FolderRegistry, few: Path, tmp_path: Path
) -> None:
    data = few.rename(tmp_path / os.fsdecode(b"caf\xe9.csv"))
    recipe = write_recipe(tiny_recipe(), tmp_path / os.fsdecode(b"kl\xe4in.toml"))
    bundles = tmp_path / os.fsdecode(b"b\xfcndel")
    arguments = ("--data", data, "--recipe", recipe, "--bundles", bundles)
    ran = program("train", *arguments, "--json", tmp_path / "figures.json")
    assert ran.code == 0
    manifest = registry.resolve("candidate").manifest
    assert (manifest.data["name"], manifest.recipe) == ("caf\ufffd.csv", "kl\ufffdin.toml")
    figures = json.loads((tmp_path / "figures.json").read_text("utf-8"))
    (model,) = figures["models"]
    assert model["bundle"] == str(tmp_path / "b\ufffdndel" / model["name"])


def test_unreadable_history_is_refused_before_anything_is_trained(
    program: Program, registry: FolderRegistry, tmp_path: Path
) -> None:
    (registry.folder / "history.jsonl").write_text("{")
    ran = program("train", "--data", SAMPLE, "--bundles", tmp_path / "bundles")
    ran.is_refused(5, str(registry.folder / "history.jsonl"))
    assert not list((tmp_path / "bundles").iterdir())


def test_too_few_tweets_for_three_parts_are_refused(program: Program, tmp_path: Path) -> None:
    few = tmp_path / "few.csv"
    places, kinds = ("house", "barn"), ("mixtape", "album")  # numbers do not make tweets differ
    rows = [
        f"{place} {i} burns,Relevant\n{kind} {i} is fire,Not Relevant"
        for i in range(10)
        for place, kind in zip(places, kinds, strict=True)
    ]
    few.write_text("text,choose_one\n" + "\n".join(rows))
    ran = program("train", "--data", few, "--bundles", tmp_path / "bundles")
    assert (ran.code, ran.out) == (3, "")
    *before, last = ran.err.splitlines()
    assert last.startswith("error: few.csv: ")
    assert "holds one label alone" in last
    assert "recipe tuned, by the number of tweets; --recipe chooses another" in before
    assert not any("Traceback" in line or "error" in line for line in before)

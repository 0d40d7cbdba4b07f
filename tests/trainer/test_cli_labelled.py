"""Options of labelled files, and a bundle's columns, labels and languages as their defaults."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from shared.registry.folder import FolderRegistry
from tests.conftest import SAMPLE, Trained
from tests.trainer.conftest import Program
from tests.trainer.fit.test_training import tiny_recipe
from tests.wandb.tracked import write_recipe
from trainer.data.read import read_dataset

CLASSES = {"Relevant": ["fire", "flood"], "Not Relevant": ["advert", "chat"]}


def own_table() -> pd.DataFrame:
    """Return the sample with other columns, four labels, and a fifth that means "unsure"."""
    table = pd.read_csv(SAMPLE, dtype=str)
    kinds = [CLASSES[label][row % 2] for row, label in enumerate(table["choose_one"])]
    kinds[:20] = ["unsure"] * 20
    return pd.DataFrame({"tweet": table["text"], "class": kinds})


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.jsonl"
    own_table().to_json(path, orient="records", lines=True)
    return path


@pytest.fixture
def registered(program: Program, trained: Trained, tmp_path: Path) -> str:
    """Return a version whose bundle records that it was trained on such a file."""
    folder = Path(shutil.copytree(trained.registry.folder / "versions" / "1", tmp_path / "other"))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["labelling"] = {
        "text_column": "tweet",
        "label_column": "class",
        "positive": ["fire", "flood"],
        "negative": ["advert", "chat"],
        "leave_out": ["unsure"],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert program("register", folder).code == 0
    return "candidate"


OPTIONS = [
    *("--text-column", "tweet", "--label-column", "class"),
    *("--positive", "fire", "--positive", "flood"),
    *("--negative", "advert", "--negative", "chat"),
    *("--leave-out", "unsure"),
]


def test_labels_of_several_kinds_are_options(program: Program, own: Path) -> None:
    ran = program("evaluate", "1", "--data", own, *OPTIONS, "--json", "-")
    assert ran.code == 0
    assert json.loads(ran.out)["rows"] == 620
    assert "left out: 'unsure' (20)" in ran.err


@pytest.mark.slow
def test_bundle_has_the_defaults(
    program: Program, own: Path, registered: str, tmp_path: Path
) -> None:
    program("evaluate", "1", "--data", own).is_refused(3, "no column 'text'", "'tweet', 'class'")
    ran = program("evaluate", registered, "--data", own, "--json", "-")
    asked = program("evaluate", "1", "--data", own, *OPTIONS, "--json", "-")
    found, expected = json.loads(ran.out), json.loads(asked.out)
    assert {**found, "version": 1} == expected
    arguments = ("--version", registered, "--other-data", "--out", tmp_path / "report")
    assert program("report", "--data", own, *arguments).code == 0
    ran = program("promote", registered, "--data", own)
    assert "no column" not in ran.err


def test_options_win_over_the_bundle(program: Program, own: Path, registered: str) -> None:
    arguments = ("--data", own, "--positive", "flood", "--negative", "advert")
    program("evaluate", registered, *arguments).is_refused(
        3, "'chat' (", "'unsure' (20)", "besides 'flood'; name each"
    )


def test_several_files_are_one_data_set(program: Program, tmp_path: Path) -> None:
    sample = pd.read_csv(SAMPLE, dtype=str)
    sample[:100].to_csv(tmp_path / "first.csv", index=False)
    renamed = sample[100:].rename(columns={"text": "tweet", "choose_one": "class"})
    renamed.to_csv(tmp_path / "second.tsv", index=False, sep="\t")
    arguments = ["--data", tmp_path / "first.csv"]
    arguments += ["--data", f"{tmp_path / 'second.tsv'}:text=tweet,label=class"]
    ran = program("evaluate", "1", *arguments, "--json", "-")
    figures = json.loads(ran.out)
    assert figures["part"] == "test part"  # the same data as the sample's
    assert figures["rows"] == 192
    ran = program("evaluate", "1", *arguments, "--json", tmp_path / "second.tsv")
    ran.is_refused(2, "second.tsv is the labelled data")


def test_training_keeps_columns_labels_and_languages(
    program: Program, registry: FolderRegistry, own: Path, tmp_path: Path
) -> None:
    own_table()[:120].to_json(own, orient="records", lines=True)
    arguments = ("--data", own, *OPTIONS, "--language", "en", "--language", "PT-br")
    recipe = write_recipe(tiny_recipe(), tmp_path / "tiny.toml")
    ran = program("train", *arguments, "--recipe", recipe, "--bundles", tmp_path / "bundles")
    assert ran.code == 0
    manifest = registry.resolve("candidate").manifest
    assert manifest.labelling.text_column == "tweet"
    assert manifest.labelling.positive == ("fire", "flood")
    assert manifest.labelling.negative == ("advert", "chat")
    assert manifest.labelling.leave_out == ("unsure",)
    assert manifest.languages == ("en", "pt-br")
    assert f"{own.name}: 100 tweets" in ran.err


def test_language_must_be_a_code(program: Program) -> None:
    ran = program("train", "--data", SAMPLE, "--language", "English")
    ran.is_refused(2, "--language 'English': expected a code such as en or pt-br")


def test_sample_has_no_copies() -> None:
    assert read_dataset(SAMPLE).notes == []

"""Leaving groups out: which tweets are a group, what is trained on, and what is said of it."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from shared.arrays import Floats
from shared.bundle.files import MODEL_CARD, read_manifest
from shared.errors import DataError
from tests.conftest import ROOT, SAMPLE
from tests.trainer.conftest import Program
from trainer.data.dataset import Dataset, Indices
from trainer.data.groups import FEWEST, groups_of, groups_to_leave_out
from trainer.data.read import read_dataset
from trainer.data.same_text import normalized_hashes
from trainer.data.split import split
from trainer.evaluate.leave_one_group_out import leave_groups_out


def found_by(keywords: list[str]) -> Dataset:
    """Return the sample with these keywords, in turn."""
    dataset = read_dataset(SAMPLE)
    return msgspec.structs.replace(
        dataset, keywords=[keywords[row % len(keywords)] for row in range(len(dataset.texts))]
    )


def test_few_values_are_groups_and_many_are_search_words() -> None:
    groups = groups_of(found_by(["Quake 2015", "", "Flood 2016"]))
    assert list(groups) == ["Flood 2016", "Quake 2015"]
    assert groups["Quake 2015"] == list(range(0, 640, 3))
    words = ["wildfire", "flooding", "arson", "", "bridge collapse", "army", "x1", "x2"]
    groups = groups_of(found_by([*words, *(f"flood {n}" for n in range(17))]))
    assert list(groups) == [
        "earth and collapse",
        "fire",
        "war, terror and crime",
        "water and weather",
    ]
    assert groups["fire"][:3] == [0, 2, 25]
    assert groups_of(read_dataset(SAMPLE)) == {}


def test_many_values_that_are_no_search_words_are_groups() -> None:
    crises = [f"crisis {n}" for n in range(21)]
    assert list(groups_of(found_by(crises))) == sorted(crises)
    parts = split(found_by(crises[:12]), 0.1, 1)
    groups = groups_to_leave_out(found_by(crises[:12]), parts, "crisis")
    assert {group.name for group in groups} < set(crises)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ([f"crisis {n}" for n in range(21)], "the column 'event' has 21 values, none of them with"),
        ([""], "the column 'event' has 0 values, none"),
        (["one"], "without 'event' 'one', 0 relevant and 0 other tweets are left"),
        (["one"] * 40 + ["two"], "without 'event' 'one', "),
    ],
)
def test_columns_that_make_no_group_are_refused(values: list[str], named: str) -> None:
    dataset = found_by(values)
    with pytest.raises(DataError) as raised:
        groups_to_leave_out(dataset, split(dataset, 0.1, 1), "event")
    assert named in str(raised.value)
    assert dataset.name in str(raised.value)
    assert "expected " in str(raised.value)


def test_group_that_leaves_one_label_is_refused() -> None:
    dataset = read_dataset(SAMPLE)
    names = ["relevant" if label else "other" for label in dataset.labels]
    dataset = msgspec.structs.replace(dataset, keywords=names)
    with pytest.raises(DataError, match=r"without 'event' 'other', \d+ relevant and 0 other"):
        groups_to_leave_out(dataset, split(dataset, 0.1, 1), "event")


def test_every_search_word_of_the_published_set_has_a_group(published: Path) -> None:
    dataset = read_dataset(published)
    groups = groups_of(dataset)
    assert len(groups) == 8
    assert sum(map(len, groups.values())) == sum(keyword != "" for keyword in dataset.keywords)
    assert min(map(len, groups.values())) > 500


def test_nothing_of_a_group_is_trained_on() -> None:
    dataset = found_by(["a", "b", "b", "b", "b", "b", "b", "b", "b", "b", "c", ""])
    twin = dataset.texts[1] + " http://t.co/again"
    dataset = msgspec.structs.replace(dataset, texts=[twin, *dataset.texts[1:]])
    parts = split(dataset, 0.1, 1)
    hashes = normalized_hashes(dataset.texts)
    seen: list[Indices] = []
    told: list[tuple[int, int]] = []

    def fit(others: Indices) -> Callable[[list[str]], Floats]:
        seen.append(others)
        return lambda texts: np.linspace(0.4, 0.6, len(texts), dtype=np.float32)

    groups = groups_to_leave_out(dataset, parts, "keyword")
    found = leave_groups_out(dataset, groups, 0.5, fit, lambda *pair: told.append(pair))
    assert [one.name for one in found] == ["a", "b", "c"]
    assert min(one.rows for one in found) >= FEWEST
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]
    whole = {*parts.train.tolist(), *parts.validation.tolist()}
    for one, others in zip(found, seen, strict=True):
        left = sorted(row for row in whole if dataset.keywords[row] == one.name)
        trained_on = set(others.tolist())
        assert trained_on < whole
        assert not set(hashes[left].tolist()) & set(hashes[sorted(trained_on)].tolist())
        lost = whole - trained_on - set(left)
        assert lost <= {0, 1}  # which repeat each other
        relevant = np.linspace(0.4, 0.6, len(left)) >= 0.5
        accuracy = float((relevant == dataset.labels[left]).mean())
        assert one.rows == len(left)
        assert one.figures["accuracy"].value == pytest.approx(accuracy)


@pytest.mark.slow
def test_program_measures_what_it_left_out(program: Program, few: Path, tmp_path: Path) -> None:
    with few.open(encoding="utf-8", newline="") as file:
        header, *records = csv.reader(file)
    data = tmp_path / "found.csv"
    with data.open("w", encoding="utf-8", newline="") as file:
        named = ([*record, ("flood", "quake")[n % 2]] for n, record in enumerate(records))
        csv.writer(file).writerows([[*header, "crisis"], *named])
    recipe = tmp_path / "quick.toml"
    tuned = (ROOT / "trainer" / "fit" / "recipes" / "tuned.toml").read_text("utf-8")
    kept = tuned.partition("[models.LSTM]")[0].replace("least_steps = 60", "least_steps = 0")
    recipe.write_text(kept, "utf-8")
    arguments = ["--recipe", recipe, "--bundles", tmp_path / "bundles", "--data", data]
    program("train", *arguments, "--leave-out-by", "crises").is_refused(3, "'crises'", "'crisis'")
    ran = program("train", *arguments, "--leave-out-by", "choose_one")
    assert (ran.code, ran.out) == (3, "")  # each label is a group, which leaves the other alone
    assert "without 'choose_one' 'Not Relevant'" in ran.err
    assert not list((tmp_path / "bundles").glob("*"))
    ran = program("train", *arguments, "--leave-out-by", "crisis", "--json", tmp_path / "f.json")
    assert ran.code == 0, ran.err
    (model,) = json.loads((tmp_path / "f.json").read_text())["models"]
    folder = tmp_path / "bundles" / model["name"]
    quality = read_manifest(folder).quality
    assert quality is not None
    assert [group.name for group in quality.groups] == ["flood", "quake"]
    assert model["quality"]["groups"] == msgspec.to_builtins(quality.groups)
    card = (folder / MODEL_CARD).read_text("utf-8")
    for group in quality.groups:
        assert f"| {group.name} | {group.rows} | {group.figures['accuracy']} |" in card
        assert f"({group.figures['accuracy'].value:.3f})" in ran.out

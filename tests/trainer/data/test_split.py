"""Dividing the rows into three parts, and writing some of them."""

import hashlib
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from sklearn.model_selection import train_test_split

from shared.errors import DataError
from tests.conftest import SAMPLE
from trainer.data.dataset import Dataset, write_rows
from trainer.data.read import read_dataset
from trainer.data.split import cut_test, grouped_folds, split
from trainer.fit.folds import FEWEST_TO_CROSS_VALIDATE, divide
from trainer.fit.recipes import load_recipe

COMMON = [f"{one}{two}" for one in "bcdfgh" for two in ("ad", "en", "ip", "ol", "ug", "ask", "est")]
"""Words, of which pairs make more texts than a recipe takes for few."""


def dataset_of(texts: list[str], labels: list[int]) -> Dataset:
    agreement = np.ones(len(texts), np.float32)
    return Dataset("made.csv", texts, np.array(labels, np.int8), agreement, "")


@pytest.fixture(scope="module")
def sample() -> Dataset:
    return read_dataset(SAMPLE)


class TestSplit:
    def test_test_part_is_the_article_s(self, sample: Dataset) -> None:
        rows = np.arange(len(sample.texts))
        _, expected = train_test_split(rows, test_size=0.3, random_state=1024)
        for seed in (0, 1024):
            assert split(sample, 0.1, seed).test.tolist() == expected.tolist()

    def test_always_no_scores_the_article_s_565_on_the_published_test_part(
        self, published: Path
    ) -> None:
        dataset = read_dataset(published)
        test = split(dataset, 0.1, 1024).test
        assert len(test) == 3258
        assert 1 - dataset.labels[test].mean() == pytest.approx(0.565, abs=5e-4)

    def test_parts_are_disjoint_and_cover_everything(self, sample: Dataset) -> None:
        parts = split(sample, 0.2, 5)
        together = np.concatenate([parts.train, parts.validation, parts.test])
        assert sorted(together.tolist()) == list(range(len(sample.texts)))
        share = len(parts.validation) / (len(parts.train) + len(parts.validation))
        assert share == pytest.approx(0.2, abs=0.05)

    def test_seed_decides_the_validation_part(self, sample: Dataset) -> None:
        first, again, other = (split(sample, 0.1, seed).validation for seed in (1, 1, 2))
        assert first.tolist() == again.tolist()
        assert set(first.tolist()) != set(other.tolist())

    def test_near_duplicates_stay_on_one_side_of_the_validation_cut(self) -> None:
        forms = (
            "{} burns {} http://t.co/a1 via @one",
            "{} BURNS {} http://t.co/b22 via @two",
            "{}  burns {}  https://t.co/c333?x=1 via @three",
        )
        texts, labels = [], []
        for group in range(60):
            word = "".join(chr(ord("a") + int(digit)) for digit in f"{group:03}")
            for number, form in enumerate(forms):
                texts.append(form.format(word, number + 7))
                labels.append(group % 2)
        for seed in range(5):
            parts = split(dataset_of(texts, labels), 0.3, seed)
            sides = [
                {row // len(forms) for row in side} for side in (parts.train, parts.validation)
            ]
            assert sides[0].isdisjoint(sides[1])
            assert len(parts.validation) > len(sides[1])  # some group has several members there

    @pytest.mark.parametrize("seed", range(5))
    def test_label_that_a_part_lacks_is_refused(self, seed: int) -> None:
        words = ["ash", "bog", "cod", "dew", "elm", "fog", "gum", "hay", "ink", "jam"]
        texts = [f"{word} {end}" for word in words for end in ("burns", "sings")]
        texts += [f"{one} {two}" for one in words for two in words]
        labels = [1] * 3 + [0] * (len(texts) - 3)
        with pytest.raises(DataError, match=r"made\.csv: the \w+ part, \d+ of 120 tweets"):
            split(dataset_of(texts, labels), 0.1, seed)

    def test_label_that_the_test_part_lacks_is_refused_where_folds_are_made(self) -> None:
        recipe = load_recipe("tuned")
        texts = [f"{one} {two}" for one in COMMON for two in COMMON]
        dataset = dataset_of(texts, [0] * len(texts))
        training, test = cut_test(dataset)
        assert len(training) > FEWEST_TO_CROSS_VALIDATE
        dataset.labels[training[::10]] = 1
        said = rf"made\.csv: the test part, {len(test)} of {len(texts)} tweets, holds one label"
        with pytest.raises(DataError, match=said):
            divide(recipe, dataset, None)
        dataset.labels[test[::10]] = 1
        divided = divide(recipe, dataset, None)
        assert divided.folds is not None
        assert divided.parts.test.tolist() == test.tolist()

    def test_texts_that_are_all_alike_are_refused(self) -> None:
        texts = [f"sale {number} http://t.co/{number}" for number in range(40)]
        with pytest.raises(DataError, match=r"made\.csv: the texts are all alike"):
            split(dataset_of(texts, [0, 1] * 20), 0.1, 1)


class TestWriteRows:
    def test_what_is_written_reads_the_same(self, sample: Dataset, tmp_path: Path) -> None:
        odd = [
            '"quoted", with comma',
            "two\nlines",
            "two\r\nother lines",
            "carriage\rreturn",
            "'",
            "NA",
            " é🔥\u2028 ",
        ]
        texts = odd + sample.texts[len(odd) :]
        dataset = msgspec.structs.replace(sample, texts=texts)
        rows = np.concatenate([np.arange(30), np.arange(100, 60, -1)])
        write_rows(dataset, rows, tmp_path / "some.csv")
        found = read_dataset(tmp_path / "some.csv")
        assert found.texts == [texts[row] for row in rows]
        assert found.labels.tolist() == dataset.labels[rows].tolist()

    def test_whole_dataset_keeps_its_content_hash(self, sample: Dataset, tmp_path: Path) -> None:
        write_rows(sample, np.arange(len(sample.texts)), tmp_path / "all.csv")
        assert read_dataset(tmp_path / "all.csv").sha256 == sample.sha256

    @pytest.mark.parametrize("path", ["", "missing/some.csv"])
    def test_path_that_cannot_be_written_is_refused(
        self, sample: Dataset, tmp_path: Path, path: str
    ) -> None:
        with pytest.raises(DataError, match="cannot be written") as raised:
            write_rows(sample, np.arange(30), tmp_path / path)
        assert str(tmp_path / path) in str(raised.value)


def test_parts_of_the_published_set_are_those_of_all_figures(published: Path) -> None:
    def digest(rows: npt.NDArray[np.integer]) -> str:
        return hashlib.sha256(np.asarray(rows, "<i8").tobytes()).hexdigest()[:16]

    dataset = read_dataset(published)
    assert dataset.is_published
    assert dataset.notes == ['left out: "Can\'t Decide" (16)']
    training, test = cut_test(dataset)
    assert (digest(training), digest(test)) == ("b759d38194179a89", "47f176409655b771")
    parts = split(dataset, 0.1, 1024)
    assert (digest(parts.train), digest(parts.validation)) == (
        "2a2ab7b7ae9dbc87",
        "6929b33106647887",
    )
    assert digest(grouped_folds(dataset, training, 4)) == "5be3670136afa6fb"

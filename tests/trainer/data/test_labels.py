"""What labels mean, what is left out, and one row a text."""

import csv
from pathlib import Path

import numpy as np
import pytest

from shared.bundle.manifest import Labelling
from shared.errors import DataError
from trainer.data.dataset import Dataset
from trainer.data.read import read_dataset
from trainer.data.same_text import group_copies
from trainer.data.split import cut_test, cut_validation, grouped_folds

WORDS = ["ash", "bog", "cod", "dew", "elm", "fog", "gum", "hay", "ink", "jam", "kid", "log"]


def read(path: Path, rows: list[tuple[str, ...]], labelling: Labelling, *more: str) -> Dataset:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label", *more), *rows])
    return read_dataset(path, labelling)


def rows_of(**labels: int) -> list[tuple[str, ...]]:
    """Return rows with different texts, this many of each label."""
    return [
        (f"{label} {WORDS[number % 12]} {WORDS[number // 12]}", label.replace("_", " "))
        for label, count in labels.items()
        for number in range(count)
    ]


class TestMeaning:
    ROWS = rows_of(flood=12, fire=11, advert=13, chat=14, unclear=10)

    def test_several_labels_of_each_kind(self, tmp_path: Path) -> None:
        labelling = Labelling(
            "text", "label", (" flood", "fire "), ("advert", "chat"), ("unclear",)
        )
        dataset = read(tmp_path / "own.csv", self.ROWS, labelling)
        assert dataset.labels.tolist() == [1] * 23 + [0] * 27
        assert dataset.notes == ["left out: 'unclear' (10)"]
        assert dataset.labelling == labelling

    def test_the_only_label_that_is_left_is_negative(self, tmp_path: Path) -> None:
        labelling = Labelling("text", "label", ("flood", "fire"), (), ("unclear", "chat"))
        dataset = read(tmp_path / "own.csv", self.ROWS, labelling)
        assert dataset.labels.tolist() == [1] * 23 + [0] * 13

    @pytest.mark.parametrize(
        ("labelling", "expected"),
        [
            (
                Labelling("text", "label", ("flood", "fire"), ("chat",)),
                "holds 'advert' (13), 'unclear' (10) besides 'flood' and 'fire'; name each by "
                "--positive, --negative or --leave-out",
            ),
            (
                Labelling("text", "label", ("Flood",), ("chat",)),
                "expected two labels, 'Flood' and another, and 10 rows or more of each; found "
                "'chat' (14), 'advert' (13), 'flood' (12), 'fire' (11), 'unclear' (10)",
            ),
            (
                Labelling("text", "label", ("flood",), ("flood", "chat")),
                "label 'flood' is given two meanings; expected one",
            ),
        ],
    )
    def test_labels_without_a_meaning_are_refused(
        self, tmp_path: Path, labelling: Labelling, expected: str
    ) -> None:
        with pytest.raises(DataError) as raised:
            read(tmp_path / "own.csv", self.ROWS, labelling)
        assert expected in str(raised.value)

    def test_label_that_no_row_has_is_said(self, tmp_path: Path) -> None:
        labelling = Labelling("text", "label", ("flood", "Fire"), (), ("advert", "chat", "unclear"))
        dataset = read(tmp_path / "own.csv", self.ROWS, labelling)
        assert "no row is labelled 'Fire' (--positive)" in dataset.notes

    def test_blank_labels_and_texts_are_left_out_and_counted(self, tmp_path: Path) -> None:
        rows = rows_of(yes=12, no=12)
        for number in range(0, 14, 2):
            rows.insert(number, (f"nobody said {WORDS[number % 12]}", " \t"))
        rows.insert(0, (" \n", "yes"))
        dataset = read(tmp_path / "own.csv", rows, Labelling("text", "label", ("yes",)))
        assert dataset.labels.tolist() == [1] * 12 + [0] * 12
        assert dataset.notes == [
            "own.csv: left out: 1 row with an empty 'text' (line 2)",
            "own.csv: left out: 7 rows with an empty 'label' (line 4, line 6, line 8, line 10, "
            "line 12, …)",
        ]


class TestVotes:
    YES = Labelling("text", "label", ("yes",))

    def test_majority_of_three_annotators(self, tmp_path: Path) -> None:
        rows = [row for row in rows_of(yes=12, no=12) for _ in range(3)]
        rows[1] = (rows[1][0].replace(" ", "  ") + "\n", "no")  # blanks make no other text
        rows[40] = (rows[40][0], "yes")
        dataset = read(tmp_path / "own.csv", rows, self.YES)
        assert dataset.texts == [text for text, _ in rows_of(yes=12, no=12)]
        assert dataset.labels.tolist() == [1] * 12 + [0] * 12
        expected = [1.0] * 24
        expected[0] = expected[13] = 2 / 3
        assert dataset.agreement.tolist() == pytest.approx(expected)
        assert dataset.notes == [
            "merged: 48 rows that repeat a text; its most frequent label holds",
            "conflicts: 2 of the repeated texts have both labels (line 2, line 42); left out for "
            "want of a majority: 0",
        ]

    def test_text_without_a_majority_is_left_out(self, tmp_path: Path) -> None:
        rows = rows_of(yes=12, no=12)
        rows.append((rows[0][0], "no"))
        dataset = read(tmp_path / "own.csv", rows, self.YES)
        assert rows[0][0] not in dataset.texts
        assert dataset.notes[1].endswith("(line 2); left out for want of a majority: 1")

    def test_stated_agreement_counts(self, tmp_path: Path) -> None:
        path = tmp_path / "own.csv"
        rows = [(*row, "1") for row in rows_of(Relevant=12, Not_Relevant=12)]
        text = rows[0][0]
        rows[0:1] = [
            (text, "Relevant", ".8"),
            (text, "Relevant", ".6"),
            (text, "Not Relevant", ".7"),
        ]
        with path.open("w", newline="") as file:
            header = ("text", "choose_one", "choose_one:confidence")
            csv.writer(file).writerows([header, *rows])
        assert read_dataset(path).agreement[0] == pytest.approx((0.8 + 0.6 + 0.3) / 3)

    def test_copies_with_other_labels_are_counted(self, tmp_path: Path) -> None:
        rows = rows_of(yes=12, no=12)
        rows.append((f"RT @one: {rows[0][0].upper()} http://t.co/x", "no"))
        dataset = read(tmp_path / "own.csv", rows, self.YES)
        assert len(dataset.texts) == 25
        assert dataset.notes == [
            "conflicts: 1 more in copies that differ in links, mentions, numbers, punctuation, "
            "RT or case alone (line 2); all copies are kept"
        ]

    def test_what_the_votes_leave_must_suffice(self, tmp_path: Path) -> None:
        rows = rows_of(yes=5, no=12) * 2
        with pytest.raises(DataError, match="10 different texts or more of each label; found 5 re"):
            read(tmp_path / "own.csv", rows, self.YES)


COPIES = (
    "{} breaks at {} and people leave their houses",
    "RT @one: {} breaks at {} and people leave their houses http://t.co/abc",
    "{} BREAKS at {}, and people leave their houses!!! @two",
    "“{} breaks at {} and people leave their houses” 17",
    "RT @three: {} breaks at {} and people leave thei… http://t.co/d",
)


class TestSides:
    def made(self) -> Dataset:
        pairs = [(one, two) for one in WORDS for two in WORDS if one < two]
        texts = [form.format(one, two) for form in COPIES for one, two in pairs]
        labels = np.array([number % 2 for number in range(len(pairs))] * len(COPIES), np.int8)
        return Dataset("made.csv", texts, labels, np.ones(len(texts), np.float32), "")

    def test_copies_have_one_number(self) -> None:
        dataset = self.made()
        count = len(dataset.texts) // len(COPIES)
        assert group_copies(dataset.texts).tolist() == list(range(count)) * len(COPIES)

    def test_no_text_stands_on_both_sides_of_a_cut(self) -> None:
        dataset = self.made()
        count = len(dataset.texts) // len(COPIES)
        training, test = cut_test(dataset)
        assert sorted([*training, *test]) == list(range(len(dataset.texts)))
        assert len(test) == pytest.approx(0.3 * len(dataset.texts), abs=len(COPIES))
        train, validation = cut_validation(dataset, training, 0.2, 1)
        folds = grouped_folds(dataset, training, 4)
        sides = [train, validation, test]
        for one, two in [(0, 1), (0, 2), (1, 2)]:
            assert not set(sides[one] % count) & set(sides[two] % count)
        inside = [set(training[folds == fold] % count) for fold in range(4)]
        assert sum(map(len, inside)) == len(set.union(*inside))

    def test_few_words_that_are_cut_off_are_no_copy(self) -> None:
        texts = ["fire in the…", "fire in the city of Braga, people leave", "fire in the hole"]
        assert group_copies(texts).tolist() == [0, 1, 2]

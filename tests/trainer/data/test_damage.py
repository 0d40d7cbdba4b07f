"""Damaged files are refused, with the line and what is odd; nothing of them is used."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from shared.bundle.manifest import Labelling
from shared.errors import DataError
from trainer.data.damage import LONGEST
from trainer.data.read import read_dataset

YES = Labelling(label_column="label", positive=("yes",))
ROWS = [(f"house {i} burns, people leave", "yes") for i in range(50)]
ROWS += [(f"mixtape {i} is fire", "no") for i in range(50)]


def lines_of(
    header: tuple[str, ...] = ("text", "label"),
    row: Callable[[str, str], tuple[str, ...]] = lambda text, label: (text, label),
    quoting: int = csv.QUOTE_MINIMAL,
) -> list[str]:
    """Return the lines of a CSV file, the header first."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n", quoting=quoting)  # type: ignore[arg-type]
    writer.writerow(header)
    writer.writerows(row(text, label) for text, label in ROWS)
    return file.getvalue().splitlines()


def refusal(path: Path, lines: list[str], labelling: Labelling = YES) -> str:
    path.write_text("\n".join(lines) + "\n", "utf-8")
    with pytest.raises(DataError) as raised:
        read_dataset(path, labelling)
    message = str(raised.value)
    assert message.startswith(f"{path} is damaged, and nothing of it was used: ")
    assert "\n" not in message
    assert "people leave" not in message
    return message.removeprefix(f"{path} is damaged, and nothing of it was used: ")


LAYOUTS = {
    "text first": (("text", "label"), lambda text, label: (text, label)),
    "text last": (("label", "text"), lambda text, label: (label, text)),
    "in the middle": (
        ("id", "text", "place", "label", "rest"),
        lambda text, label: ("17", text, "here", label, "x"),
    ),
}


class TestQuotes:
    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_stray_quote_that_swallows_rows(self, tmp_path: Path, layout: str) -> None:
        header, row = LAYOUTS[layout]
        lines = lines_of(header, row)
        lines[60] = lines[60].replace("mixtape", '"mixtape')
        lines[90] = lines[90].replace("is fire", 'is fire"')
        message = refusal(tmp_path / "own.csv", lines)
        assert message.startswith("line 61: a text of ")
        assert message.endswith("contains other records; is a quote not closed?")

    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_closing_quote_that_is_missing(self, tmp_path: Path, layout: str) -> None:
        header, row = LAYOUTS[layout]
        lines = lines_of(header, row, csv.QUOTE_ALL)
        lines[60] = lines[60].replace('is fire"', "is fire")
        message = refusal(tmp_path / "own.csv", lines)
        assert message.startswith("line 61: a quote ")

    def test_quotes_that_close_well_and_swallow_rows(self, tmp_path: Path) -> None:
        lines = ["text,label"]
        lines += [f"{text.replace(',', '')},{label}" for text, label in ROWS]
        lines[5] = '"' + lines[5]
        lines[45] = lines[45].replace(",yes", '",yes')
        assert refusal(tmp_path / "own.csv", lines) == (
            "line 6: a text of 1301 characters that contains other records; is a quote not closed?"
        )

    def test_one_row_is_enough(self, tmp_path: Path) -> None:
        lines = ["text,label", *(f"{text.replace(',', '')},{label}" for text, label in ROWS)]
        lines[5] = '"' + lines[5]
        lines[6] = lines[6].replace(",yes", '",yes')
        assert refusal(tmp_path / "own.csv", lines).startswith("line 6: a text of ")

    def test_quote_that_is_never_closed(self, tmp_path: Path) -> None:
        lines = ["text,label", *(f"{text.replace(',', '')},{label}" for text, label in ROWS)]
        lines[97] = '"' + lines[97]
        assert refusal(tmp_path / "own.csv", lines) == (
            "line 98: a quote opens a field that never ends; write a quote within a text twice"
        )

    def test_quote_that_is_not_doubled(self, tmp_path: Path) -> None:
        lines = lines_of(quoting=csv.QUOTE_ALL)
        lines[7] = '"they said "run" and left","yes"'
        assert refusal(tmp_path / "own.csv", lines) == (
            "line 8: a quote ends a field that goes on; write a quote within a text twice"
        )

    def test_escapes_in_some_rows_alone(self, tmp_path: Path) -> None:
        lines = lines_of(quoting=csv.QUOTE_ALL)
        lines[7] = '"they said \\"run\\" and left","yes"'
        lines[9] = '"they said "run" and left","yes"'
        message = refusal(tmp_path / "own.csv", lines)
        assert message.startswith('line 8: \\" does not escape a quote in CSV; write ""; line 10: ')

    def test_quotes_within_a_text_that_is_not_quoted_are_its_own(self, tmp_path: Path) -> None:
        lines = lines_of()
        lines[60] = 'they said "run" and left,no'
        (tmp_path / "own.csv").write_text("\n".join(lines))
        assert read_dataset(tmp_path / "own.csv", YES).texts[59] == 'they said "run" and left'


class TestFields:
    def test_delimiter_that_is_not_quoted(self, tmp_path: Path) -> None:
        lines = lines_of()
        lines[60] = "fire, flood and storm,no"
        assert refusal(tmp_path / "own.csv", lines) == (
            "line 61: 3 fields where the header has 2; is a text not quoted?"
        )

    def test_line_break_that_is_not_quoted(self, tmp_path: Path) -> None:
        lines = lines_of()
        lines[60:61] = ["fire", "and more,no"]
        assert refusal(tmp_path / "own.csv", lines) == (
            "line 61: 1 field where the header has 2; is a line break not quoted?"
        )

    def test_columns_that_nobody_asked_for_may_be_missing(self, tmp_path: Path) -> None:
        lines = [line + ",note" for line in lines_of()]
        lines[60] = lines[60].removesuffix(",note")
        (tmp_path / "own.csv").write_text("\n".join(lines))
        assert len(read_dataset(tmp_path / "own.csv", YES).texts) == 100


class TestTexts:
    def test_text_that_no_post_has(self, tmp_path: Path) -> None:
        lines = lines_of()
        lines[60] = "la" * (LONGEST // 2) + "!,no"
        assert refusal(tmp_path / "own.csv", lines) == (
            f"line 61: a text of {LONGEST + 1} characters, which no post has"
        )
        lines[60] = lines[60].replace("!,no", ",no")
        (tmp_path / "own.csv").write_text("\n".join(lines))
        assert len(read_dataset(tmp_path / "own.csv", YES).texts) == 100

    def test_text_that_contains_records_in_a_format_without_quotes(self, tmp_path: Path) -> None:
        table = pd.DataFrame(ROWS, columns=["text", "label"])
        table.loc[40, "text"] = "flood,yes\nhouse on fire,yes\nall is well"
        for name in ("own.jsonl", "own.parquet", "own.xlsx"):
            path = tmp_path / name
            if name == "own.jsonl":
                table.to_json(path, orient="records", lines=True)
            elif name == "own.parquet":
                table.to_parquet(path)
            else:
                table.to_excel(path, index=False)
            with pytest.raises(DataError, match="a text of 39 characters that contains other rec"):
                read_dataset(path, YES)

    def test_lines_of_a_tweet_are_no_records(self, tmp_path: Path) -> None:
        texts = [
            "Result:\nCroatia wins 2,1\nwhat a match",
            "Fire in\n- Porto\n- Braga\n\nstay safe, all",
            "A, yes\nof course",
        ]
        path = tmp_path / "own.csv"
        with path.open("w", newline="") as file:
            rows = [(text, "2") for text in texts]
            rows += [(text, "1" if label == "yes" else "2") for text, label in ROWS]
            csv.writer(file).writerows([("text", "label"), *rows])
        dataset = read_dataset(path, Labelling(label_column="label", positive=("1",)))
        assert dataset.texts[:3] == texts


class TestMessage:
    def test_first_ten_faults_are_in_one_message(self, tmp_path: Path) -> None:
        lines = lines_of()
        for number in (3, 50, 60, 61, 62, 70, 80, 81, 82, 83, 90, 95):
            lines[number] = "a, b, c and d, no"
        message = refusal(tmp_path / "own.csv", lines)
        for number in (4, 51, 61, 62, 63, 71, 81, 82, 83, 84):
            assert f"line {number}: " in message
        assert "line 91" not in message
        assert message.endswith("these are the first 10 faults")

    def test_faults_of_every_kind_are_in_the_order_of_lines(self, tmp_path: Path) -> None:
        lines = lines_of()
        lines[90] = "a, b, c"
        lines[70] = '"he said "no" again",no'
        lines[60] = "#NAME?,no"
        message = refusal(tmp_path / "own.csv", lines)
        assert [part.split(":")[0] for part in message.split("; line")] == [
            "line 61",
            " 71",
            " 91",
        ]

    def test_line_is_the_file_s(self, tmp_path: Path) -> None:
        lines = ["sep=,", "", *lines_of()]
        lines[10:10] = ['"two', 'lines",yes']
        lines[60] = "a, b, c"
        assert refusal(tmp_path / "own.csv", lines).startswith("line 61: ")

    def test_json_lines(self, tmp_path: Path) -> None:
        lines = [f'{{"text": "house {i} burns", "label": "yes"}}' for i in range(20)]
        lines[4] = lines[4][:-5]
        lines[6] = '["people leave"]'
        assert refusal(tmp_path / "own.jsonl", lines) == (
            "line 5: not JSON; line 7: JSON, but not an object"
        )

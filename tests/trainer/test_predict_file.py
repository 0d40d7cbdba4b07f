"""`triage-trainer predict --data`: a file's rows with what the model says of them."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from shared.bundle.load import Bundle
from tests.conftest import SAMPLE
from tests.trainer.conftest import Program

READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": pd.read_csv,
    ".tsv": lambda path: pd.read_csv(path, sep="\t"),
    ".jsonl": lambda path: pd.read_json(path, lines=True),
    ".parquet": pd.read_parquet,
}


def table() -> pd.DataFrame:
    texts = pd.read_csv(SAMPLE, dtype=str)["text"][:40].tolist()
    texts[5] = 'two\r\nlines, "quoted";\tand more'
    texts[7], texts[9] = "", "  "
    return pd.DataFrame({"id": range(40), "message": texts, "place": "Évora"})


@pytest.mark.parametrize(
    ("given", "suffix"),
    [(".csv", ".parquet"), (".jsonl", ".csv"), (".parquet", ".tsv"), (".xlsx", ".jsonl")],
)
def test_rows_keep_their_columns_and_gain_scores(
    program: Program, bundle: Bundle, tmp_path: Path, given: str, suffix: str
) -> None:
    data, out = tmp_path / f"tweets{given}", tmp_path / f"scored{suffix}"
    frame = table()
    if given == ".csv":
        frame.to_csv(data, index=False)
    elif given == ".jsonl":
        frame.to_json(data, orient="records", lines=True)
    elif given == ".parquet":
        frame.to_parquet(data)
    else:
        frame.to_excel(data, index=False)
    ran = program("predict", "--data", data, "--text-column", "message", "--out", out)
    assert (ran.code, ran.out) == (0, "")
    assert ran.err.endswith(f"{out}: 38 rows scored; skipped: 2 without a text\n")
    found = READERS[suffix](out)
    kept = frame.drop(index=[7, 9]).reset_index(drop=True)
    assert found["id"].astype(int).tolist() == kept["id"].tolist()
    assert found["place"].tolist() == kept["place"].tolist()
    texts = kept["message"].tolist()
    if given == ".xlsx":  # which ends lines in its own way
        texts = [text.replace("\r\n", "\n") for text in texts]
    assert found["message"].tolist() == texts
    scores = bundle.scorer.score(texts)
    assert found["probability"].tolist() == pytest.approx(scores.tolist(), abs=1e-6)
    assert found["relevant"].tolist() == (scores >= bundle.manifest.threshold).tolist()
    assert set(found["version"]) == {1}
    assert found["threshold"].tolist() == pytest.approx([bundle.manifest.threshold] * 38)


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["--data", "own.csv"], 2, ["expected both --data and --out"]),
        (["--data", "own.csv", "--out", "scored.txt"], 2, ["ends with .csv, .tsv, .jsonl"]),
        (["--data", "own.csv", "--out", "own.csv"], 2, ["own.csv is the labelled data"]),
        (["--data", "own.csv", "--out", "missing/a.csv"], 3, ["missing/a.csv cannot be written"]),
        (["--data", "own.csv", "--out", "a.csv", "a text"], 2, ["no texts and no --json"]),
        (["--data", "missing.csv", "--out", "a.csv"], 3, ["missing.csv cannot be read"]),
        (["--data", "own.csv", "--out", "a.csv", "--text-column", "x"], 3, ["no column 'x'"]),
        (["--data", "damaged.csv", "--out", "a.csv"], 3, ["line 2: 3 fields where"]),
        (["--data", "scored.csv", "--out", "a.csv"], 3, ["a column 'probability' already"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_refused(
    program: Program,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    code: int,
    named: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.csv").write_text("text,id\nhouse burns,1\n")
    Path("damaged.csv").write_text("text,id\nhouse, burns,1\n")
    Path("scored.csv").write_text("text,probability\nhouse burns,1\n")
    program("predict", *arguments).is_refused(code, *named)
    assert not Path("a.csv").exists()


def test_blank_lines_are_skipped_and_counted(program: Program, bundle: Bundle) -> None:
    ran = program("predict", "--json", stdin=b"house burns\n\n  \nmixtape is fire\n")
    found = [json.loads(line) for line in ran.out.splitlines()]
    assert [line["text"] for line in found] == ["house burns", "mixtape is fire"]
    assert {(line["version"], line["threshold"]) for line in found} == {
        (1, bundle.manifest.threshold)
    }
    assert ran.err.endswith("skipped: 2 blank lines\n")
    assert np.isfinite([line["probability"] for line in found]).all()

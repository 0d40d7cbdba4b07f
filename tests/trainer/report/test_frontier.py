"""The picture of quality against speed."""

import json
from pathlib import Path

import pytest

from shared.bundle.quality import Figure
from shared.errors import DataError
from trainer.report.frontier import Point, main, unbeaten


def point(name: str, rate: float, value: float) -> Point:
    return Point(name, name[0], rate, "roc_auc", Figure(value, value - 0.01, value + 0.02))


def test_unbeaten_are_those_that_no_other_one_excels_in_both() -> None:
    points = [point("a", 10, 0.9), point("b", 100, 0.8), point("c", 50, 0.7), point("d", 100, 0.6)]
    assert [one.name for one in unbeaten(points)] == ["b", "a"]
    assert unbeaten([]) == []


def test_every_model_and_family_is_in_the_picture(tmp_path: Path) -> None:
    source, target = tmp_path / "points.json", tmp_path / "frontier.svg"
    row = {"tweets_per_second": 9000, "metric": "roc_auc"}
    figure = {"value": 0.88, "low": 0.87, "high": 0.89}
    models = [("LSTM", "tuned"), ("LSTM of the article", "article"), ("teacher", "teacher")]
    points = [{"name": n, "family": f, **row, "figure": figure} for n, f in models]
    source.write_text(json.dumps(points))
    assert main([str(source), str(target)]) == 0
    picture = target.read_text("utf-8")
    for text in ("LSTM of the article", "tuned", "teacher", "ROC AUC", "tweets a second"):
        assert f"<!-- {text} -->" in picture
    main([str(source), str(tmp_path / "again.svg")])
    assert (tmp_path / "again.svg").read_text("utf-8") == picture


@pytest.mark.parametrize("content", ["{", "[]", '[{"name": "a"}]'])
def test_what_is_no_list_of_points_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "points.json").write_text(content)
    with pytest.raises(DataError, match=r"points\.json: expected"):
        main([str(tmp_path / "points.json"), str(tmp_path / "out.svg")])

"""The recipes on the published data set: what the article got, and that it can be done better.

The feed-forward model of each recipe is trained, as all models take 15 minutes.
`tests.trainer.seeds` measures all models of the tuned recipe over several seeds.
"""

import json
import os
import re
import subprocess
import sys
import tomllib
from contextlib import ExitStack
from pathlib import Path

import pytest
import tomli_w

from tests.conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

MODEL = "Vanilla-Feedforward-NN"
ARTICLE = 0.78
"""Accuracy that the article reports for its feed-forward model."""
LABEL_NOISE = 0.887
"""The share of published labels that a perfect reader would agree with, by the annotators'
agreement. A model that is better has seen the test part."""

Figures = dict[str, dict[str, float]]


@pytest.fixture(scope="module")
def figures(published: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Figures]:
    """Return the reported metrics of a feed-forward model by recipe and part."""
    folder = tmp_path_factory.mktemp("published")
    environment = os.environ | {
        "TRIAGE_REGISTRY": f"file:{folder / 'registry'}",
        "PYTHONPATH": str(ROOT),
    }
    running = {}
    with ExitStack() as stack:
        for name in ("article", "tuned"):  # side by side, as each leaves half a core idle
            recipe = tomllib.loads((ROOT / "trainer/fit/recipes" / f"{name}.toml").read_text())
            recipe["models"] = {MODEL: recipe["models"][MODEL]}
            path = folder / f"{name}.toml"
            path.write_text(tomli_w.dumps(recipe))
            command = [sys.executable, "-m", "trainer.cli", "train", "--data", str(published)]
            command += ["--recipe", str(path), "--bundles", str(folder / name)]
            command += ["--json", str(folder / f"{name}.json")]
            running[name] = stack.enter_context(subprocess.Popen(command, env=environment))
            stack.callback(running[name].kill)
        assert [process.wait() for process in running.values()] == [0, 0]
    found = {}
    for name in running:
        (found[name],) = json.loads((folder / f"{name}.json").read_text())["models"]
    return found


def test_the_article_is_reproduced(figures: dict[str, Figures]) -> None:
    assert figures["article"]["test"]["accuracy"] == pytest.approx(ARTICLE, abs=0.015)
    assert figures["article"]["train"]["accuracy"] > 0.97


def test_the_tuned_model_is_better_without_a_leak(figures: dict[str, Figures]) -> None:
    tuned, article = figures["tuned"]["test"], figures["article"]["test"]
    assert tuned["accuracy"] > article["accuracy"] + 0.025
    assert tuned["roc_auc"] > article["roc_auc"] + 0.03
    assert tuned["calibration_error"] < 0.03
    assert tuned["accuracy"] < LABEL_NOISE


def test_the_documented_figures_are_these(figures: dict[str, Figures]) -> None:
    page = (ROOT / "README.md").read_text("utf-8")
    for recipe, found in figures.items():
        (row,) = re.findall(rf"^\| `{recipe}`.*", page, re.MULTILINE)
        accuracy, roc_auc = map(float, re.findall(r"([\d.]+) % \(([\d.]+)\)", row)[0])
        # Processors add in different orders, and training lets the difference grow.
        assert accuracy / 100 == pytest.approx(found["test"]["accuracy"], abs=0.012)
        assert roc_auc == pytest.approx(found["test"]["roc_auc"], abs=0.012)

"""The report's page in a real browser, at two widths."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shared.bundle.load import load_bundle
from tests.conftest import SAMPLE, Trained
from tests.missing import skip_or_fail
from trainer.data.duplicates import held_out_rows
from trainer.data.read import read_dataset
from trainer.evaluate.loaded_model import LoadedModel
from trainer.evaluate.metrics import METRICS
from trainer.report.contents import contents
from trainer.report.write import write_report

pytestmark = pytest.mark.slow

WIDTHS = (1280, 400)

HOST = """<!doctype html><meta charset="utf-8"><body>
<script>
const widths = %s;
onload = () => {
  const found = [...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument, root = page.documentElement;
    return {
      width: frame.contentWindow.innerWidth,
      overflow: root.scrollWidth - root.clientWidth,
      images: [...page.images].map(i => ({size: i.naturalWidth, described: i.alt.length})),
      requests: frame.contentWindow.performance.getEntriesByType("resource").map(r => r.name),
      tables: [...page.querySelectorAll("table")].map(table => ({
        caption: table.caption && table.caption.textContent,
        unlabelled: [...table.querySelectorAll("th")].filter(cell => !cell.scope).length,
        rows: [...table.rows].map(row => [...row.cells].map(cell => cell.textContent.trim())),
      })),
      broken: [...page.querySelectorAll("nav a")].filter(a => !page.querySelector(a.hash)).length,
      text: page.body.textContent,
    };
  });
  document.body.textContent = JSON.stringify(found);
};
for (const width of widths) {
  const frame = document.createElement("iframe");
  frame.style = `width: ${width}px; height: 900px; border: 0`;
  frame.src = "report.html";
  document.body.append(frame);
}
</script>
"""

TEXT = '<script>alert(1)</script> <img src=x onerror=alert(1)> & "quoted" {{ 7*7 }} 😂\x1b[31m'
"""A tweet that means to be more than a text."""


class Opened(msgspec.Struct, frozen=True):
    """What a browser found: a page for each width, and what it wrote to its console."""

    pages: list[dict[str, Any]]
    console: list[str]


def browse(folder: Path) -> Opened:
    """Open `report.html` of a folder in Chromium, without a network."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        skip_or_fail("Chromium is not installed")
    (folder / "host.html").write_text(HOST % json.dumps(WIDTHS), "utf-8")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1800,1000"]
    command += ["--allow-file-access-from-files", "--virtual-time-budget=20000"]
    command += ["--enable-logging=stderr", "--host-resolver-rules=MAP * ~NOTFOUND"]
    command += [f"--user-data-dir={folder / 'profile'}", "--dump-dom"]
    done = subprocess.run(
        [*command, (folder / "host.html").as_uri()], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    (body,) = re.findall(r"<body>(.*)</body>", done.stdout, re.DOTALL)
    for entity, character in (("&lt;", "<"), ("&gt;", ">"), ("&nbsp;", "\xa0"), ("&amp;", "&")):
        body = body.replace(entity, character)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return Opened(json.loads(body), console)


@pytest.fixture(scope="module")
def folder(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the report on the training's models, with one tweet of unusual characters."""
    path = tmp_path_factory.mktemp("page")
    dataset = read_dataset(SAMPLE)
    names = ["Vanilla-Feedforward-NN", "LSTM", "Bidirectional-RNN"]
    models = [
        LoadedModel(name, trained.bundles / name, load_bundle(trained.bundles / name))
        for name in names
    ]
    rows, test_part = held_out_rows(dataset, [c.bundle.manifest for c in models])
    report, measured = contents(models, dataset, rows, test_part=test_part, created="today")
    model = report.models[0]
    mistake = msgspec.structs.replace(model.misses[0], text=TEXT, drivers=[])
    changed = msgspec.structs.replace(model, misses=[mistake, *model.misses[1:]])
    report = msgspec.structs.replace(report, models=[changed, *report.models[1:]])
    write_report(report, measured, path)
    return path


@pytest.fixture(scope="module")
def opened(folder: Path) -> Opened:
    return browse(folder)


def test_page_asks_for_nothing_and_complains_of_nothing(opened: Opened) -> None:
    assert opened.console == []
    assert [page["requests"] for page in opened.pages] == [[], []]


def test_a_request_would_be_noticed(folder: Path, tmp_path: Path) -> None:
    page = (folder / "report.html").read_text("utf-8")
    image = '<img src="http://127.0.0.1:9/x.png" alt="">'
    (tmp_path / "report.html").write_text(page.replace("<main>", f"<main>{image}", 1), "utf-8")
    assert any("Content Security Policy" in line for line in browse(tmp_path).console)
    free = re.sub(r"<meta http-equiv=.*>", "", page).replace("<main>", f"<main>{image}", 1)
    (tmp_path / "report.html").write_text(free, "utf-8")
    requests = [page["requests"] for page in browse(tmp_path).pages]
    assert requests == [["http://127.0.0.1:9/x.png"]] * 2


def test_page_fits_its_width(opened: Opened) -> None:
    assert [page["width"] for page in opened.pages] == list(WIDTHS)
    assert [page["overflow"] for page in opened.pages] == [0, 0]


def test_pictures_are_there_and_described(opened: Opened) -> None:
    for page in opened.pages:
        assert len(page["images"]) == 9
        for image in page["images"]:
            assert image["size"] > 300
            assert image["described"] > 40


def test_tables_are_captioned_and_labelled(opened: Opened) -> None:
    for page in opened.pages:
        assert len(page["tables"]) > 10
        assert page["broken"] == 0
        for table in page["tables"]:
            assert table["caption"]
            assert table["unlabelled"] == 0


def test_tables_hold_the_numbers_of_the_json(opened: Opened, folder: Path) -> None:
    report = json.loads((folder / "report.json").read_text("utf-8"))

    def shown(figure: dict[str, float] | None, form: str = "%.3f") -> str:
        if figure is None:
            return "–"
        values = tuple(form % figure[key] for key in ("value", "low", "high"))
        return f"{values[0]}{values[1]} to {values[2]}".replace("-", "−")

    for page in opened.pages:
        rows = [tuple(row) for table in page["tables"] for row in table["rows"]]
        for model in report["models"]:
            figures = [shown(model["figures"].get(metric)) for metric in METRICS]
            assert (model["name"], *figures) in rows
            for row in model["thresholds"]:
                columns = ("alerts", "precision", "recall", "f1", "accuracy")
                expected = [shown(row["figures"].get(metric)) for metric in columns]
                named = f"{row['threshold']} {', '.join(row['names'])}".strip()
                assert (named, *expected) in rows
            for bin_ in model["calibration"]:
                mean = f"{bin_['mean_probability']:.3f}"
                assert (mean, str(bin_["tweets"]), shown(bin_["relevant"])) in rows
        for one, *others in zip(*(model["behaviour"] for model in report["models"]), strict=True):
            expected = [shown(behaves["share"]) for behaves in (one, *others)]
            assert (one["kind"], str(one["texts"]), *expected) in rows
        for comparison in report["comparisons"]:
            names = f"{comparison['first']} − {comparison['second']}"
            columns = ("accuracy", "f1", "roc_auc", "average_precision", "brier")
            expected = [shown(comparison["differences"][metric], "%+.3f") for metric in columns]
            test = comparison["mcnemar"]
            counts = [str(test["only_first"]), str(test["only_second"]), f"{test['p']:.3f}"]
            assert (names, *expected, *counts) in rows
        for slice_ in report["slices"]:
            expected = [str(slice_["rows"]), str(slice_["relevant"])]
            for figures in slice_["models"].values():
                expected += [shown(figures["accuracy"]), shown(figures.get("roc_auc"))]
            assert (slice_["name"], *expected) in rows


def test_page_says_first_which_model_ranks_best(opened: Opened, folder: Path) -> None:
    report = json.loads((folder / "report.json").read_text("utf-8"))
    best = max(report["models"], key=lambda model: model["figures"]["roc_auc"]["value"])
    figure = best["figures"]["roc_auc"]
    interval = f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"
    for page in opened.pages:
        assert f"largest for {best['name']}: {interval}." in page["text"]


def test_tweets_are_text_whatever_they_hold(opened: Opened) -> None:
    for page in opened.pages:
        assert TEXT in page["text"]

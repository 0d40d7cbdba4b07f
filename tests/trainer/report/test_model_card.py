"""Model card: every figure in it is the manifest's, and it tells of no data but the model's."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shared.bundle.files import MODEL_CARD, read_manifest
from shared.bundle.manifest import Manifest
from shared.bundle.quality import Subset
from tests.conftest import Trained
from trainer.data.read import read_dataset
from trainer.evaluate.metrics import NAMES
from trainer.report.model_card import model_card

RUNS = ["Vanilla-Feedforward-NN", "LSTM", "Bidirectional-RNN"]
OF_THE_TEXT = {"95", "10", "2.0", "1.0", "0.7"}
"""Numbers of the page's own sentences: intervals of 95 %, 10 bins, Apache-2.0, PDDL 1.0, cosine
0.7."""


@pytest.fixture(scope="module")
def manifest(trained: Trained) -> Manifest:
    return read_manifest(trained.bundles / "LSTM")


def values(data: Any) -> Iterator[Any]:
    """Yield every value and name that is not a container, in JSON's types."""
    if isinstance(data, dict):
        yield from data
    if isinstance(data, dict | list):
        for inner in data.values() if isinstance(data, dict) else data:
            yield from values(inner)
    else:
        yield data


def numbers(text: str) -> list[str]:
    return re.findall(r"\d+(?:\.\d+)?", text)


def unknown(card: str, manifest: Manifest) -> set[str]:
    """Return the numbers of the card that the manifest lacks."""
    known = set(OF_THE_TEXT)
    for value in values(msgspec.to_builtins(manifest)):
        if isinstance(value, str):
            known |= {*numbers(value), *numbers(value[:12])}
        elif isinstance(value, float):
            known.add(f"{abs(value):.3f}")
        elif value is not None:
            known.add(str(value))
    return set(numbers(card)) - known


@pytest.mark.parametrize("run", RUNS)
def test_every_figure_is_the_manifest_s(trained: Trained, run: str) -> None:
    manifest = read_manifest(trained.bundles / run)
    card = (trained.bundles / run / MODEL_CARD).read_text("utf-8")
    assert card == model_card(msgspec.structs.replace(manifest, files={}))
    assert len(numbers(card)) > 150
    assert unknown(card, manifest) == set()
    assert unknown(card.replace("0.", "1."), manifest) != set()


def test_every_finding_is_on_the_card(manifest: Manifest) -> None:
    found = manifest.quality
    assert found is not None
    group = Subset("left out", "fire", 12, 3, {"accuracy": found.test["accuracy"]})
    quality = msgspec.structs.replace(found, groups=[group])
    card = model_card(msgspec.structs.replace(manifest, quality=quality))
    rows = {tuple(cell.strip() for cell in line.split("|")[1:-1]) for line in card.splitlines()}
    for metric, figure in found.test.items():
        interval = f"{figure.low:.3f} to {figure.high:.3f}"
        assert (NAMES[metric], f"{figure.value:.3f}", interval) in rows
    for one in found.slices:
        figures = tuple(f"{one.figures[metric]}" for metric in ("accuracy", "roc_auc"))
        assert (f"{one.group}: {one.name}", str(one.rows), *figures) in rows
    assert ("fire", "12", f"{found.test['accuracy']}", "–") in rows
    for name, point in manifest.operating_points.items():
        (row,) = [row for row in rows if row[:2] == (f"`{name}`", f"{point.threshold:.3f}")]
        test, chosen = point.figures["test"]["recall"], point.figures["validation"]["recall"]
        assert f"{test:.3f} ({chosen:.3f})" in row
    for pairs in found.behaviour.pairs:
        shares = (f"{pairs.accuracy:.3f}", f"{pairs.ordered:.3f}")
        assert (pairs.kind, str(pairs.pairs), *shares) in rows
    for change in found.behaviour.invariance:
        assert (change.kind, str(change.texts), f"{change.unchanged:.3f}") in rows
    without = model_card(msgspec.structs.replace(manifest, operating_points={}))
    assert "| `recall-90` | not reached |" in without


def test_a_model_without_alerts_has_a_card(manifest: Manifest) -> None:
    quality = manifest.quality
    assert quality is not None
    assert quality.baseline is not None
    difference = {k: v for k, v in quality.baseline.difference.items() if k != "precision"}
    baseline = msgspec.structs.replace(quality.baseline, difference=difference)
    changed = msgspec.structs.replace(quality, baseline=baseline)
    card = model_card(msgspec.structs.replace(manifest, quality=changed))
    (row,) = re.findall(rf"^\| {NAMES['precision']} \|.*\| – \|$", card, re.MULTILINE)
    assert f"{quality.baseline.figures['precision']}" in row


def test_what_is_said_of_the_published_set_is_said_of_it_alone(
    manifest: Manifest, published: Path
) -> None:
    assert "88.7 %" not in model_card(manifest)
    data = {**manifest.data, "sha256": read_dataset(published).sha256}
    assert "88.7 %" in model_card(msgspec.structs.replace(manifest, data=data))


def test_a_file_s_name_does_not_break_the_page(manifest: Manifest) -> None:
    data = {**manifest.data, "name": "a|b`c\n# d.csv"}
    card = model_card(msgspec.structs.replace(manifest, data=data, quality=None))
    assert "`a b c # d.csv`, content" in card
    assert "## How good it is" not in card

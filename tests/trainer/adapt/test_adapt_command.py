import csv
import io
import json
from pathlib import Path

import pytest

from shared.bundle.load import load_bundle
from shared.registry.folder import FolderRegistry
from tests.conftest import SAMPLE
from tests.trainer.adapt.crisis import make_tweets
from tests.trainer.conftest import Program
from trainer.evaluate.bootstrap import measure_difference

NAMES = ("not-relevant", "relevant")


def as_csv(count: int, seed: int, *more: tuple[str, str]) -> bytes:
    texts, labels = make_tweets(count, seed)
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(["text", "label", "by"])
    writer.writerows([text, NAMES[label], "ann"] for text, label in zip(texts, labels, strict=True))
    writer.writerows([*row, "ann"] for row in more)
    return out.getvalue().encode()


def test_labels_from_standard_input_become_a_candidate(
    program: Program, registry: FolderRegistry, tmp_path: Path
) -> None:
    figures = tmp_path / "figures.json"
    stdin = as_csv(80, 1, ("what is Zorbia", "skip"))
    ran = program("adapt", "--labels", "-", "--json", figures, stdin=stdin)
    assert ran.code == 0, ran.err
    assert "registered" in ran.out
    assert "as version 2 (candidate)" in ran.out
    version, base = registry.resolve("candidate"), registry.resolve("1")
    found = version.manifest.adaptation
    assert found is not None
    assert (found.base, found.version, found.compared_with) == (base.digest, 1, base.digest)
    assert (found.labels, found.compared) == (80, 80)
    assert version.manifest.metrics.keys() == {"labels"}
    assert version.manifest.quality is None
    assert found.relevant == 40
    assert found.difference["roc_auc"].low > 0
    assert list(found.curve) == [25, 50]
    assert found.before["roc_auc"].value < found.curve[25]["roc_auc"].value
    assert version.manifest.architecture == base.manifest.architecture
    assert version.manifest.files.keys() == base.manifest.files.keys()
    assert version.manifest.operating_points.keys() == base.manifest.operating_points.keys()
    written = json.loads(figures.read_text())
    assert written["version"] == 2
    assert written["adaptation"]["labels"] == 80
    folder = registry.folder / "versions" / "2"
    load_bundle(folder)  # reproduces its golden probabilities
    card = (folder / "model-card.md").read_text()
    assert "80 labelled tweets" in card
    for labels, row in ((0, found.before), (50, found.curve[50]), (80, found.after)):
        assert f"| {labels} | {row['roc_auc']} |" in card


@pytest.mark.slow
def test_the_gate_compares_labels_and_the_test_part(
    program: Program, registry: FolderRegistry
) -> None:
    assert program("adapt", "--labels", "-", stdin=as_csv(80, 1)).code == 0
    ran = program("promote", "candidate", "--data", SAMPLE)
    assert ran.code == 0, ran.err
    assert "on 80 labelled tweets of standard-input" in ran.out
    assert "tweets that are new to both" in ran.out
    assert registry.resolve("production").number == 2
    assert "labels" in program("list", "--json", "-").out


@pytest.mark.slow
def test_a_version_that_has_learned_is_compared_on_new_labels(
    program: Program, registry: FolderRegistry
) -> None:
    assert program("adapt", "--labels", "-", stdin=as_csv(60, 1)).code == 0
    assert program("promote", "candidate").code == 0
    ran = program("adapt", "--labels", "-", stdin=as_csv(60, 1))
    ran.is_refused(3, "version 2 has learned all but 0 of the labelled tweets")
    stdin = as_csv(60, 1) + as_csv(40, 9).split(b"\r\n", 1)[1]
    assert program("adapt", "--labels", "-", stdin=stdin).code == 0
    found = registry.resolve("candidate").manifest.adaptation
    assert found is not None
    assert found.base == registry.resolve("1").digest
    assert found.compared_with == registry.resolve("2").digest
    assert 0 < found.compared < found.labels
    assert program("promote", "candidate").code == 0


@pytest.mark.slow
def test_what_learned_labels_is_not_compared_with_others_by_its_training(
    program: Program, registry: FolderRegistry
) -> None:
    assert program("adapt", "--labels", "-", stdin=as_csv(60, 1)).code == 0
    assert program("promote", "candidate").code == 0
    ran = program("promote", "1")
    assert ran.code != 0
    assert "--data FILE" in ran.err
    assert registry.resolve("production").number == 2


@pytest.mark.slow
def test_a_candidate_that_is_worse_on_the_labels_is_refused(
    program: Program, registry: FolderRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "trainer.adapt.bundle.measure_difference",
        lambda labels, after, before, counts: measure_difference(labels, before, after, counts),
    )
    assert program("adapt", "--labels", "-", stdin=as_csv(80, 1)).code == 0
    ran = program("promote", "candidate")
    assert ran.code != 0
    assert "worse than version 1" in ran.err
    assert registry.resolve("production").number == 1


def test_too_few_labels_are_refused_and_nothing_is_registered(
    program: Program, registry: FolderRegistry
) -> None:
    ran = program("adapt", "--labels", "-", stdin=as_csv(10, 1))
    ran.is_refused(3, "expected 20 labelled tweets or more")
    assert [version.number for version in registry.versions()] == [1]


@pytest.mark.slow
def test_columns_and_labels_can_be_named(program: Program, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    content = as_csv(60, 1).decode().replace("text,label", "body,class")
    path.write_text(content.replace("not-relevant", "no").replace("relevant", "yes"))
    options = ("--text-column", "body", "--label-column", "class", "--positive", "yes")
    assert program("adapt", "--labels", path, *options).code == 0

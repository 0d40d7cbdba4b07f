"""The documentation's links lead somewhere, and its tables are those of the code."""

import os
import re
from pathlib import Path

import msgspec
import pytest

from shared import errors
from shared.settings import FILE_VARIABLE, PREFIX, secret_names
from tests.conftest import ROOT
from worker import cli as worker_cli
from worker.settings import Settings

DOCUMENTS = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
)
DEPLOY = (ROOT / "deploy" / "README.md").read_text("utf-8")
SETTINGS = (ROOT / "deploy" / "settings.md").read_text("utf-8")


def anchors(document: Path) -> set[str]:
    """Return the anchors that GitHub gives a document's headings."""
    headings = re.findall(r"^#+ (.+)$", document.read_text("utf-8"), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", document.read_text("utf-8")):
        path, _, anchor = target.partition("#")
        linked = (document.parent / path).resolve() if path else document
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").split()) <= 900


def test_the_tree_in_the_readme_is_the_repository() -> None:
    (tree,) = re.findall(r"^```\n(shared/.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    room, shown = Path(), set()
    for line in tree.splitlines():
        name = line.split()[0].rstrip("/")
        room = room if line.startswith(" ") else Path(name)
        path = room / name if line.startswith(" ") else room
        assert (ROOT / path).is_dir(), path
        shown.add(path)
    rooms = {
        path.parent.relative_to(ROOT)
        for package in ("shared", "trainer", "worker")
        for path in (ROOT / package).glob("*/__init__.py")
    }
    assert rooms <= shown


def test_the_settings_page_is_what_the_program_prints(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for variable in [name for name in os.environ if name.startswith(PREFIX)]:
            patch.delenv(variable)
        assert worker_cli.main(["settings", "--markdown"]) == 0
    assert SETTINGS.endswith("\n\n" + capsys.readouterr().out)


def test_settings_are_listed_as_an_environment_file(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIAGE_BATCH_SIZE", "77")
        assert worker_cli.main(["settings"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("#")]
    assert "TRIAGE_BATCH_SIZE=77" in lines
    assert "TRIAGE_INPUT_TOPIC=tweets.raw" in lines


@pytest.mark.parametrize("name", ["README", "runbook", "sizing"])
def test_settings_that_are_mentioned_exist(name: str) -> None:
    text = (ROOT / "deploy" / f"{name}.md").read_text("utf-8")
    known = {PREFIX + field.name.upper() for field in msgspec.structs.fields(Settings)}
    known |= {f"{PREFIX}{name.upper()}_FILE" for name in secret_names(Settings)}
    mentioned = set(re.findall(r"\b(TRIAGE_[A-Z_]+)\b", text))
    assert mentioned <= known | {FILE_VARIABLE, "TRIAGE_"}


def test_the_exit_codes_are_the_code_s() -> None:
    section = DEPLOY.split("## Exit codes")[1].split("\n## ")[0]
    rows = {int(code) for code in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)}
    classes = [c for c in vars(errors).values() if isinstance(c, type)]
    ours = {c.exit_code for c in classes if issubclass(c, errors.TriageError)}
    assert rows == ours | {0, 130}

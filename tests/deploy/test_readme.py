"""What `deploy/README.md` says is so: its settings, files, panels and sums."""

import math
import re

import msgspec

from shared.settings import FILE_VARIABLE, PREFIX, Settings, expected, read_settings
from tests.conftest import ROOT
from tests.deploy.dashboard import PANELS
from worker.ops.health import Health

README = (ROOT / "deploy" / "README.md").read_text("utf-8")
SECTIONS = {part.partition("\n")[0]: part for part in re.split(r"^## ", README, flags=re.MULTILINE)}


def test_the_settings_table_is_the_codes() -> None:
    rows = dict(re.findall(r"^\| `(TRIAGE_\w+)` \| (.*?) \|", SECTIONS["Settings"], re.MULTILINE))
    assert rows.pop(FILE_VARIABLE) == "none"
    fields = msgspec.structs.fields(Settings)
    assert rows == {
        PREFIX + field.name.upper(): "none" if field.default is None else f"`{field.default}`"
        for field in fields
    }
    for field in fields:
        assert expected(field.type) in SECTIONS["Settings"]


def test_settings_that_are_mentioned_are_there() -> None:
    known = {PREFIX + field.name.upper() for field in msgspec.structs.fields(Settings)}
    assert set(re.findall(r"`(TRIAGE_[A-Z_]+)\b", README)) <= known | {FILE_VARIABLE}


def test_files_that_are_mentioned_are_there() -> None:
    rows = re.findall(r"^\| (`.*?) \|", README.partition("## ")[0], re.MULTILINE)
    assert len(rows) == 6
    for name in (name for row in rows for name in re.findall(r"`(.*?)`", row)):
        assert list((ROOT / "deploy").glob(name.rstrip("/"))), name
    for path in re.findall(r"(?<![\w/-])deploy/[\w./@-]+[\w]", README):
        assert (ROOT / path).exists(), path


def test_panels_that_are_mentioned_are_there() -> None:
    mentioned = set(re.findall(r"(?<!\*)\*([A-Z][^*\n]+)\*(?!\*)", README))
    assert len(mentioned) > 5
    assert mentioned <= {panel["title"] for panel in PANELS}


def test_the_sums_of_the_sizing_table() -> None:
    section = SECTIONS["Sizing"]
    measured = re.search(
        r"feed-forward model ([\d,]+) tweets, with the LSTM ([\d,]+),\s+"
        r"with the bidirectional LSTM ([\d,]+)\. The table plans with (\d+) %",
        section,
    )
    assert measured is not None
    *rates, percent = (_number(text) for text in measured.groups())
    rows = re.findall(r"^\| ([\d,]+)[^|]*\|(.*→.*)\|(.*)\|(.*)\| (\d+) \|$", section, re.MULTILINE)
    assert len(rows) == 5
    for tweets, *sums, partitions in rows:
        members = []
        for rate, text in zip(rates, sums, strict=True):
            dividend, divisor, result = map(_number, re.split(r" / | → ", text.strip()))
            assert dividend == _number(tweets)
            assert divisor == rate * percent // 100
            assert result == math.ceil(dividend / divisor)
            members.append(result)
        assert int(partitions) >= 2 * max(members)


def test_the_security_examples_are_settings() -> None:
    blocks = re.findall(r"^```properties\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        environment = dict(line.split("=", 1) for line in block.splitlines())
        own = {k: v for k, v in environment.items() if not k.endswith("_FILE")}
        known = {PREFIX + field.name.upper() for field in msgspec.structs.fields(Settings)}
        assert environment.keys() <= known
        assert own
    assert read_settings({}).kafka_bootstrap_servers


def test_the_runbook_says_what_a_worker_may_wait_for() -> None:
    program = (ROOT / "worker" / "run.py").read_text("utf-8")
    reasons = set(re.findall(r'(?:waits|_failed|_keep_trying)\("(\w+)"', program))
    assert len(reasons) > 3
    reasons |= {line.partition(":")[0] for line in (Health(60).not_ready() or "").splitlines()}
    entry = re.search(r"^### TriageNotReady\n(.+?)^###", README, re.MULTILINE | re.DOTALL)
    assert entry is not None
    assert set(re.findall(r"`(\w+)`:", entry[1])) == reasons


def _number(text: str) -> int:
    return int(text.replace(",", ""))

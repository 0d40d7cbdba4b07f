"""Rules do in promtool's unit tests what they are for, and each has its place in the runbook."""

import re
import subprocess
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from tests.deploy.prometheus import FOLDER, program

RULES = yaml.safe_load((FOLDER / "rules.yml").read_text())
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule]
RUNBOOK = (ROOT / "deploy" / "runbook.md").read_text("utf-8")


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["check", "config", "prometheus.yml"], id="check config"),
        pytest.param(["test", "rules", "rules.test.yml"], id="test rules", marks=pytest.mark.slow),
    ],
)
def test_promtool_is_content(arguments: list[str]) -> None:
    done = subprocess.run(
        [program("promtool"), *arguments], cwd=FOLDER, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


def test_every_alert_has_a_unit_test() -> None:
    tests = yaml.safe_load((FOLDER / "rules.test.yml").read_text())["tests"]
    fired = {
        case["alertname"]
        for test in tests
        for case in test.get("alert_rule_test", ())
        if case["exp_alerts"]
    }
    assert fired == {rule["alert"] for rule in ALERTS}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_every_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("page", "ticket")
    link = f"{{{{ $externalLabels.runbook_url }}}}#{rule['alert'].lower()}"
    assert rule["annotations"]["runbook_url"] == link
    entry = re.search(
        rf"^### {rule['alert']}\n\n(.+?)(?=^##|\Z)", RUNBOOK, re.MULTILINE | re.DOTALL
    )
    assert entry is not None
    assert len(entry[1].split()) > 20


def test_the_runbook_has_no_entry_without_an_alert() -> None:
    entries = re.findall(r"^### (Triage\w+)$", RUNBOOK, re.MULTILINE)
    assert entries == [rule["alert"] for rule in ALERTS]

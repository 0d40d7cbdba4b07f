"""The systemd unit is one that systemd takes, and it is shut off from what it does not need."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.missing import skip_or_fail
from worker.settings import read_settings

FOLDER = ROOT / "deploy" / "systemd"


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """Return the unit's first instance, with a program that exists."""
    if shutil.which("systemd-analyze") is None:
        skip_or_fail("systemd-analyze is not installed")
    text = (FOLDER / "tweet-triage@.service").read_text()
    path = tmp_path / "tweet-triage@1.service"
    path.write_text(text.replace("/opt/triage/bin/triage-worker", "/bin/true"))
    return path


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True)


def test_systemd_takes_it(unit: Path) -> None:
    done = analyze("verify", unit)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_systemd_would_say_if_it_did_not(unit: Path) -> None:
    unit.write_text(unit.read_text().replace("ProtectSystem=", "ProtectSytem="))
    assert "ProtectSytem" in analyze("verify", unit).stderr


def test_systemd_takes_what_the_readme_adds(unit: Path) -> None:
    readme = (ROOT / "deploy" / "README.md").read_text("utf-8")
    added = re.findall(r"\b(?:LoadCredential|Environment)=[^\s`]+", readme)
    assert len(added) == 3
    override = unit.parent / "tweet-triage@.service.d" / "override.conf"
    override.parent.mkdir()
    override.write_text("\n".join(["[Service]", *added]))
    done = analyze("verify", unit)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    override.write_text("\n".join(["[Service]", *added, "LoadCredentials=tls.key:/tls.key"]))
    assert "LoadCredentials" in analyze("verify", unit).stderr


def test_it_is_shut_off(unit: Path) -> None:
    done = analyze("security", "--offline=true", "--threshold=15", unit)  # tenths, of 10.0 at worst
    assert done.returncode == 0, done.stdout


def test_its_settings_are_ones_that_the_program_reads() -> None:
    text = (FOLDER / "environment").read_text()
    (given,) = re.findall(
        r"^Environment=(.*)$", (FOLDER / "tweet-triage@.service").read_text(), re.MULTILINE
    )
    lines = [line for line in text.splitlines() if not line.startswith("#")] + given.split()
    environment = dict(line.replace("%i", "2").split("=", 1) for line in lines)
    assert read_settings(environment).metrics_port == 9102

"""Brokers and workers are killed, frozen and supplanted for a minute; every promise is kept."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import Trained
from tests.faults.malformed import MALFORMED

pytestmark = pytest.mark.usefixtures("kafka")  # which says why, where no Kafka can start


@pytest.mark.slow
def test_a_minute_of_faults(trained: Trained, tmp_path: Path) -> None:
    seed = time.time_ns() % 10**6  # another one each time; it stands in the report
    arguments = ["--seed", str(seed), "--seconds", "60", "--bundles", str(trained.bundles)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", *arguments, "--json", str(tmp_path / "report.json")],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"seed {seed}" in done.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["verdict"]["violations"] == []
    assert sum(report["faults"].values()) > 5
    assert report["verdict"]["by_reason"].keys() == MALFORMED.keys()
    account, taken_out = (report["verdict"][name] for name in ("account", "taken_out"))
    unread = taken_out.get("unread", 0) + taken_out.get("triaged or not", 0)
    assert account["consumed"] + unread >= report["confirmed"] > 1_000
    assert min(account.values()) > 0  # a topic that is created again can leave few of a kind

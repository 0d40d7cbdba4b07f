"""The log as text and as JSON, and a program's last error in the same form."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from shared.version import commit, version


def run(tmp_path: Path, **settings: str) -> tuple[int, list[str]]:
    """Run a worker that cannot listen on its port; return its exit code and its log."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TRIAGE_")}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        environment |= {f"TRIAGE_{name.upper()}": value for name, value in settings.items()}
        environment["TRIAGE_METRICS_ADDRESS"] = "127.0.0.1"
        environment["TRIAGE_METRICS_PORT"] = str(taken.getsockname()[1])
        environment |= {"TRIAGE_REGISTRY": f"file:{tmp_path}", "TZ": "Asia/Tokyo"}
        command = [sys.executable, "-m", "worker.cli", "run"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout == ""
    return done.returncode, done.stderr.splitlines()


def test_text_has_the_time_in_utc_and_the_level(tmp_path: Path) -> None:
    code, lines = run(tmp_path)
    assert code == 2
    for line in lines:
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (INFO|CRITICAL) ", line), line
    assert lines[-1].endswith("Address already in use; exit code 2")


def test_json_has_an_object_a_line_and_the_settings_in_the_first(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("hush-hush\n")
    code, lines = run(
        tmp_path,
        log_format="json",
        batch_size="77",
        kafka_security_protocol="SASL_PLAINTEXT",
        kafka_sasl_mechanism="PLAIN",
        kafka_sasl_username="user",
        kafka_sasl_password_file=str(password),
    )
    assert code == 2
    events = [json.loads(line) for line in lines]
    first, *_, last = events
    assert (first["version"], first["commit"]) == (version(), commit())
    assert first["settings"]["TRIAGE_BATCH_SIZE"] == "77"
    assert first["settings"]["TRIAGE_KAFKA_SASL_PASSWORD"] == "***"
    assert "hush" not in "".join(lines)
    assert last["level"] == "CRITICAL"
    assert last["message"].endswith("Address already in use; exit code 2")
    assert {event["logger"] for event in events} == {"triage"}
    assert all(re.fullmatch(r"[\d-]+T[\d:]+\.\d{3}Z", event["timestamp"]) for event in events)


@pytest.mark.parametrize(
    ("level", "levels"), [("info", {"INFO", "CRITICAL"}), ("error", {"CRITICAL"})]
)
def test_the_level_hides_what_is_less_severe(tmp_path: Path, level: str, levels: set[str]) -> None:
    _, lines = run(tmp_path, log_format="json", log_level=level)
    assert {json.loads(line)["level"] for line in lines} == levels

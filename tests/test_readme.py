"""The README's commands do what it says, and its tables are those of the code."""

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import jsonschema
import pytest

from shared.settings import PREFIX
from tests.conftest import ROOT, SAMPLE
from tests.kafka.processes import wait_for
from worker.demo.local_kafka import LocalKafka

README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
DEMO, TESTS, *USE = BLOCKS


def test_the_two_first_lines_are_what_ci_runs() -> None:
    ci = (ROOT / ".ci" / "run").read_text()
    for line in (DEMO, TESTS):
        assert f"\n{line.strip().removeprefix('pip install uv && ')}" in ci


@pytest.mark.slow
@pytest.mark.timeout(1500)  # it trains with cross-validation
def test_every_other_command_works_in_its_order(kafka: LocalKafka, tmp_path: Path) -> None:
    (tmp_path / "tweets.csv").write_text(
        SAMPLE.read_text("utf-8")
        .replace("text,choose_one", "message,about", 1)
        .replace(",Relevant\n", ",disaster\n"),
        "utf-8",
    )
    shutil.copy(SAMPLE, tmp_path / "more.csv")
    commands = [line for block in USE for line in block.splitlines()]
    assert len(commands) >= 10
    environment = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX)} | {
        "UV_PROJECT": str(ROOT),
        "UV_NO_SYNC": "1",
        "TRIAGE_REGISTRY": f"file:{tmp_path / 'registry'}",
        "TRIAGE_CACHE": str(tmp_path / "cache"),
        "TRIAGE_METRICS_PORT": "0",
    }
    outputs: dict[str, str] = {}
    worker = None
    try:
        for command in commands:
            command = command.replace("localhost:9092", kafka.bootstrap_servers)
            if command.startswith("export "):
                name, value = command.removeprefix("export ").split("=", 1)
                environment[name] = value
            elif command == "uv run triage-worker run":
                with (tmp_path / "log").open("w") as log:
                    worker = subprocess.Popen(
                        ["bash", "-c", f"exec {command}"], cwd=tmp_path, env=environment, stderr=log
                    )
                wait_for(lambda: "consuming" in (tmp_path / "log").read_text())
            else:
                done = subprocess.run(
                    ["bash", "-o", "pipefail", "-c", command],
                    cwd=tmp_path,
                    env=environment,
                    capture_output=True,
                    text=True,
                    timeout=1200,
                )
                assert done.returncode == 0, (command, done.stdout, done.stderr)
                outputs[command] = done.stdout
        assert worker is not None
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0, (tmp_path / "log").read_text()
    finally:
        if worker is not None:
            worker.kill()
    shown = list(outputs.values())
    assert any("Bidirectional-RNN" in text and "registered" in text for text in shown)
    assert any("candidate" in text for text in shown)
    alert = json.loads(shown[-1])
    assert alert["tweet"]["text"] == "Forest fire near La Ronge, two villages evacuated"
    assert alert["tweet"]["text"] in shown[-2]


def test_the_alert_shown_is_valid_and_the_schema_is_the_codes() -> None:
    from worker.messages.alert import alert_schema, decode_alert

    schema = json.loads((ROOT / "deploy" / "alert.schema.json").read_text())
    assert schema == alert_schema()
    (shown,) = re.findall(r"^```json\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    jsonschema.validate(json.loads(shown), schema)
    assert decode_alert(shown.encode()).tweet.id == "7"

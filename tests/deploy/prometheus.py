"""A real Prometheus, started on this machine for a test."""

import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from tests.kafka.processes import wait_for
from tests.missing import skip_or_fail

FOLDER = ROOT / "deploy" / "prometheus"

CONFIGURATION = """\
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: tweet-triage
    static_configs: [{{targets: {targets}}}]
"""


def program(name: str) -> str:
    """Return the path of a program of Debian's package. Without it, skip, or fail in CI."""
    found = shutil.which(name)
    if found is None:
        skip_or_fail(f"{name} is not installed")
    return found


class Prometheus:
    """A Prometheus that answers at `url`."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **parameters: str) -> Any:
        """Return the data of an answer of its HTTP API."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}") as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the present value of an expression: labels and values."""
        result: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return result

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire."""
        alerts = self.get("alerts")["alerts"]
        return {a["labels"]["alertname"] for a in alerts if a["state"] == "firing"}


@contextmanager
def scraping(targets: list[str], rules: Path, folder: Path) -> Iterator[Prometheus]:
    """Yield a Prometheus that scrapes the targets and evaluates the rules every second.

    Args:
        targets: host:port of each worker.
        folder: for its configuration, data and log.
    """
    configuration = folder / "prometheus.yml"
    configuration.write_text(CONFIGURATION.format(rules=rules, targets=json.dumps(targets)))
    log = folder / "prometheus.log"
    command = [program("prometheus"), f"--config.file={configuration}"]
    command += [f"--storage.tsdb.path={folder / 'data'}", "--web.listen-address=127.0.0.1:0"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        wait_for(lambda: _address(log) is not None or process.poll() is not None)
        address = _address(log)
        assert address is not None, log.read_text()
        prometheus = Prometheus(f"http://{address}")
        wait_for(lambda: _ready(prometheus))
        yield prometheus
    finally:
        process.terminate()
        process.wait()


def _address(log: Path) -> str | None:
    for line in log.read_text().splitlines():
        if "Listening on" in line:
            return line.rpartition("address=")[2]
    return None


def _ready(prometheus: Prometheus) -> bool:
    try:
        with urllib.request.urlopen(f"{prometheus.url}/-/ready"):
            return True
    except urllib.error.HTTPError:
        return False

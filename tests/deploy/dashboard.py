"""The Grafana dashboard: its panels and their queries."""

import json
from typing import Any

from tests.conftest import ROOT

DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana" / "dashboard.json").read_text())
PANELS: list[dict[str, Any]] = [p for p in DASHBOARD["panels"] if p["type"] != "row"]


def queries(rate_interval: str) -> dict[str, str]:
    """Return every panel's queries as Prometheus gets them, by panel and letter."""
    return {
        f"{panel['title']}, {target['refId']}": target["expr"]
        .replace("$__rate_interval", rate_interval)
        .replace("$instance", ".*")
        for panel in PANELS
        for target in panel["targets"]
    }

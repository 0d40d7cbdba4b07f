"""What the local Kafka is made of."""

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from worker.demo.local_kafka import fetch_jars


def test_jars_are_fetched_by_one_at_a_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    env = pytest.importorskip("jgo.env", reason="jgo is not installed")
    inside, most = [0], [0]

    def from_endpoint(_: Any, endpoint: str) -> Any:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.1)
        inside[0] -= 1
        return SimpleNamespace(all_jars=[f"{endpoint}.jar"])

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(env.EnvironmentBuilder, "from_endpoint", from_endpoint)
    found: list[list[Path]] = []
    threads = [threading.Thread(target=lambda: found.append(fetch_jars("a:b:1"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[Path("a:b:1.jar")]] * 4
    assert most == [1]

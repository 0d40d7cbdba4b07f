"""Notifications reach a webhook once, within a limit, and again after it was away."""

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.secret import Secret
from tests.desk.alerts import NEWS, added, new_alert
from worker.desk.metrics import Metrics
from worker.desk.notify import Notifier
from worker.desk.store import Notify, Store
from worker.settings import Settings

WHENEVER = Notify(size=1, probability=None)


class Receiver:
    """A webhook: it answers with the statuses that it is given, then with 200."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.received: list[tuple[dict[str, str], dict[str, Any]]] = []
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # its name there
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.received.append((dict(self.headers), json.loads(body)))
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 200)
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook/secret"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


class Setup:
    """A notifier whose clock is told the time."""

    def __init__(self, folder: Path, url: str, **values: Any) -> None:
        settings = Settings(webhook_url=Secret(url), **values)
        self.now = 1e9
        self.store = Store(folder / "desk.sqlite3", clock=lambda: 0)
        self.metrics = Metrics()
        self.notifier = Notifier(
            settings, self.store, self.metrics, "https://desk.example.org/", lambda: self.now
        )

    def send_all(self) -> int:
        count = 0
        while self.notifier.send_next():
            count += 1
        return count

    def close(self) -> None:
        self.notifier.stop()
        self.store.close()

    def count(self, result: str) -> float:
        value = self.metrics.registry.get_sample_value(
            "triage_desk_notifications_total", {"result": result}
        )
        assert value is not None
        return value


@pytest.fixture
def setup(tmp_path: Path, receiver: Receiver) -> Iterator[Setup]:
    setup = Setup(tmp_path, receiver.url, webhook_per_minute=600)
    yield setup
    setup.close()


def test_an_incident_is_told_with_what_a_program_needs(setup: Setup, receiver: Receiver) -> None:
    alert = new_alert(NEWS[0], probability=0.9)
    setup.store.add(added(alert), notify=WHENEVER)
    assert setup.send_all() == 1
    ((headers, body),) = receiver.received
    assert headers["Idempotency-Key"] == body["incident"] == alert.alert_id
    assert body["url"] == f"https://desk.example.org/incidents/{alert.alert_id}"
    assert (body["alerts"], body["probability"], body["text"]) == (1, 0.9, NEWS[0])
    setup.store.add(added(new_alert(NEWS[0])), notify=WHENEVER)
    assert setup.send_all() == 0


def test_slack_shows_no_mention_and_no_link_of_a_tweet(tmp_path: Path, receiver: Receiver) -> None:
    setup = Setup(tmp_path, receiver.url, webhook_format="slack")
    setup.store.add(added(new_alert("<!channel> <http://evil|fire> & flood\nnow")), notify=WHENEVER)
    setup.send_all()
    ((_, body),) = receiver.received
    assert "> &lt;!channel&gt; &lt;http://evil|fire&gt; &amp; flood\n> now" in body["text"]
    assert "<https://desk.example.org/incidents/" in body["text"]
    setup.close()


def test_a_receiver_that_is_away_is_tried_again_later_and_later(
    setup: Setup, receiver: Receiver
) -> None:
    receiver.statuses = [503, 429, 500]
    setup.store.add(added(new_alert(NEWS[0])), notify=WHENEVER)
    pauses = []
    assert setup.send_all() == 1
    while not setup.count("sent"):
        before = setup.now
        while not setup.send_all():
            setup.now += 1
        pauses.append(setup.now - before)
    assert pauses == [5, 10, 20]
    assert setup.count("retried") == 3
    assert len(receiver.received) == 4
    keys = {headers["Idempotency-Key"] for headers, _ in receiver.received}
    assert len(keys) == 1


def test_a_refusal_is_final(setup: Setup, receiver: Receiver) -> None:
    receiver.statuses = [404]
    setup.store.add(added(new_alert(NEWS[0])), notify=WHENEVER)
    setup.send_all()
    setup.now += 10_000
    assert setup.send_all() == 0
    assert setup.count("failed") == 1


def test_a_redirect_is_not_followed(setup: Setup, receiver: Receiver) -> None:
    receiver.statuses = [302]
    setup.store.add(added(new_alert(NEWS[0])), notify=WHENEVER)
    setup.send_all()
    assert len(receiver.received) == 1
    assert setup.count("failed") == 1


def test_so_many_in_a_minute(tmp_path: Path, receiver: Receiver) -> None:
    setup = Setup(tmp_path, receiver.url, webhook_per_minute=2)
    setup.store.add(added(*map(new_alert, NEWS)), notify=WHENEVER)
    assert setup.send_all() == 2
    assert setup.send_all() == 0
    setup.now += 60
    assert setup.send_all() == 2
    assert len(receiver.received) == 4
    setup.close()


def test_a_wrong_address_is_tried_again_and_the_secret_is_not_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    setup = Setup(tmp_path, "http://127.0.0.1:9/hook/secret")
    setup.store.add(added(new_alert(NEWS[0])), notify=WHENEVER)
    assert setup.notifier.send_next()
    assert setup.count("retried") == 1
    assert "secret" not in caplog.text
    assert NEWS[0] not in caplog.text
    setup.close()

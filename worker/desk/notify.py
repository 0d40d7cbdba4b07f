"""Notify: send each incident to a webhook once, with a rate limit and retries."""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx2

from worker.desk.access import RateLimit
from worker.desk.metrics import Metrics
from worker.desk.store import Store
from worker.desk.view import iso, page_of_alert, plain
from worker.settings import Settings

log = logging.getLogger("triage")

_ATTEMPTS = 8
"""With pauses from 5 s to 320 s between them, a receiver may be away for about ten minutes."""
_FIRST_PAUSE = 5
_LONGEST_PAUSE = 600
_TIMEOUT = 10
_LOOK = 1.0
_LONGEST_TEXT = 500


class Notifier:
    """Sends due notifications in its own thread.

    A notification is marked as being sent before the request. If the desk is killed during the
    request, the notification is not repeated but counted as `unknown`, because it may have arrived.
    The header `Idempotency-Key` lets receivers drop repeats.

    Args:
        base: the desk's address, for links.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        metrics: Metrics,
        base: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings, self._store, self._metrics = settings, store, metrics
        self._base, self._clock = base.rstrip("/"), clock
        self._limit = RateLimit(settings.webhook_per_minute, clock=clock)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="notify", daemon=True)
        self._client = httpx2.Client(timeout=_TIMEOUT, follow_redirects=False)

    def start(self) -> None:
        """Start the thread."""
        unknown = self._store.interrupted_notifications()
        if unknown:
            log.warning("%d notifications were interrupted; they are not sent again", unknown)
            self._metrics.notifications.labels("unknown").inc(unknown)
        self._thread.start()

    def stop(self) -> None:
        """Stop after the current request."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(_TIMEOUT + 5)
        self._client.close()

    def _run(self) -> None:
        while not self._stop.wait(_LOOK):
            try:
                while not self._stop.is_set() and self.send_next():
                    pass
            except Exception:  # otherwise the thread would end silently
                log.exception("notifications failed")

    def send_next(self) -> bool:
        """Send a due notification if the limit allows it, and return whether one was sent."""
        if not self._limit.allow("webhook"):
            return False
        incident = self._store.due_notification(int(self._clock() * 1000))
        if incident is None:
            self._limit.give_back("webhook")
            return False
        number, attempts = incident["id"], incident["attempts"] + 1
        problem = self._post(incident)
        if problem is None:
            self._store.notified(number, "sent")
            self._metrics.notifications.labels("sent").inc()
        elif attempts >= _ATTEMPTS or not problem.may_pass:
            self._store.notified(number, "failed")
            self._metrics.notifications.labels("failed").inc()
            log.error("incident %s: the notification failed: %s", incident["key"], problem.what)
        else:
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (attempts - 1))
            pause = max(pause, problem.after)
            self._store.notified(number, "due", int((self._clock() + pause) * 1000))
            self._metrics.notifications.labels("retried").inc()
            log.warning("webhook: %s; next attempt in %d s", problem.what, pause)
        return True

    def _post(self, incident: sqlite3.Row) -> "_Problem | None":
        assert self._settings.webhook_url is not None  # noqa: S101  # or there is no notifier
        url = self._base + page_of_alert(incident["key"])
        body = (slack_body if self._settings.webhook_format == "slack" else json_body)(
            incident, url
        )
        try:
            answer = self._client.post(
                self._settings.webhook_url.reveal(),
                json=body,
                headers={"Idempotency-Key": incident["key"], "User-Agent": "tweet-triage"},
            )
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            return _Problem(type(error).__name__, isinstance(error, httpx2.TransportError))
        if answer.is_success:
            return None
        may_pass = answer.status_code >= 500 or answer.status_code in (408, 425, 429)
        after = answer.headers.get("retry-after", "")
        return _Problem(
            f"it answered {answer.status_code}",
            may_pass,
            min(_LONGEST_PAUSE, int(after)) if after.isdecimal() else 0,
        )


class _Problem:
    """Why a notification was not delivered.

    Args:
        may_pass: whether a retry may succeed.
        after: seconds to wait, as the receiver asked.
    """

    def __init__(self, what: str, may_pass: bool, after: int = 0) -> None:
        self.what, self.may_pass, self.after = what, may_pass, after


def json_body(incident: sqlite3.Row, url: str) -> dict[str, Any]:
    """Return the notification as JSON for programs."""
    return {
        "incident": incident["key"],
        "url": url,
        "alerts": incident["size"],
        "first_seen": iso(incident["first"]),
        "last_seen": iso(incident["last"]),
        "probability": incident["highest"],
        "text": plain(incident["text"])[:_LONGEST_TEXT],
        "author": incident["author"],
        "lang": incident["lang"],
        "place": incident["place"],
        "model": incident["model"],
    }


def slack_body(incident: sqlite3.Row, url: str) -> dict[str, Any]:
    """Return the notification for Slack, Mattermost and compatible services."""
    text = plain(incident["text"])[:_LONGEST_TEXT]
    for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):  # no mentions, no links
        text = text.replace(sign, entity)
    alerts = "1 alert" if incident["size"] == 1 else f"{incident['size']} alerts"
    quoted = "\n".join(f"> {line}" for line in text.splitlines())
    return {
        "text": f"{alerts}, probability {incident['highest']:.2f}: <{url}|open it>\n{quoted}",
        "unfurl_links": False,
        "unfurl_media": False,
    }

"""Health: whether the worker makes progress and is ready, and the pages that show it.

/metrics  for Prometheus
/healthz  200, or 503 with the reason: restart this worker
/readyz   200, or 503 with the reason: this worker waits for something
"""

import io
import logging
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from shared.errors import UsageError

log = logging.getLogger("triage")

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], object]

_LONGEST_START = 600
"""Seconds. A large bundle may take minutes to download over a slow line."""
_LONGEST_TRY = 30
"""Seconds. An attempt to reach a dependency takes about 10, after a pause of at most 10."""


class Health:
    """The state of the worker's loop.

    A worker is unhealthy if, for `stall_seconds`, its loop has made no turn, or records wait and
    none was committed. While Kafka is unavailable the worker is healthy and not ready, because a
    restart would not help.

    Args:
        clock: returns seconds and never goes back.
    """

    def __init__(self, stall_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._stall_seconds = stall_seconds
        self._clock = clock
        self._waiting: dict[str, str] = {"worker": "it is starting"}
        self._ticked = self._progressed = clock()
        self._lag = 0

    def tick(self) -> None:
        """Record a turn of the loop."""
        self._ticked = self._clock()

    def progress(self) -> None:
        """Record a commit."""
        self._progressed = self._clock()

    def lag(self, records: int) -> None:
        """Record how many records wait in the assigned partitions."""
        if not self._lag:  # the records have just arrived
            self.progress()
        self._lag = records

    def mark_waiting(self, what: str, reason: str) -> None:
        """Record that the worker waits for something, and why."""
        self._waiting = {**self._waiting, what: reason}

    def mark_ready(self, what: str) -> None:
        """Record that the worker no longer waits for something."""
        if what in self._waiting:
            self._waiting = {k: v for k, v in self._waiting.items() if k != what}

    def not_healthy(self) -> str | None:
        """Return why this worker should be restarted, or None."""
        now, most = self._clock(), self._stall_seconds
        if "worker" in self._waiting:
            most = max(most, _LONGEST_START)
        elif self._waiting:
            most = max(most, _LONGEST_TRY)
        if (silent := now - self._ticked) > most:
            return f"no turn of the loop for {silent:.0f} s\n{_threads()}"
        idle = now - self._progressed
        if self._lag and idle > most:
            return f"no commit for {idle:.0f} s, while {self._lag} records wait\n{_threads()}"
        return None

    def not_ready(self) -> str | None:
        """Return what this worker waits for, or None."""
        waiting = self._waiting
        return "\n".join(f"{what}: {reason}" for what, reason in waiting.items()) or None


def watch(health: Health, seconds: float = 1) -> None:
    """Log each change of the worker's health, from a thread that checks this often."""

    def look() -> None:
        healthy = True
        while True:
            reason = health.not_healthy()
            if healthy and reason is not None:
                log.error("unhealthy: %s", reason)
            elif not healthy and reason is None:
                log.info("healthy again")
            healthy = reason is None
            time.sleep(seconds)

    threading.Thread(target=look, name="watch", daemon=True).start()


def _threads() -> str:
    """Return the innermost calls of each thread: file, line and function."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    lines = []
    for ident, frame in sys._current_frames().items():
        calls = traceback.extract_stack(frame)[-8:]
        lines.append(f"thread {names.get(ident, ident)}:")
        lines += [f"  {call.filename}:{call.lineno} {call.name}" for call in calls]
    return "\n".join(lines)


class _ErrorLog(io.StringIO):
    """Collects what a failed request writes, and logs one line instead of a traceback."""

    def flush(self) -> None:
        """Log the last line, which names the error."""
        if lines := self.getvalue().strip().splitlines():
            log.warning("a page could not be sent: %s", lines[-1])
        self.seek(0)
        self.truncate()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log a broken connection in one line."""
        del request
        log.warning("a page could not be sent to %s: %r", client_address[0], sys.exception())


class _Handler(WSGIRequestHandler):
    timeout = 10  # seconds; `serve` sets it

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name there
        """Log nothing: probes ask every few seconds."""

    def get_stderr(self) -> Any:
        """Return the stream that takes the tracebacks of failed requests."""
        return _ErrorLog()


def serve(
    health: Health, registry: CollectorRegistry, address: str, port: int, timeout: float = 10
) -> int:
    """Serve the pages in separate threads.

    Args:
        timeout: seconds that a client may take to send its request or to read some of the answer.

    Returns:
        The port, which was chosen by the system if 0 was given.

    Raises:
        UsageError: if the address cannot be bound.
    """
    metrics = make_wsgi_app(registry)

    def answer(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        headers = [("Content-Type", "text/plain; charset=utf-8")]
        if method not in ("GET", "HEAD"):
            status, text = "405 Method Not Allowed", "expected GET"
            headers.append(("Allow", "GET, HEAD"))
        elif path == "/metrics":
            body: Iterable[bytes] = metrics({**environ, "REQUEST_METHOD": "GET"}, start_response)
            return [] if method == "HEAD" else body
        elif path == "/healthz":
            status, text = _verdict(health.not_healthy())
        elif path == "/readyz":
            status, text = _verdict(health.not_ready())
        else:
            status, text = "404 Not Found", "there are /metrics, /healthz and /readyz"
        start_response(status, headers)
        return [] if method == "HEAD" else [f"{text}\n".encode()]

    try:
        family = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0][0]
        server_class = type("Server", (_Server,), {"address_family": family})
        handler = type("Handler", (_Handler,), {"timeout": timeout})
        server = server_class((address, port), handler)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(
            f"TRIAGE_METRICS_ADDRESS={address!r}, TRIAGE_METRICS_PORT={port}: "
            f"expected an address and a free port of this machine: {reason}"
        ) from error
    server.set_app(answer)
    threading.Thread(target=server.serve_forever, name="pages", daemon=True).start()
    return int(server.server_port)


def _verdict(reason: str | None) -> tuple[str, str]:
    return ("200 OK", "ok") if reason is None else ("503 Service Unavailable", reason)

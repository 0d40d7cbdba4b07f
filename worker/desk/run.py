"""Run: the desk as a program, from its settings to its end."""

import asyncio
import ctypes
import logging
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import uvicorn

from shared.errors import UsageError
from worker.desk.access import Access
from worker.desk.feed import Feed
from worker.desk.incidents import Incidents
from worker.desk.labelling import Labelling
from worker.desk.metrics import Metrics
from worker.desk.notify import Notifier
from worker.desk.store import Store
from worker.desk.web import Desk
from worker.desk.words import Explainer
from worker.settings import Settings

log = logging.getLogger("triage")

_FILE = "desk.sqlite3"
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
"""Parameters of mallopt(3), from glibc's malloc.h."""


def run(settings: Settings, started: Callable[[str], object] = lambda _: None) -> None:
    """Serve the desk until SIGTERM or SIGINT.

    Args:
        started: called with the desk's address once it answers.

    Raises:
        UsageError: if the address cannot be used, or would be open to everybody.
    """
    Access(settings)  # check this before anything is opened
    _return_memory()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn re-raises signals at its end
        signal.signal(number, lambda *_: stop.set())
    listening = _listen(settings)
    host, port = listening.getsockname()[:2]
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    cache = Path(settings.cache).expanduser()
    store = Store(
        cache / _FILE,
        lambda: Incidents(settings.incident_window_hours * 3600, settings.incident_likeness),
    )
    metrics = Metrics()
    labelling = Labelling(settings, store)
    explainer = Explainer(settings.registry, cache, metrics)
    notifier = None
    try:
        desk: Desk
        feed = Feed(settings, store, metrics, lambda _: desk.live.notify())
        desk = Desk(settings, store, feed, labelling, explainer, metrics)
        if settings.webhook_url is not None:
            notifier = Notifier(settings, store, metrics, settings.desk_url or address)
            notifier.start()
        feed.start()
        log.info("the desk is at %s", address)
        started(address)
        if not stop.is_set():
            asyncio.run(_serve(desk, listening))
    finally:
        feed.stop()
        if notifier is not None:
            notifier.stop()
        labelling.close()
        explainer.close()
        store.close()
        listening.close()


def _return_memory() -> None:
    """Let threads share two heaps, and return large blocks to the system once they are freed.

    glibc gives each thread a heap of its own, and keeps there what a query has freed: 60 MB with a
    million alerts. Other C libraries have no mallopt, and do not need it.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 2)
        mallopt(_M_MMAP_THRESHOLD, 128 << 10)


def _listen(settings: Settings) -> socket.socket:
    address, port = settings.desk_address, settings.desk_port
    try:
        family = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address, port))
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(
            f"TRIAGE_DESK_ADDRESS={address!r}, TRIAGE_DESK_PORT={port}: "
            f"expected an address and a free port of this machine: {reason}"
        ) from error
    return listening


async def _serve(desk: Desk, listening: socket.socket) -> None:
    config = uvicorn.Config(
        desk.app,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # the peer itself decides whether its headers count
        timeout_keep_alive=30,
        timeout_graceful_shutdown=5,
        h11_max_incomplete_event_size=32 << 10,
        limit_concurrency=2000,
    )
    server = uvicorn.Server(config)
    ending = asyncio.create_task(_end_streams(desk, server))
    await server.serve([listening])
    ending.cancel()


async def _end_streams(desk: Desk, server: uvicorn.Server) -> None:
    """End what pages wait for; otherwise the server would wait for them."""
    while not server.should_exit:
        await asyncio.sleep(0.1)
    desk.explainer.close()
    await desk.live.close()

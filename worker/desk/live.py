"""Live: tells open pages, by server-sent events, that there is something new."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

_EVERY = 1.0
"""Least seconds between two messages."""
_KEEP_ALIVE = 15.0
"""Seconds after which a comment is sent, so that no proxy closes the connection."""
MOST_VIEWERS = 500


class Live:
    """Distributes messages to open pages. Call all methods but `notify` in the event loop.

    A message says only that something has changed: the page then reloads what it shows.

    Args:
        status: returns the content of a message besides the number of changes.

    Attributes:
        version: the number of changes that open pages have been told of.
    """

    def __init__(self, status: Callable[[], dict[str, Any]]) -> None:
        self._status = status
        self._new = asyncio.Condition()
        self.version = 0
        self._dirty = False
        self._closed = False
        self.viewers = 0

    async def run(self) -> None:
        """Send a message after changes, at most once a second, until cancelled."""
        while True:
            if self._dirty:
                self._dirty = False
                async with self._new:
                    self.version += 1
                    self._new.notify_all()
            await asyncio.sleep(_EVERY)

    def notify(self) -> None:
        """Note a change. Any thread may call this."""
        self._dirty = True

    async def close(self) -> None:
        """End all streams."""
        self._closed = True
        async with self._new:
            self._new.notify_all()

    async def stream(self) -> AsyncIterator[str]:
        """Yield the events of one page, starting with the present state."""
        self.viewers += 1
        try:
            yield "retry: 2000\n\n"
            while not self._closed:
                seen = self.version
                yield f"data: {json.dumps(self._status() | {'version': seen})}\n\n"
                while not self._closed and self.version == seen:
                    try:
                        async with asyncio.timeout(_KEEP_ALIVE), self._new:
                            await self._new.wait()
                    except TimeoutError:
                        yield ": still here\n\n"
        finally:
            self.viewers -= 1

"""Sender: does a producer's network work in the thread that waits for it.

kafka-python has a thread of its own for this work. Each answer of Kafka's wakes that one, which
then wakes whoever waits; a delivery has three answers, and with both cores at work a thread waits
for its turn each time.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from kafka.producer.sender import Sender

_LONGEST_WAIT = 0.05
"""Seconds for which one look at the network may last. What is waited for may come true without it:
messages are given up once their transaction has failed."""
_PAUSE = 0.01
"""Seconds between two attempts after an error, which kafka-python's own thread passes over as well;
and between two looks whether that thread is done."""


class DrivenSender(Sender):  # type: ignore[misc]  # kafka-python ships no types
    """A sender whose own thread rests, once told so, but to close the connections at the end."""

    _rests: bool
    _resting: threading.Event
    _to_work: threading.Event

    @classmethod
    def adopt(cls, sender: Sender) -> None:
        """Turns a sender of kafka-python's, whose thread works already, into one of these."""
        sender._rests = False
        sender._resting, sender._to_work = threading.Event(), threading.Event()
        sender.__class__ = cls
        sender._client._net.call_soon_threadsafe(sender._look_again)

    def rest(self) -> None:
        """Lets the own thread rest; from now on nothing is sent but by `drive` and `push`."""
        self._to_work.clear()
        self._rests = True
        self._client.wakeup()
        while self.is_alive() and not self._resting.wait(_LONGEST_WAIT):
            pass

    def _work(self) -> None:
        self._rests = False
        self._to_work.set()

    @contextlib.contextmanager
    def on_its_own(self) -> Iterator[None]:
        """Lets the own thread work meanwhile, for what cannot be waited for otherwise."""
        self._work()
        try:
            yield
        finally:
            self.rest()

    def drive(self, done: Callable[[], bool], seconds: float) -> bool:
        """Works until something is done, for so many seconds at most; says whether it is."""
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() >= deadline:
                return False
            if not self._rests:  # its own thread does it
                time.sleep(_PAUSE)
                continue
            try:
                super().run_once()
            except Exception:  # noqa: BLE001  # as `Sender.run` does; the deadline stays
                time.sleep(_PAUSE)
        return True

    def push(self) -> None:
        """Sends what may be sent now, and waits for no answer."""
        if not self._rests:
            return
        self._client._net.call_soon(_nothing)  # something is to do, so that it does not wait
        with contextlib.suppress(Exception):  # it comes again when the answer is waited for
            super().run_once()
            self._client.poll(timeout_ms=0)  # by which the rest of it is written

    def run_once(self) -> None:
        """What the own thread does over and over."""
        if not self._rests:
            super().run_once()
            return
        self._resting.set()
        self._to_work.wait()
        self._resting.clear()

    def _can_split(self, batch: Any, error: Any) -> bool:
        """kafka-python splits a batch by the futures of its messages."""
        one_each = len(batch._record_futures) == batch.record_count
        return one_each and bool(super()._can_split(batch, error))

    def wakeup(self) -> None:
        """Wakes the own thread, if it works."""
        if not self._rests:
            super().wakeup()

    def initiate_close(self) -> None:
        """Lets the own thread end."""
        self._work()
        super().initiate_close()

    def _look_again(self) -> None:
        self._client._net.call_later(_LONGEST_WAIT, self._look_again)


def _nothing() -> None:
    pass

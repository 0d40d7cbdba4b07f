"""`triage-worker run`: consumes tweets and publishes alerts."""

import logging
import signal
import sys
import threading
from typing import Annotated

from shared.command_line import Given
from worker.settings import Settings


def run(*, settings: Annotated[Settings, Given]) -> None:
    """Consume tweets and publish alerts until SIGTERM.

    For example:

        $ TRIAGE_KAFKA_BOOTSTRAP_SERVERS=localhost:9092 triage-worker run
    """
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    from worker.run import run

    run(settings, stop)

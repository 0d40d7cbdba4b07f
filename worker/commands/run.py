"""`triage-worker run`: consumes tweets and publishes alerts."""

import logging
import signal
import sys
import threading
from typing import Annotated

from shared.command_line import Given
from shared.errors import TriageError
from shared.settings import describe
from shared.version import commit, version
from worker.settings import Settings

log = logging.getLogger("triage")


def run(*, settings: Annotated[Settings, Given]) -> None:
    """Consume tweets and publish alerts until SIGTERM.

    For example:

        $ TRIAGE_KAFKA_BOOTSTRAP_SERVERS=localhost:9092 triage-worker run
    """
    from worker.ops.logging import set_up_logging

    set_up_logging(settings.log_format, settings.log_level)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    values = {row.variable: str(row.value) for row in describe(settings) if row.value is not None}
    log.info(
        "triage-worker %s, commit %s, with %s",
        version(),
        commit() or "unknown",
        " ".join(f"{variable}={value}" for variable, value in values.items()),
        extra={"version": version(), "commit": commit(), "settings": values},
    )
    from worker.service import run_service

    try:
        run_service(settings, stop)
    except TriageError as error:
        log.critical("%s; exit code %d", error, error.exit_code)
        sys.exit(error.exit_code)
    except Exception:
        log.critical("a bug in the program; exit code 1", exc_info=True)
        sys.exit(1)

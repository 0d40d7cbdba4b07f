"""`triage-worker desk`: serves the pages where people read and label alerts."""

import logging
from typing import Annotated

from shared.command_line import Given
from shared.errors import UsageError
from worker.settings import Settings


def desk(*, settings: Annotated[Settings, Given]) -> None:
    """Serve the pages where people read alerts as incidents, and label them.

    Needs the extra `desk`. It listens on `127.0.0.1:8484` unless `TRIAGE_DESK_ADDRESS` and
    `TRIAGE_DESK_PORT` say otherwise; other addresses need a token or a proxy that signs people in.

    For example:

        $ triage-worker desk
    """
    from worker.ops.logging import set_up_logging

    set_up_logging(settings.log_format, settings.log_level)
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # it logs the webhook's secret URL
    try:
        from worker.desk.run import run
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the desk needs the package {error.name}: install tweet-triage[desk]"
        ) from error

    run(settings, lambda address: print(f"The desk is at {address}", flush=True))

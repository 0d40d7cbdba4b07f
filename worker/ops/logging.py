"""Logging: one line an event, as text or as JSON, with times in UTC."""

import logging
import sys
import time
from typing import Literal

from pythonjsonlogger.json import JsonFormatter

log = logging.getLogger("triage")

Format = Literal["text", "json"]
Level = Literal["debug", "info", "warning", "error"]

_TEXT = "%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s"
_TIME = "%Y-%m-%dT%H:%M:%S"


def set_up_logging(log_format: Format, level: Level) -> None:
    """Send the log to standard error.

    A line of text begins with the time (ISO 8601, UTC, milliseconds) and the level. A line of JSON
    has the keys `timestamp`, `level`, `logger` and `message`, those of the event, and `exc_info` if
    there is a traceback.
    """
    if log_format == "json":
        formatter: logging.Formatter = JsonFormatter(
            ["asctime", "levelname", "name", "message"],
            rename_fields={"asctime": "timestamp", "levelname": "level", "name": "logger"},
            json_ensure_ascii=False,
        )
        formatter.default_msec_format = "%s.%03dZ"
        formatter.default_time_format = _TIME
    else:
        formatter = logging.Formatter(_TEXT, _TIME)
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    log.setLevel(level.upper())

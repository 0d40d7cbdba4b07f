"""`triage-worker check`: checks whether a worker can start."""

import os
import sys


def check() -> None:
    """Check whether a worker can start: settings, brokers, topics, rights, bundle, threshold.

    Prints a line for each: `ok`, `failed` with what was expected and what to do, or `skipped` if it
    depends on one that failed. Publishes nothing. The exit code is 0, or else the one that a worker
    would end with, so that it can be a step in CI or an init container.

    For example:

        $ TRIAGE_KAFKA_BOOTSTRAP_SERVERS=localhost:9092 triage-worker check
    """
    from shared.errors import UsageError
    from worker.check import Finding, check, failed
    from worker.settings import read_settings

    try:
        settings = read_settings(os.environ)
    except UsageError as error:
        print(failed("settings", error))
        sys.exit(error.exit_code)
    exit_code = 0
    for finding in (Finding("settings", "ok", "all are valid"), *check(settings)):
        print(finding, flush=True)
        exit_code = exit_code or finding.exit_code
    sys.exit(exit_code)

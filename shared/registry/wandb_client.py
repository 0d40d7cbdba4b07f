"""The client of W&B: its timeouts, and its errors as ours."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from shared.errors import RegistryError, TriageError, UnavailableError

_BOUNDS = {
    "WANDB_HTTP_TIMEOUT": "20",
    "WANDB_X_GRAPHQL_RETRY_MAX": "3",
    "WANDB_X_GRAPHQL_RETRY_WAIT_MIN_SECONDS": "1",
    "WANDB_X_GRAPHQL_RETRY_WAIT_MAX_SECONDS": "5",
    "WANDB_X_FILE_TRANSFER_TIMEOUT_SECONDS": "120",
    "WANDB_X_FILE_TRANSFER_RETRY_MAX": "3",
    "WANDB_X_FILE_TRANSFER_RETRY_WAIT_MIN_SECONDS": "1",
    "WANDB_X_FILE_TRANSFER_RETRY_WAIT_MAX_SECONDS": "5",
    "WANDB_SILENT": "true",  # our programs print what users need
}


def bound_waits() -> None:
    """Set timeouts of minutes, not hours, unless the user has set others.

    Call this before `wandb` is imported: it reads the environment once.
    """
    for name, value in _BOUNDS.items():
        os.environ.setdefault(name, value)


def project() -> str:
    """Return the project of our runs: `WANDB_PROJECT`, or `tweet-triage`."""
    return os.environ.get("WANDB_PROJECT") or "tweet-triage"


@contextmanager
def errors_explained(where: str) -> Iterator[None]:
    """Turn the client's errors into ours.

    Args:
        where: the start of the message, such as `registry wandb:…`.

    Raises:
        RegistryError: if W&B refuses the request, or there is no API key.
        UnavailableError: if W&B is unreachable, too slow, or fails.
    """
    bound_waits()
    import requests
    import wandb
    from wandb.sdk.lib.service.service_connection import WandbApiFailedError
    from wandb.sdk.mailbox import HandleAbandonedError, MailboxClosedError

    # A built-in ConnectionError means that the client's own process has died; it never reconnects.
    # HTTP errors are those of `requests`.
    gone = (HandleAbandonedError, MailboxClosedError, ConnectionError)
    known = (wandb.Error, WandbApiFailedError, requests.RequestException, ValueError, OSError)
    try:
        yield
    except (*known, *gone) as error:
        causes = _causes(error)
        if wandb.run is None and any(isinstance(cause, gone) for cause in causes):
            forget_process()
        raise _explained(where, causes) from error


def forget_process() -> None:
    """Forget the client's dead process, so that the next call starts another one.

    Otherwise the client prints a traceback at the end of the program.
    """
    import wandb

    with suppress(Exception, SystemExit):  # the client raises SystemExit if that process has failed
        wandb.teardown()


def _explained(where: str, causes: list[BaseException]) -> TriageError:
    from wandb.errors import AuthenticationError, CommError, UsageError
    from wandb.sdk.lib.service.service_connection import WandbApiFailedError

    message = " ".join(str(causes[0]).split()) or type(causes[0]).__name__
    failed = [cause for cause in causes if isinstance(cause, WandbApiFailedError)]
    answer = failed[0].response if failed else None
    if answer is not None and answer.http_status in (401, 403):
        return RegistryError(f"{where}: W&B refuses the API key; set WANDB_API_KEY: {message}")
    if answer is not None and "giving up after" not in answer.message:
        return RegistryError(f"{where}: W&B refuses the request: {message}")
    if isinstance(causes[0], CommError) and isinstance(causes[-1], ValueError):
        return RegistryError(f"{where}: {message}")  # W&B's answer was not as the client expected
    if len(causes) == 1 and isinstance(causes[0], (AuthenticationError, UsageError)):
        return RegistryError(f"{where}: {message}")  # before any request: there is no API key
    return UnavailableError(f"{where}: W&B is unreachable or fails: {message}")


def _causes(error: BaseException) -> list[BaseException]:
    """Return the error and its causes."""
    found = [error]
    while (behind := getattr(found[-1], "exc", None) or found[-1].__cause__) is not None:
        found.append(behind)
    return found

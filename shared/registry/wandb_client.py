"""The edge to the W&B client: how long it may wait, and what its errors mean to us."""

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
    "WANDB_SILENT": "true",  # our programs say themselves what matters
}


def bound_waits() -> None:
    """Lets the client give up after two minutes, not hours, where the user has set nothing.

    To be called before `wandb` is imported, which reads the environment once.
    """
    for name, value in _BOUNDS.items():
        os.environ.setdefault(name, value)


def project() -> str:
    """The project of our runs: the user's `WANDB_PROJECT`, or ours."""
    return os.environ.get("WANDB_PROJECT") or "tweet-triage"


@contextmanager
def errors_explained(where: str) -> Iterator[None]:
    """Turns the client's errors into ours.

    Args:
        where: what could not be reached, with which the message begins.

    Raises:
        RegistryError: if W&B refuses, or there is no key.
        UnavailableError: if W&B cannot be reached, is too slow, or fails.
    """
    bound_waits()
    import requests
    import wandb
    from wandb.sdk.lib.service.service_connection import WandbApiFailedError
    from wandb.sdk.mailbox import HandleAbandonedError, MailboxClosedError

    # The built-in ConnectionError is of the connection to the client's own process, which is never
    # made again; those over HTTP are requests' own.
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
    """Forgets the client's own process, which has died, so that the next call starts another one.

    At the end of the program the client would tell of it with a traceback.
    """
    import wandb

    with suppress(Exception, SystemExit):  # the client ends the program if that process has failed
        wandb.teardown()


def _explained(where: str, causes: list[BaseException]) -> TriageError:
    from wandb.errors import AuthenticationError, CommError, UsageError
    from wandb.sdk.lib.service.service_connection import WandbApiFailedError

    message = " ".join(str(causes[0]).split()) or type(causes[0]).__name__
    failed = [cause for cause in causes if isinstance(cause, WandbApiFailedError)]
    answer = failed[0].response if failed else None
    if answer is not None and answer.http_status in (401, 403):
        return RegistryError(f"{where}: W&B refuses the key, see WANDB_API_KEY: {message}")
    if answer is not None and "giving up after" not in answer.message:
        return RegistryError(f"{where}: W&B refuses: {message}")
    if isinstance(causes[0], CommError) and isinstance(causes[-1], ValueError):
        return RegistryError(f"{where}: {message}")  # the client has understood W&B's answer so
    if len(causes) == 1 and isinstance(causes[0], (AuthenticationError, UsageError)):
        return RegistryError(f"{where}: {message}")  # before it has asked: there is no key
    return UnavailableError(f"{where}: W&B cannot be reached or fails: {message}")


def _causes(error: BaseException) -> list[BaseException]:
    """The error and those behind it."""
    found = [error]
    while (behind := getattr(found[-1], "exc", None) or found[-1].__cause__) is not None:
        found.append(behind)
    return found

"""`triage-trainer rollback`: swaps `production` and `previous`."""

from shared.registry.base import PRODUCTION
from trainer.commands.options import ContextGiven


def rollback(*, reason: str = "", context: ContextGiven) -> None:
    """Swap the versions of `production` and `previous`.

    For example:

        $ triage-trainer rollback --reason "too many false alerts"

    Args:
        reason: A note for the registry's history.

    Raises:
        RegistryError: if there is no previous version.
    """
    version = context.registry.rollback(reason)
    context.out.print(f"{PRODUCTION} is now version {version.number} ({version.manifest.name})")

"""`triage-trainer register`: registers a bundle."""

from pathlib import Path

from shared.registry.base import CANDIDATE, PREVIOUS, PRODUCTION
from trainer.commands.options import ContextGiven
from trainer.commands.promote import expect_free


def register(bundle: Path, /, *, alias: str = CANDIDATE, context: ContextGiven) -> None:
    """Register a bundle that `train` has written.

    For example:

        $ triage-trainer register bundles/LSTM

    Args:
        bundle: The bundle's folder.
        alias: The alias that the new version gets: any but `production` and `previous`.

    Raises:
        UsageError: if the alias cannot be used.
        BundleError: if the bundle does not verify.
    """
    expect_free(alias, PRODUCTION, PREVIOUS)
    registry = context.registry
    with context.err.status(f"registering {bundle}"):
        version = registry.register(bundle, alias)
    name, number = version.manifest.name, version.number
    context.out.print(f"registered {name} as version {number} ({alias}) in {registry.url}")

"""Settings of `triage-trainer`: where it keeps bundles."""

from collections.abc import Mapping

from shared import settings as shared_settings
from shared.settings import RegistrySettings


class Settings(RegistrySettings, frozen=True, kw_only=True):
    """The settings of `triage-trainer`: only those that it shares with the worker."""


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read the trainer's settings, and ignore those of the worker.

    The trainer does not know the worker's settings. It ignores every other `TRIAGE_*` name, unless
    the name looks like one of its own misspelt.

    Args:
        environment: such as `os.environ`.

    Raises:
        UsageError: if a setting is misspelt or malformed. One message lists all problems.
    """
    return shared_settings.read_settings(Settings, environment, ignore_unknown=True)

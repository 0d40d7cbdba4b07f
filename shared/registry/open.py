"""Open the registry that a setting names."""

import importlib.util
import re
from pathlib import Path

from shared.errors import UsageError
from shared.registry.base import Registry
from shared.registry.folder import FolderRegistry
from shared.registry.wandb_registry import WandbRegistry


def open_registry(url: str) -> Registry:
    """Open the registry with this address, the setting `TRIAGE_REGISTRY`.

    Raises:
        UsageError: if the address is malformed, or the client of Weights & Biases is needed and not
            installed.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "file" and rest:
        return FolderRegistry(Path(rest.removeprefix("//")).expanduser())
    if scheme == "wandb" and re.fullmatch(r"[\w.-]+/[\w.-]+/[\w.-]+", rest, re.ASCII):
        if importlib.util.find_spec("wandb") is None:
            raise UsageError(
                f"TRIAGE_REGISTRY={url!r}: the package wandb is not installed: "
                "install tweet-triage[wandb]"
            )
        entity, registry, collection = rest.split("/")
        return WandbRegistry(entity, registry, collection)
    raise UsageError(
        f"TRIAGE_REGISTRY={url!r}: expected file:FOLDER or wandb:ENTITY/REGISTRY/COLLECTION"
    )

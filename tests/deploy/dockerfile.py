"""The Dockerfile's instructions."""

from typing import Any

from dockerfile_parse import DockerfileParser

from tests.conftest import ROOT

DOCKERFILE = ROOT / "deploy" / "Dockerfile"


def read() -> list[dict[str, Any]]:
    """Return the instructions, in order, without comments."""
    steps = [dict(step) for step in DockerfileParser(str(DOCKERFILE)).structure]
    return [step for step in steps if step["instruction"] != "COMMENT"]

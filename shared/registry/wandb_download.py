"""Download a bundle from W&B in a separate process, because the client's download has no timeout.

The process is `python -m shared.registry.wandb_download WHERE ENTITY ARTIFACT FOLDER MEMBER…`. Its
exit code is one of `shared.errors`, and its last line is the error.
"""

import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from shared.errors import BundleError, RegistryError, UnavailableError, run_program
from shared.registry.wandb_client import bound_waits, errors_explained

LARGEST_FILE = 512 << 20
"""Largest file in bytes. An artifact with a larger one is not downloaded."""

_ERRORS = {error.exit_code: error for error in (BundleError, RegistryError)}


def download(
    where: str, entity: str, artifact: str, folder: Path, members: Iterable[str], patience: float
) -> None:
    """Download an artifact's files into a new folder.

    Args:
        where: the start of an error's message.
        entity: the entity of the request.
        artifact: such as `wandb-registry-model/tweet-triage:v3`.
        members: the expected names of its files.
        patience: timeout in seconds.

    Raises:
        BundleError: if it has other members, or one is too large.
        RegistryError: if W&B refuses the request.
        UnavailableError: if W&B is unreachable or fails, or the timeout passes.
    """
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".wandb-") as own:
        code, stderr = _run((where, entity, artifact, str(folder), *members), own, where, patience)
    if code != 0:
        errors = [line for line in stderr.splitlines() if line.startswith("error: ")]
        message = f"{where}: {stderr.strip()[-500:]}"
        if errors:
            message = errors[-1].removeprefix("error: ")
        raise _ERRORS.get(code, UnavailableError)(message)


def _run(arguments: Iterable[str], own: str, where: str, patience: float) -> tuple[int, str]:
    """Return the process's exit code and stderr; `own` is a folder for the client's files."""
    environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    environment |= {"WANDB_CACHE_DIR": own, "WANDB_DATA_DIR": own}
    with subprocess.Popen(
        [sys.executable, "-m", "shared.registry.wandb_download", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            _, stderr = process.communicate(timeout=patience)
        except subprocess.TimeoutExpired as error:
            raise UnavailableError(
                f"{where}: the download from W&B took longer than {patience:.0f} seconds"
            ) from error
        finally:
            with suppress(ProcessLookupError):  # the client's own process may still run
                os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, stderr


def _download(where: str, entity: str, name: str, folder: Path, members: list[str]) -> int:
    bound_waits()
    import wandb

    with errors_explained(where):
        artifact = wandb.Api(overrides={"entity": entity}).artifact(name)
        found = artifact.manifest.entries
        if set(found) != set(members) or not all(Path(one).name == one for one in found):
            raise BundleError(f"{where}: expected {sorted(members)}, got {sorted(found)}")
        for member, entry in found.items():
            if entry.ref is not None or (entry.size or 0) > LARGEST_FILE:
                size = "a reference" if entry.ref is not None else f"{entry.size} bytes"
                raise BundleError(
                    f"{where}: {member}: expected a file of at most {LARGEST_FILE} bytes, "
                    f"got {size}"
                )
        artifact.download(root=str(folder), skip_cache=True)
    return 0


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))
    where, entity, name, folder, *members = sys.argv[1:]
    sys.exit(run_program(lambda: _download(where, entity, name, Path(folder), members)))

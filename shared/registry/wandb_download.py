"""Downloads a bundle from W&B, in a process of its own, as the client has no bound on a download.

The process is
`python -m shared.registry.wandb_download WHERE ENTITY ARTIFACT FOLDER MEMBER…`. It ends with an
exit code of `shared.errors`, and its last line says why.
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
"""Bytes of a member at most; a larger one is not downloaded."""

_ERRORS = {error.exit_code: error for error in (BundleError, RegistryError)}


def download(
    where: str, entity: str, artifact: str, folder: Path, members: Iterable[str], patience: float
) -> None:
    """Downloads an artifact's files into a new folder.

    Args:
        where: with which the message of an error begins.
        entity: that asks.
        artifact: such as `wandb-registry-model/tweet-triage:v3`.
        members: the names that it has to have, and no others.
        patience: seconds after which the process is ended.

    Raises:
        BundleError: if it has other members, or too large ones.
        RegistryError: if W&B refuses.
        UnavailableError: if W&B cannot be reached, fails, or takes longer.
    """
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".wandb-") as own:
        code, said = _run((where, entity, artifact, str(folder), *members), own, where, patience)
    if code != 0:
        told = [line for line in said.splitlines() if line.startswith("error: ")]
        message = told[-1].removeprefix("error: ") if told else f"{where}: {said.strip()[-500:]}"
        raise _ERRORS.get(code, UnavailableError)(message)


def _run(arguments: Iterable[str], own: str, where: str, patience: float) -> tuple[int, str]:
    """The process's exit code and what it said; `own` is a folder for the client's files."""
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
            _, said = process.communicate(timeout=patience)
        except subprocess.TimeoutExpired as error:
            raise UnavailableError(
                f"{where}: W&B took longer than {patience:.0f} seconds for the download"
            ) from error
        finally:
            with suppress(ProcessLookupError):  # the client's own process may go on
                os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, said


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

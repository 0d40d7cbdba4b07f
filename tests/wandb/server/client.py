"""Client: what happens to the process that W&B's client runs beside ours."""

import gc
import subprocess


def kill_client() -> None:
    """Kill the client with -9, and mark the object that represents it as ended.

    The client forgets that object, which would warn later, in any test, of a process that runs.
    """
    started = [found for found in gc.get_objects() if type(found) is subprocess.Popen]
    (process,) = [p for p in started if "wandb-core" in str(p.args) and p.poll() is None]
    process.kill()
    process.wait(10)

"""`python -m tests.wandb.server --port 0`: the server as a process, until it is interrupted."""

import argparse
import shlex
import tempfile
import threading

from tests.wandb.server.server import WandbServer, environment


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m tests.wandb.server", description=__doc__)
    arguments.add_argument("--port", type=int, default=0, help="default: a free one")
    server = WandbServer(arguments.parse_args().port)
    print(server.url, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, value in environment(server.url, folder).items():
            print(f"export {name}={shlex.quote(value)}", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            server.close()


if __name__ == "__main__":
    main()

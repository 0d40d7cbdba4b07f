"""The HTTP server: who may ask, which operation answers, and the faults that are switched on."""

import base64
import json
import re
import socket
import threading
import traceback
from dataclasses import dataclass
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from tests.wandb.server.artifacts import Artifacts, manifest_of
from tests.wandb.server.runs import Runs
from tests.wandb.server.store import ENTITY, KEY, RefusedError, Store
from tests.wandb.server.sweeps import Sweeps
from worker.demo.local_kafka import hold_port

Kind = Literal["error", "refuse", "hang", "drop", "corrupt"]


@dataclass
class Fault:
    """What goes wrong, after how many requests more, and how many times; None: for ever."""

    kind: Kind
    times: int | None
    after: int


class WandbServer:
    """A server on the loopback address, with everything in memory.

    Attributes:
        url: with the port, which stays the same through `stop` and `start`.
        key: that is accepted; another one than the clients' refuses them all.
        store: what clients have sent.
        requests: the operations in their order; `upload NAME`, `download NAME` and `file_stream`
            are those beside GraphQL's.
        failures: what a test should never see: requests that the server does not understand.
    """

    def __init__(self, port: int = 0) -> None:
        self._http = _Http(("127.0.0.1", port), self)
        self._port = self._http.server_address[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._answering = False
        self.reset()
        self.start()

    def reset(self) -> None:
        """Delete everything, switch faults off, and release hanging requests."""
        self._let_go()
        with self._lock:
            self.key = KEY
            self.store = Store()
            self._runs = Runs(self.store, self.url)
            artifacts = Artifacts(self.store, self.url)
            self._operations = (self._runs, artifacts, Sweeps(self.store))
            self._faults: dict[str, Fault] = {}
            self.requests: list[str] = []
            self.failures: list[str] = []

    def start(self) -> None:
        """Answer requests, also after `stop`, at the same address with the same data."""
        if self._answering:
            return
        if self._http.socket.fileno() == -1:
            self._held.close()
            self._http = _Http(("127.0.0.1", self._port), self)
        self._answering = True
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Stop at once: break connections and refuse new ones, but keep the port."""
        if not self._answering:
            return
        self._answering = False
        self._let_go()
        self._http.shutdown()
        self._http.server_close()
        self._held = hold_port(self._port)
        self._http.break_connections()

    def close(self) -> None:
        """Stop for good, and release the port."""
        self.stop()
        self._held.close()

    def fault(self, operation: str, kind: Kind, times: int | None = None, after: int = 0) -> None:
        """Make requests fail from now on.

        Args:
            operation: as in `requests`, or with a `*`; `upload` and `download` alone mean every
                file.
            kind: `error`: answers 500; `refuse`: an error of the application; `hang`: no answer
                until `reset`, `mend` or `stop`; `drop`: the connection breaks, in an upload after
                half of the file; `corrupt`: a download gives other bytes of the same size.
            times: so often, and then no more.
            after: so many requests go well before.
        """
        with self._lock:
            self._faults[operation] = Fault(kind, times, after)

    def mend(self) -> None:
        """Switch the faults off, and keep all data."""
        with self._lock:
            self._faults.clear()
        self._let_go()

    def begin(self, operation: str) -> Kind | None:
        """Record a request, and return the fault that it must have."""
        with self._lock:
            self.requests.append(operation)
            asked = (operation, operation.partition(" ")[0])
            matching = [
                f for key, f in self._faults.items() if any(fnmatchcase(a, key) for a in asked)
            ]
            fault = matching[0] if matching else None
            if fault is None or fault.times == 0:
                return None
            if fault.after > 0:
                fault.after -= 1
                return None
            if fault.times is not None:
                fault.times -= 1
            return fault.kind

    def hang(self) -> None:
        """Wait until hanging requests are released."""
        self._released.wait()

    def _let_go(self) -> None:
        self._released.set()
        self._released = threading.Event()

    def graphql(self, operation: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Answer a GraphQL operation, with more fields than clients ask for."""
        method = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).lower()
        with self._lock:
            found = [getattr(part, method, None) for part in self._operations]
            answer = next((one for one in found if one is not None), None)
            try:
                if answer is None:
                    self.failures.append(f"unknown operation {operation}")
                    raise RefusedError(f"unknown operation {operation}")
                return {"data": answer(variables)}
            except RefusedError as error:
                message = str(error)
            except Exception:  # noqa: BLE001 # a fault of ours fails the test, and stalls no client
                self.failures.append(f"{operation} {variables}: {traceback.format_exc()}")
                message = f"{operation} failed"
            return {"errors": [{"message": message}], "data": None}

    def stream(self, path: list[str], body: dict[str, Any]) -> None:
        """Store what a run posts to `files/ENTITY/PROJECT/RUN/file_stream`."""
        with self._lock:
            self._runs.stream(self.store.run(*path), body)

    def put(self, path: str, content: bytes) -> None:
        """Store an uploaded file."""
        kind, _, rest = path.partition("/")
        with self._lock:
            if kind == "manifest":
                self.store.manifests[rest].manifest = json.loads(content)
            elif kind == "artifact":
                artifact_id, _, name = rest.partition("/")
                self.store.artifact(artifact_id).files[name] = content
            else:
                entity, project, run, name = rest.split("/", 3)
                self.store.run(entity, project, run).files[name] = content

    def get(self, path: str) -> bytes:
        """Return a stored file, or raise KeyError."""
        kind, _, rest = path.partition("/")
        with self._lock:
            if kind == "manifest-of":
                return manifest_of(self.store.artifact(rest))
            if kind == "artifact":
                artifact_id, _, name = rest.partition("/")
                return self.store.artifact(artifact_id).files[name]
            entity, project, run, name = rest.split("/", 3)
            return self.store.run(entity, project, run).files[name]


def environment(url: str, folder: str) -> dict[str, str]:
    """Return the variables that a client needs before it imports `wandb`.

    Args:
        folder: where the client keeps its own files.
    """
    return {
        "WANDB_BASE_URL": url,
        "WANDB_API_KEY": KEY,
        "WANDB_ENTITY": ENTITY,
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_X_DISABLE_STATS": "true",
        "WANDB_CONSOLE": "off",
        "WANDB_SILENT": "true",
        "WANDB_HTTP_TIMEOUT": "8",
        "WANDB_X_GRAPHQL_RETRY_MAX": "1",
        "WANDB_X_GRAPHQL_RETRY_WAIT_MIN_SECONDS": "1",
        "WANDB_X_GRAPHQL_RETRY_WAIT_MAX_SECONDS": "1",
        "WANDB_X_FILE_TRANSFER_RETRY_MAX": "1",
        "WANDB_X_FILE_TRANSFER_RETRY_WAIT_MIN_SECONDS": "1",
        "WANDB_X_FILE_TRANSFER_RETRY_WAIT_MAX_SECONDS": "1",
        "WANDB_DIR": folder,
        "WANDB_CACHE_DIR": folder,
        "WANDB_DATA_DIR": folder,
        "WANDB_CONFIG_DIR": folder,
        "WANDB_ARTIFACT_DIR": folder,
        "NO_PROXY": "127.0.0.1,localhost",
    }


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], server: WandbServer) -> None:
        super().__init__(address, _Handler)
        self.wandb = server
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def break_connections(self) -> None:
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:  # its thread has closed it meanwhile
                self._open.discard(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        trace = traceback.format_exc()
        if not re.search(r"^(ConnectionResetError|BrokenPipeError)", trace, re.MULTILINE):
            self.wandb.failures.append(trace)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Http

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self._body() or b"{}")
        path = self._path()
        if path == "graphql":
            named = re.search(r"\b(?:query|mutation)\s+(\w+)", body["query"])
            operation = body.get("operationName") or (named.group(1) if named else "")
            if self._goes_on(operation) and self._is_allowed():
                answer = self.server.wandb.graphql(operation, body.get("variables") or {})
                self._answer(200, json.dumps(answer).encode())
        elif path.endswith("/file_stream"):
            if self._goes_on("file_stream") and self._is_allowed():
                self.server.wandb.stream(path.split("/")[1:4], body)
                self._answer(200, b'{"stopped": false}')
        else:
            self._not_found()

    def do_PUT(self) -> None:
        path = self._path().removeprefix("storage/")
        fault = self.server.wandb.begin(f"upload {path.rpartition('/')[2]}")
        if fault == "drop":
            self.rfile.read(int(self.headers["Content-Length"]) // 2)
            self._drop()
            return
        content = self._body()
        if self._goes_on_with(fault):
            self.server.wandb.put(path, content)
            self._answer(200, b"")

    def do_GET(self) -> None:
        path = self._path()
        path = path.replace("files/", "run/", 1) if path.startswith("files/") else path
        path = path.removeprefix("storage/")
        fault = self.server.wandb.begin(f"download {path.rpartition('/')[2]}")
        if not self._goes_on_with(fault):
            return
        try:
            content = self.server.wandb.get(path)
        except (KeyError, ValueError):
            self._not_found()
            return
        if fault == "corrupt":
            content = bytes(255 - byte for byte in content)
        self._answer(200, content)

    def _path(self) -> str:
        return unquote(urlsplit(self.path).path).strip("/")

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _is_allowed(self) -> bool:
        expected = base64.b64encode(f"api:{self.server.wandb.key}".encode()).decode()
        if self.headers.get("Authorization") == f"Basic {expected}":
            return True
        self._answer(401, b'{"errors": [{"message": "user is not logged in"}]}')
        return False

    def _goes_on(self, operation: str) -> bool:
        return self._goes_on_with(self.server.wandb.begin(operation))

    def _goes_on_with(self, fault: Kind | None) -> bool:
        if fault == "error":
            self._answer(500, b'{"errors": [{"message": "internal error"}]}')
        elif fault == "refuse":
            self._answer(200, b'{"errors": [{"message": "permission denied"}], "data": null}')
        elif fault == "hang":
            self.server.wandb.hang()
            self._drop()
        elif fault == "drop":
            self._drop()
        return fault in (None, "corrupt")

    def _drop(self) -> None:
        self.close_connection = True
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:  # the client has gone
            return

    def _not_found(self) -> None:
        self.server.wandb.failures.append(f"{self.command} {self.path}: not found")
        self._answer(404, b'{"error": "not found"}')

    def _answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

"""An OAuth 2.0 token endpoint on this host, for tests, and the tokens that it gives."""

import base64
import json
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def unsecured_token(subject: str, life: float = 3600) -> str:
    """Return an unsigned token (RFC 7515, appendix A.5), which Kafka's test validator takes."""
    claims = {"sub": subject, "iat": time.time() - 1, "exp": time.time() + life}
    parts = (
        base64.urlsafe_b64encode(json.dumps(part).encode()) for part in ({"alg": "none"}, claims)
    )
    return ".".join([*(part.decode().rstrip("=") for part in parts), ""])


class TokenServer(ThreadingHTTPServer):
    """Gives tokens to one client.

    Attributes:
        url: of the endpoint.
        forms: what was asked for by a client that it knows.
        answer: status, headers and body to give instead of a token; None for a token.
        life: seconds that a token says it lives.
    """

    daemon_threads = True

    def __init__(self, client: str, secret: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.client = (client, secret)
        self.url = f"http://127.0.0.1:{self.server_port}/token"
        self.forms: list[dict[str, str]] = []
        self.answer: tuple[int, dict[str, str], bytes] | None = None
        self.life: Any = 3600


class _Handler(BaseHTTPRequestHandler):
    server: TokenServer

    def do_POST(self) -> None:
        form = self.rfile.read(int(self.headers["Content-Length"])).decode()
        scheme, _, credentials = self.headers.get("Authorization", "").partition(" ")
        pair = base64.b64decode(credentials).decode().split(":")
        if self.server.answer is not None:
            self._give(*self.server.answer)
        elif scheme != "Basic" or tuple(map(urllib.parse.unquote_plus, pair)) != self.server.client:
            self._give(401, {}, b'{"error": "invalid_client", "error_description": "who?"}')
        else:
            self.server.forms.append(dict(urllib.parse.parse_qsl(form)))
            token = unsecured_token(self.server.client[0])
            body = {"access_token": token, "token_type": "Bearer", "expires_in": self.server.life}
            self._give(200, {"Content-Type": "application/json"}, json.dumps(body).encode())

    def _give(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def token_server(client: str, secret: str) -> Iterator[TokenServer]:
    """Yield a running token endpoint."""
    server = TokenServer(client, secret)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

"""Access: who may use the desk, and what a browser may do with its pages."""

import getpass
import hmac
import os
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.errors import UsageError
from worker.settings import Settings

LONGEST_NAME = 60

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class SecurityHeaders:
    """Adds the headers that keep a page from loading or running anything foreign."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                static = scope["path"].startswith("/static/")
                headers["Cache-Control"] = "no-cache" if static else "no-store"
            await send(message)

        await self._app(scope, receive, send_with_headers)


class Access:
    """Finds the user of a request, by the settings.

    - A trusted proxy names the user in a header.
    - With a token, people sign in with it and a name; a program sends it as a bearer token.
    - Otherwise the desk serves only this machine, and everybody on it.

    Raises:
        UsageError: if other machines could reach the desk without any of these.
    """

    def __init__(self, settings: Settings) -> None:
        self.token = settings.desk_token
        self._header = settings.desk_user_header
        self._proxies = [
            ip_network(part.strip())
            for part in (settings.desk_trusted_proxies or "").split(",")
            if part.strip()
        ]
        self._local = is_loopback(settings.desk_address)
        if not self._local and self.token is None and self._header is None:
            raise UsageError(
                f"TRIAGE_DESK_ADDRESS={settings.desk_address!r} lets other machines open the desk; "
                "set TRIAGE_DESK_TOKEN_FILE, or TRIAGE_DESK_USER_HEADER and "
                "TRIAGE_DESK_TRUSTED_PROXIES, or use 127.0.0.1"
            )
        self._machine_user = _machine_user()

    def user(self, request: HTTPConnection) -> str | None:
        """Return the user of a request, or None if they have to sign in."""
        if self._header is not None and self._from_proxy(request):
            named = clean_name(request.headers.get(self._header, ""))
            if named:
                return named
        if self.token is not None:
            name: str | None = request.session.get("name")
            if name:
                return name
            scheme, _, given = request.headers.get("authorization", "").partition(" ")
            if scheme.lower() == "bearer" and self.is_token(given.strip()):
                return "api"
            return None
        if self._header is not None:
            return None
        return request.session.get("name") or self._machine_user

    def is_token(self, given: str) -> bool:
        """Compare in constant time, which reveals nothing of the token."""
        return self.token is not None and hmac.compare_digest(
            given.encode("utf-8", "replace"), self.token.reveal().encode()
        )

    def is_expected_host(self, request: HTTPConnection) -> bool:
        """Return whether the request names this machine as its host, if no sign-in is needed.

        Otherwise a foreign page whose name resolves to 127.0.0.1 could read the desk.
        """
        if self.token is not None or self._header is not None:
            return True
        host = request.headers.get("host", "")
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        return name in ("localhost", "127.0.0.1", "[::1]")

    def _from_proxy(self, request: HTTPConnection) -> bool:
        try:
            peer = ip_address(request.client.host if request.client else "")
        except ValueError:
            return False
        return any(peer in network for network in self._proxies)


def is_loopback(address: str) -> bool:
    """Return whether only this machine can reach the address."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def clean_name(name: str) -> str:
    """Return a person's name, without invisible characters and truncated."""
    return " ".join("".join(c if c.isprintable() else " " for c in name).split())[:LONGEST_NAME]


def _machine_user() -> str:
    try:
        return clean_name(getpass.getuser()) or "me"
    except (KeyError, OSError):  # in a container the user may have no name
        return "me"


def session_key(folder: Path, settings: Settings) -> str:
    """Return the key that signs cookies. It is kept in a file, and changes with the token."""
    path = folder / "desk.key"
    try:
        key = path.read_text()
    except FileNotFoundError:
        key = secrets.token_hex(32)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "w") as out:
            out.write(key)
    token = "" if settings.desk_token is None else settings.desk_token.reveal()
    return hmac.digest(key.encode(), token.encode(), "sha256").hex()


def csrf_token(request: Request) -> str:
    """Return the session's secret, which a page sends with each change."""
    token: str = request.session.setdefault("csrf", secrets.token_urlsafe(24))
    return token


def is_own_request(request: Request, given: str) -> bool:
    """Return whether a request for a change comes from one of our pages."""
    site = request.headers.get("sec-fetch-site", "same-origin")
    expected = request.session.get("csrf", "")
    return (
        site in ("same-origin", "none")
        and bool(expected)
        and hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())
    )


class RateLimit:
    """Limits the attempts of each client per minute, in a burst or spread.

    Args:
        per_minute: attempts of a client.
        clients: how many are remembered; the one without an attempt for longest is forgotten.
    """

    def __init__(
        self,
        per_minute: int,
        clients: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._per_minute, self._clients, self._clock = per_minute, clients, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allow(self, client: str) -> bool:
        """Count an attempt, and return whether it is within the limit."""
        now = self._clock()
        left, then = self._left.pop(client, (float(self._per_minute), now))
        left = min(float(self._per_minute), left + (now - then) * self._per_minute / 60)
        self._left[client] = (max(0.0, left - 1), now)
        if len(self._left) > self._clients:
            self._left.popitem(last=False)
        return left >= 1

    def give_back(self, client: str) -> None:
        """Uncount the last attempt."""
        left, then = self._left.get(client, (float(self._per_minute), self._clock()))
        self._left[client] = (min(float(self._per_minute), left + 1), then)

"""Tokens: bearer tokens for SASL/OAUTHBEARER, from a file or a token endpoint.

A file is read for each connection, because Kubernetes and secret stores rotate it. An endpoint is
asked with the client credentials grant (RFC 6749, sections 2.3.1 and 4.4), and again when four
fifths of the token's life have passed: kafka-python asks for a new one at 85 % at the earliest.

The standard library is enough for that one request. It follows no redirect and limits the answer's
size.
"""

import base64
import functools
import http.client
import math
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from kafka.net.sasl.oauth import AbstractTokenProvider

from shared.errors import DependencyError, UnavailableError, UsageError
from shared.secret import Secret
from worker.settings import Settings

_TIMEOUT = 5.0
"""Timeout of the endpoint in seconds. The client's other traffic waits for it."""
_LARGEST_ANSWER = 1 << 20
"""Bytes; a token must fit into a request to the broker."""
_REFRESH_AFTER = 0.8
_DEFAULT_LIFE = 300.0
"""A token's lifetime in seconds if the endpoint does not state it."""


class _Answer(msgspec.Struct):
    """The part of an answer that is needed here (RFC 6749, section 5.1)."""

    access_token: str
    expires_in: float = _DEFAULT_LIFE


class _Refusal(msgspec.Struct):
    """An answer that refuses a token (RFC 6749, section 5.2)."""

    error: str
    error_description: str = ""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirect, which would carry the client's secret to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


@functools.cache
def token_provider(settings: Settings) -> "TokenFile | TokenEndpoint":
    """Return the object that gives kafka-python a token for each connection.

    All clients with the same settings share it and its token.

    Raises:
        UsageError: if the settings name neither a file nor an endpoint with its client.
    """
    given = settings.kafka_oauth_extensions
    extensions = dict(pair.split("=", 1) for pair in given.split(",")) if given else {}
    if settings.kafka_oauth_token_file is not None:
        return TokenFile(settings.kafka_oauth_token_file, extensions)
    url, client = settings.kafka_oauth_token_url, settings.kafka_oauth_client_id
    secret = settings.kafka_oauth_client_secret
    if url is None or client is None or secret is None:
        raise UsageError("OAUTHBEARER needs TRIAGE_KAFKA_OAUTH_TOKEN_FILE or …_TOKEN_URL")
    return TokenEndpoint(url, client, secret, settings.kafka_oauth_scope, extensions)


class TokenFile(AbstractTokenProvider):  # type: ignore[misc]  # kafka-python ships no types
    """Reads the token from a file each time."""

    def __init__(self, path: str, extensions: dict[str, str]) -> None:
        self._path = path
        self._extensions = extensions

    def extensions(self) -> dict[str, str]:
        """Return what is sent with the token (RFC 7628, section 3.1)."""
        return self._extensions

    def token(self) -> str:
        """Return the token.

        Raises:
            DependencyError: if there is none.
        """
        where = f"TRIAGE_KAFKA_OAUTH_TOKEN_FILE={self._path!r}"
        try:
            token = Path(self._path).read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise DependencyError(f"{where}: expected a token, in ASCII: {error}") from error
        if not token:
            raise DependencyError(f"{where}: expected a token, and the file is empty")
        return token


class TokenEndpoint(AbstractTokenProvider):  # type: ignore[misc]
    """Asks a token endpoint, and keeps the token for four fifths of its life.

    Args:
        clock: returns seconds and never goes back.
    """

    def __init__(
        self,
        url: str,
        client: str,
        secret: Secret,
        scope: str | None,
        extensions: dict[str, str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._client = client
        self._secret = secret
        self._form = {"grant_type": "client_credentials"} | ({"scope": scope} if scope else {})
        self._extensions = extensions
        self._clock = clock
        self._lock = threading.Lock()
        self._token = ""
        self._refresh_at = -math.inf
        # It trusts the system's authorities, and uses the proxy of the environment.
        self._open = urllib.request.build_opener(_NoRedirects).open

    def extensions(self) -> dict[str, str]:
        """Return what is sent with the token (RFC 7628, section 3.1)."""
        return self._extensions

    def token(self) -> str:
        """Return the token.

        Raises:
            UnavailableError: if the endpoint is unavailable.
            DependencyError: if it refuses a token.
        """
        with self._lock:
            asked = self._clock()
            if asked >= self._refresh_at:
                answer = self._ask()
                self._token = answer.access_token
                self._refresh_at = asked + answer.expires_in * _REFRESH_AFTER
            return self._token

    def _ask(self) -> _Answer:
        pair = map(urllib.parse.quote_plus, (self._client, self._secret.reveal()))
        request = urllib.request.Request(  # noqa: S310  # the settings allow https, or this host
            self._url,
            urllib.parse.urlencode(self._form).encode(),
            {
                "Authorization": "Basic " + base64.b64encode(":".join(pair).encode()).decode(),
                "Accept": "application/json",
            },
        )
        where = f"TRIAGE_KAFKA_OAUTH_TOKEN_URL={self._url!r}"
        try:
            with self._open(request, timeout=_TIMEOUT) as response:
                body = response.read(_LARGEST_ANSWER)
            # Some endpoints return the seconds as a string.
            return msgspec.json.decode(body, type=_Answer, strict=False)
        except urllib.error.HTTPError as error:
            with error:
                reason = f"HTTP status {error.code}{_reason(error.read(_LARGEST_ANSWER))}"
            if error.code >= 500 or error.code == 429:
                raise UnavailableError(f"{where} is unavailable: {reason}") from error
            raise DependencyError(
                f"{where} refuses a token: {reason}; expected it to know "
                "TRIAGE_KAFKA_OAUTH_CLIENT_ID and TRIAGE_KAFKA_OAUTH_CLIENT_SECRET"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise UnavailableError(f"{where} is unavailable: {error}") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DependencyError(
                f"{where} gives no token: expected a JSON object with access_token: {error}"
            ) from error


def _reason(body: bytes) -> str:
    try:
        refusal = msgspec.json.decode(body, type=_Refusal)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return f", {refusal.error} {refusal.error_description}".rstrip()

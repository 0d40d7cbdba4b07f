"""Tokens for SASL/OAUTHBEARER come from a file or an endpoint, and refusals say what to correct."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.errors import DependencyError, UnavailableError, UsageError
from shared.secret import Secret
from tests.kafka.token_endpoint import TokenServer, token_server
from worker.kafka.tokens import TokenEndpoint, TokenFile, token_provider
from worker.settings import Settings

CLIENT = "triage worker"
SECRET = "s3cret:with/odd+%signs"


@pytest.fixture
def server() -> Iterator[TokenServer]:
    with token_server(CLIENT, SECRET) as endpoint:
        yield endpoint


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def endpoint(
    server: TokenServer, clock: Clock | None = None, secret: str = SECRET
) -> TokenEndpoint:
    return TokenEndpoint(server.url, CLIENT, Secret(secret), "kafka", {}, clock or Clock())


def test_the_file_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("first\n")
    tokens = TokenFile(str(path), {})
    assert tokens.token() == "first"
    path.write_text("second")
    assert tokens.token() == "second"


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe"])
def test_a_file_without_a_token_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DependencyError, match=rf"TRIAGE_KAFKA_OAUTH_TOKEN_FILE='{path}': expected"):
        TokenFile(str(path), {}).token()


def test_the_endpoint_is_asked_as_the_rfc_says(server: TokenServer) -> None:
    assert endpoint(server).token().count(".") == 2
    assert server.forms == [{"grant_type": "client_credentials", "scope": "kafka"}]


@pytest.mark.parametrize("life", [100, 100.0, "100"])
def test_a_token_is_kept_for_most_of_its_life(server: TokenServer, life: object) -> None:
    server.life = life
    clock = Clock()
    tokens = endpoint(server, clock)
    first = tokens.token()
    clock.now = 79
    assert tokens.token() == first
    assert len(server.forms) == 1
    clock.now = 81
    tokens.token()
    assert len(server.forms) == 2


def test_a_wrong_secret_is_refused_and_not_shown(server: TokenServer) -> None:
    with pytest.raises(DependencyError) as caught:
        endpoint(server, secret="wr0ng").token()
    assert not isinstance(caught.value, UnavailableError)
    assert str(caught.value) == (
        f"TRIAGE_KAFKA_OAUTH_TOKEN_URL='{server.url}' refuses a token: HTTP status 401, "
        "invalid_client who?; expected it to know TRIAGE_KAFKA_OAUTH_CLIENT_ID and "
        "TRIAGE_KAFKA_OAUTH_CLIENT_SECRET"
    )


@pytest.mark.parametrize(
    "answer",
    [
        (200, b""),
        (200, b"<html>"),
        (200, b"{}"),
        (200, b'{"access_token": 5}'),
        (200, b"\xff"),
        (400, b'{"error": "invalid_scope"}'),
        (403, b"no JSON"),
        (404, b""),
    ],
)
def test_no_token_is_no_matter_of_time(server: TokenServer, answer: tuple[int, bytes]) -> None:
    server.answer = (answer[0], {}, answer[1])
    with pytest.raises(DependencyError, match="TRIAGE_KAFKA_OAUTH_TOKEN_URL=") as caught:
        endpoint(server).token()
    assert not isinstance(caught.value, UnavailableError)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_endpoint_in_trouble_may_recover(server: TokenServer, status: int) -> None:
    tokens = endpoint(server)
    server.answer = (status, {}, b"")
    with pytest.raises(UnavailableError, match=f"is unavailable: HTTP status {status}"):
        tokens.token()
    server.answer = None
    assert tokens.token()


def test_an_endpoint_that_is_away_may_come_back() -> None:
    with token_server(CLIENT, SECRET) as server:
        tokens = endpoint(server)
    with pytest.raises(UnavailableError, match="is unavailable: "):
        tokens.token()


def test_the_secret_does_not_follow_a_redirect(server: TokenServer) -> None:
    with token_server(CLIENT, SECRET) as other:
        server.answer = (307, {"Location": other.url}, b"")
        with pytest.raises(DependencyError, match="HTTP status 307"):
            endpoint(server).token()
        server.answer = (302, {"Location": other.url}, b"")
        with pytest.raises(DependencyError, match="HTTP status 302"):
            endpoint(server).token()
        assert other.forms == []


def test_the_settings_choose() -> None:
    file = Settings(kafka_oauth_token_file="/token", kafka_oauth_extensions="a=b=c,d=e")
    tokens = token_provider(file)
    assert isinstance(tokens, TokenFile)
    assert tokens.extensions() == {"a": "b=c", "d": "e"}
    url = Settings(
        kafka_oauth_token_url="https://issuer.example",
        kafka_oauth_client_id="me",
        kafka_oauth_client_secret=Secret("x"),
    )
    assert isinstance(token_provider(url), TokenEndpoint)
    assert token_provider(url).extensions() == {}
    assert token_provider(url) is token_provider(url)
    with pytest.raises(UsageError, match="TOKEN_FILE"):
        token_provider(Settings())

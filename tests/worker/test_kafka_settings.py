"""A way to a secured Kafka that cannot work is refused at the start, and secrets never show."""

import copy
import logging
import re
from pathlib import Path

import msgspec
import pytest

from shared.errors import UsageError
from shared.secret import Secret
from shared.settings import FILE_VARIABLE, expected, secret_names
from worker.settings import Settings, read_settings

PASSWORD = "corr3ct-h0rse"
SECRETS = secret_names(Settings)
EXPECTED = {
    field.name: re.escape(expected(field.type)) for field in msgspec.structs.fields(Settings)
}
SCRAM = {
    "SECURITY_PROTOCOL": "SASL_SSL",
    "SASL_MECHANISM": "SCRAM-SHA-512",
    "SASL_USERNAME": "triage",
    "SASL_PASSWORD": PASSWORD,
}
OAUTH = {"SECURITY_PROTOCOL": "SASL_SSL", "SASL_MECHANISM": "OAUTHBEARER"}
ENDPOINT = {
    "OAUTH_TOKEN_URL": "https://issuer.example/token",
    "OAUTH_CLIENT_ID": "triage",
    "OAUTH_CLIENT_SECRET": PASSWORD,
}


def read(given: dict[str, str]) -> Settings:
    return read_settings({f"TRIAGE_KAFKA_{name}": value for name, value in given.items()})


def refusal(given: dict[str, str]) -> str:
    with pytest.raises(UsageError) as caught:
        read(given)
    return str(caught.value)


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "file.pem").write_text("content")
    return str(tmp_path / "file.pem")


@pytest.mark.parametrize(
    "given",
    [
        {"SECURITY_PROTOCOL": "SSL"},
        {"SECURITY_PROTOCOL": "SSL", "SSL_CA_FILE": "FILE"},
        {"SECURITY_PROTOCOL": "SSL", "SSL_CERTIFICATE_FILE": "FILE"},
        {
            "SECURITY_PROTOCOL": "SSL",
            "SSL_CERTIFICATE_FILE": "FILE",
            "SSL_KEY_FILE": "FILE",
            "SSL_KEY_PASSWORD": PASSWORD,
        },
        SCRAM,
        SCRAM | {"SSL_CA_FILE": "FILE", "SSL_CERTIFICATE_FILE": "FILE"},
        SCRAM | {"SECURITY_PROTOCOL": "SASL_PLAINTEXT"},
        SCRAM | {"SASL_MECHANISM": "PLAIN"},
        SCRAM | {"SASL_MECHANISM": "SCRAM-SHA-256"},
        OAUTH | {"OAUTH_TOKEN_FILE": "FILE"},
        OAUTH | {"OAUTH_TOKEN_FILE": "FILE", "OAUTH_EXTENSIONS": "logicalCluster=lkc-1"},
        OAUTH | ENDPOINT,
        OAUTH | ENDPOINT | {"OAUTH_SCOPE": "kafka", "OAUTH_EXTENSIONS": "a=b,identityPoolId=p-1"},
        OAUTH | ENDPOINT | {"OAUTH_TOKEN_URL": "http://localhost:8080/token"},
        OAUTH | ENDPOINT | {"OAUTH_TOKEN_URL": "http://[::1]/token"},
    ],
)
def test_ways_that_can_work(given: dict[str, str], file: str) -> None:
    given = {name: file if value == "FILE" else value for name, value in given.items()}
    settings = read(given)
    for name, value in given.items():
        found = getattr(settings, f"kafka_{name.lower()}")
        assert (found.reveal() if isinstance(found, Secret) else found) == value


@pytest.mark.parametrize(
    ("given", "problems"),
    [
        (
            {"SASL_PASSWORD": PASSWORD},
            ["SASL_PASSWORD has no effect with TRIAGE_KAFKA_SECURITY_PROTOCOL=PLAINTEXT"],
        ),
        (
            {"SECURITY_PROTOCOL": "SSL", "SSL_KEY_FILE": "FILE", "SASL_USERNAME": "me"},
            [
                "SSL_KEY_FILE has no effect with TRIAGE_KAFKA_SECURITY_PROTOCOL=SSL",
                "SASL_USERNAME has no effect with TRIAGE_KAFKA_SECURITY_PROTOCOL=SSL",
            ],
        ),
        (
            {"SECURITY_PROTOCOL": "SASL_SSL"},
            ["SASL_MECHANISM is missing: TRIAGE_KAFKA_SECURITY_PROTOCOL=SASL_SSL needs it"],
        ),
        (
            {"SECURITY_PROTOCOL": "SASL_PLAINTEXT", "SASL_MECHANISM": "PLAIN"},
            [
                "SASL_USERNAME is missing: TRIAGE_KAFKA_SECURITY_PROTOCOL=SASL_PLAINTEXT and "
                "TRIAGE_KAFKA_SASL_MECHANISM=PLAIN needs it",
                "SASL_PASSWORD is missing",
            ],
        ),
        (
            SCRAM | {"SECURITY_PROTOCOL": "SASL_PLAINTEXT", "SSL_CA_FILE": "FILE"},
            ["SSL_CA_FILE has no effect with TRIAGE_KAFKA_SECURITY_PROTOCOL=SASL_PLAINTEXT and"],
        ),
        (OAUTH, ["OAUTH_TOKEN_FILE or …_TOKEN_URL is missing"]),
        (
            OAUTH | {"OAUTH_TOKEN_URL": "https://x", "SASL_USERNAME": "me"},
            [
                "OAUTH_CLIENT_ID is missing",
                "OAUTH_CLIENT_SECRET is missing",
                "SASL_USERNAME has no effect with",
            ],
        ),
        (OAUTH | ENDPOINT | {"OAUTH_TOKEN_FILE": "FILE"}, ["OAUTH_TOKEN_FILE has no effect with"]),
        (SCRAM | {"OAUTH_SCOPE": "kafka"}, ["OAUTH_SCOPE has no effect with"]),
        (
            {"SECURITY_PROTOCOL": "TLS", "SASL_PASSWORD": ""},
            [
                "SECURITY_PROTOCOL='TLS': expected PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL",
                "SASL_PASSWORD: expected a line of text",
            ],
        ),
        (
            SCRAM | {"SASL_MECHANISM": "GSSAPI"},
            ["SASL_MECHANISM='GSSAPI': expected PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEAR"],
        ),
        (
            {"SECURITY_PROTOCOL": "SSL", "SSL_CA_FILE": "/no/such.pem"},
            ["SSL_CA_FILE='/no/such.pem': expected a file that can be read"],
        ),
        (
            {"SECURITY_PROTOCOL": "SSL", "SSL_CA_FILE": "/"},
            ["SSL_CA_FILE='/': expected a file that can be read"],
        ),
        (
            OAUTH | ENDPOINT | {"OAUTH_TOKEN_URL": "http://issuer.example/token"},
            ["OAUTH_TOKEN_URL='http://issuer.example/token': expected https://…"],
        ),
        (
            OAUTH | ENDPOINT | {"OAUTH_EXTENSIONS": "logicalCluster"},
            ["OAUTH_EXTENSIONS='logicalCluster': expected name=value, several separated by"],
        ),
    ],
)
def test_every_problem_is_in_one_message(
    given: dict[str, str], problems: list[str], file: str
) -> None:
    given = {name: file if value == "FILE" else value for name, value in given.items()}
    found = refusal(given).removeprefix("settings: ").split("; ")
    assert len(found) == len(problems), found
    for problem in problems:
        assert any(each.startswith(f"TRIAGE_KAFKA_{problem}") for each in found), found
    assert PASSWORD not in str(found)


@pytest.mark.parametrize("value", ["", f"{PASSWORD}\n", f"{PASSWORD}\r\n", f"{PASSWORD}\0x"])
@pytest.mark.parametrize("name", sorted(SECRETS))
def test_a_bad_secret_is_named_and_not_shown(name: str, value: str) -> None:
    variable = f"TRIAGE_{name.upper()}"
    with pytest.raises(UsageError, match=f"{variable}: expected {EXPECTED[name]}") as caught:
        read_settings({variable: value})
    assert PASSWORD not in str(caught.value)


def test_a_bad_secret_of_the_file_is_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text('kafka_sasl_password = 12345\n[kafka]\nsasl_password = "67890"\n')
    with pytest.raises(UsageError) as caught:
        read_settings({FILE_VARIABLE: str(path)})
    assert f"{path}: kafka_sasl_password: expected a line of text" in str(caught.value)
    assert f"{path}: kafka is not a setting" in str(caught.value)
    assert "12345" not in str(caught.value)
    assert "67890" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_every_secret_can_come_from_a_file(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("two\nlines")
    variable = f"TRIAGE_{name.upper()}_FILE"
    with pytest.raises(UsageError, match=f"{variable}: expected {EXPECTED[name]}"):
        read_settings({variable: str(tmp_path / "secret")})


def test_password_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    given = {name: value for name, value in SCRAM.items() if name != "SASL_PASSWORD"}
    settings = read(given | {"SASL_PASSWORD_FILE": str(tmp_path / "password")})
    assert settings.kafka_sasl_password == Secret(PASSWORD)


def test_secrets_are_all_the_settings_that_sound_like_it() -> None:
    names = {field.name for field in msgspec.structs.fields(Settings)}
    named = {name for name in names if name.endswith(("_password", "_secret", "_token"))}
    assert named | {"webhook_url"} == SECRETS


def test_nothing_shows_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    settings = read(SCRAM)
    secret = settings.kafka_sasl_password
    assert secret is not None
    assert secret.reveal() == PASSWORD
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("any").debug("%s %r", settings, secret)
    shown = [
        repr(settings),
        str(secret),
        f"{secret}",
        f"{secret!r:>9}",
        str(msgspec.structs.asdict(settings)),
        str(msgspec.structs.astuple(settings)),
        str(copy.copy(settings)),
        caplog.text,
    ]
    assert all("***" in text and PASSWORD not in text for text in shown)
    with pytest.raises(TypeError):
        msgspec.json.encode(settings)


def test_secrets_are_equal_by_their_text() -> None:
    assert Secret("a") == Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2

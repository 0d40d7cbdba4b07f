"""Security: what the settings mean to kafka-python, and what a broker's refusal means to the user.

kafka-python tries again and again when a broker refuses its certificate or password, and in the end
says no more than that there is no broker. So each new client is preceded by one connection that
asks the broker a first question, and whose failure is told.
"""

import ssl
import time
from typing import Any

import msgspec
from kafka.errors import (
    IllegalSaslStateError,
    IncompatibleBrokerVersion,
    KafkaError,
    KafkaProtocolError,
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
)
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector

from shared.errors import DependencyError, UnavailableError, UsageError
from worker.kafka.tokens import token_provider
from worker.settings import Settings

_PATIENCE = 10.0
"""Seconds that a broker has to come up."""
_ANSWER_MS = 5000
"""For connecting and authenticating, and once more for the answer to the first question."""
_SHORTEST_PAUSE = 0.25
_HANG_UPS = 3
"""A broker that goes down hangs up once. One that wants another protocol does so each time, and so
does one that refuses a password: kafka-python drops an answer that comes along with the hanging up.
"""


_SASL_REFUSALS = (SaslAuthenticationFailedError, UnsupportedSaslMechanismError)
_OTHER_LANGUAGES = (IllegalSaslStateError, IncompatibleBrokerVersion)


class _Failure(msgspec.Struct, frozen=True):
    """Why a broker gave no answer.

    Attributes:
        greeted: whether it had said which versions it speaks, which it tells anybody.
    """

    error: Exception
    greeted: bool


def security_options(settings: Settings) -> dict[str, Any]:
    """What every client of kafka-python is told about TLS and SASL.

    Files are given by name: kafka-python reads them for every connection, and so takes up
    certificates that were renewed.

    Raises:
        UsageError: naming the file that TLS cannot take.
    """
    options: dict[str, Any] = {"security_protocol": settings.kafka_security_protocol}
    if settings.kafka_security_protocol.endswith("SSL"):
        password = settings.kafka_ssl_key_password
        options |= {
            "ssl_cafile": settings.kafka_ssl_ca_file,
            "ssl_certfile": settings.kafka_ssl_certificate_file,
            "ssl_keyfile": settings.kafka_ssl_key_file,
            "ssl_password": password and password.reveal(),
        }
        _check_files(settings)
    if settings.kafka_security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = settings.kafka_sasl_mechanism
        if settings.kafka_sasl_mechanism == "OAUTHBEARER":
            options["sasl_oauth_token_provider"] = token_provider(settings)
        elif settings.kafka_sasl_password is not None:
            options["sasl_plain_username"] = settings.kafka_sasl_username
            options["sasl_plain_password"] = settings.kafka_sasl_password.reveal()
    return options


def _check_files(settings: Settings) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if settings.kafka_ssl_ca_file is not None:
        try:
            context.load_verify_locations(settings.kafka_ssl_ca_file)
        except OSError as error:
            raise UsageError(
                f"TRIAGE_KAFKA_SSL_CA_FILE={settings.kafka_ssl_ca_file!r}: "
                f"expected certificates in PEM: {error}"
            ) from error
    if settings.kafka_ssl_certificate_file is not None:
        password = settings.kafka_ssl_key_password
        try:
            context.load_cert_chain(
                settings.kafka_ssl_certificate_file,
                settings.kafka_ssl_key_file,
                password.reveal() if password else "",  # without one, OpenSSL would ask a terminal
            )
        except OSError as error:
            raise UsageError(
                f"TRIAGE_KAFKA_SSL_CERTIFICATE_FILE={settings.kafka_ssl_certificate_file!r}, "
                f"TRIAGE_KAFKA_SSL_KEY_FILE={settings.kafka_ssl_key_file!r}: expected a "
                "certificate and its key in PEM, and TRIAGE_KAFKA_SSL_KEY_PASSWORD if the key is "
                f"encrypted: {error}"
            ) from error


def check_connection(settings: Settings, security: dict[str, Any]) -> None:
    """Asks the brokers for their metadata, until one answers.

    Args:
        security: as `security_options` gives it.

    Raises:
        DependencyError: if a broker refuses us; the message names the setting that it speaks of.
        UnavailableError: if none answers.
    """
    where = f"Kafka at {settings.kafka_bootstrap_servers}"
    deadline = time.monotonic() + _PATIENCE
    pause = _SHORTEST_PAUSE
    hang_ups = 0
    while (failure := _ask(settings, security)) is not None:
        hang_ups += _hung_up(failure.error)
        if refusal := _refusal(failure, settings, last=hang_ups == _HANG_UPS):
            raise DependencyError(f"{where} {refusal}") from failure.error
        if time.monotonic() + pause > deadline:
            raise UnavailableError(
                f"{where} cannot be used: {failure.error}; "
                "expected TRIAGE_KAFKA_BOOTSTRAP_SERVERS to name a broker that runs"
            ) from failure.error
        time.sleep(pause)
        pause *= 2


def _ask(settings: Settings, security: dict[str, Any]) -> _Failure | None:
    """Asks one broker after the other, until one answers or refuses.

    Returns:
        None, or the failure of the last broker asked.
    """
    net = NetworkSelector()
    manager = KafkaConnectionManager(
        net, bootstrap_servers=settings.kafka_bootstrap_servers.split(","), **security
    )

    async def ask(node: str, connection: Any) -> None:
        # TLS handshakes have no time limit of their own.
        await manager.wait_for(connection.init_future, _ANSWER_MS)
        answer = manager.call_soon(manager.cluster.refresh_metadata, node)
        await manager.wait_for(answer, _ANSWER_MS)

    failure = None
    try:
        for broker in manager.cluster.bootstrap_brokers():
            connection = manager.get_connection(
                broker.node_id, timeout_ms=_ANSWER_MS, pop_on_close=False
            )
            try:
                net.run(ask, broker.node_id, connection)
                return None
            except (KafkaError, OSError, ValueError) as error:
                failure = _Failure(error, connection.broker_version_data is not None)
                if _refusal(failure, settings):
                    break
        return failure
    finally:
        manager.close()
        net.close()


def _refusal(failure: _Failure, settings: Settings, *, last: bool = False) -> str | None:
    """What a refusal says, and which settings it is about; None for any other failure.

    Args:
        last: take it for a refusal if the broker hung up.
    """
    error = failure.error
    tls = _beneath(error)
    if isinstance(tls, ssl.SSLCertVerificationError):
        return (
            f"shows a certificate that is not trusted: {tls.verify_message}; "
            "expected TRIAGE_KAFKA_SSL_CA_FILE to hold the authority that signed it, and "
            "TRIAGE_KAFKA_BOOTSTRAP_SERVERS the name that it was made out to"
        )
    if isinstance(tls, ssl.SSLError) and "ALERT" in str(tls.reason):
        return (
            f"refuses our certificate: {tls.reason}; expected TRIAGE_KAFKA_SSL_CERTIFICATE_FILE "
            "and TRIAGE_KAFKA_SSL_KEY_FILE to hold one that it trusts"
        )
    sasl = settings.kafka_security_protocol.startswith("SASL")
    if isinstance(error, _SASL_REFUSALS) or (last and failure.greeted and sasl):
        said = "it hangs up" if last else error
        return (
            f"refuses us: {said}; expected {_credentials(settings)} to be right, and "
            f"TRIAGE_KAFKA_SASL_MECHANISM={settings.kafka_sasl_mechanism} to be allowed there"
        )
    if isinstance(error, _OTHER_LANGUAGES) or last:
        return (
            f"does not answer as expected: {error}; expected TRIAGE_KAFKA_SECURITY_PROTOCOL="
            f"{settings.kafka_security_protocol} to be what it speaks there"
        )
    return None


def _hung_up(error: Exception) -> bool:
    return (
        isinstance(error, KafkaProtocolError)
        or isinstance(_beneath(error), (ssl.SSLError, ConnectionError))
        or "disconnected" in str(error)
    )


def _beneath(error: Exception) -> object:
    """The system's or OpenSSL's error that kafka-python wrapped."""
    return error.args[0] if error.args and isinstance(error.args[0], OSError) else error.__context__


def _credentials(settings: Settings) -> str:
    if settings.kafka_sasl_mechanism != "OAUTHBEARER":
        return "TRIAGE_KAFKA_SASL_USERNAME and TRIAGE_KAFKA_SASL_PASSWORD"
    if settings.kafka_oauth_token_file is not None:
        return f"the token in TRIAGE_KAFKA_OAUTH_TOKEN_FILE={settings.kafka_oauth_token_file}"
    return (
        f"the token of TRIAGE_KAFKA_OAUTH_TOKEN_URL={settings.kafka_oauth_token_url} "
        "(TRIAGE_KAFKA_OAUTH_SCOPE, TRIAGE_KAFKA_OAUTH_EXTENSIONS)"
    )

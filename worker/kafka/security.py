"""Security: the options for TLS and SASL, and the meaning of a broker's refusal.

If a broker refuses a certificate or a password, kafka-python logs the reason, retries, and finally
raises that there is no broker. So `connect` reads that log, and raises an error that names the
wrong setting.
"""

import contextlib
import logging
import ssl
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kafka.errors import (
    IllegalSaslStateError,
    IncompatibleBrokerVersion,
    KafkaConnectionError,
    KafkaError,
    KafkaProtocolError,
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
)
from kafka.net.compat import KafkaNetClient

from shared.errors import DependencyError, UnavailableError, UsageError
from worker.kafka.tokens import token_provider
from worker.settings import Settings

_ATTEMPTS = (0.5, 1.0, 2.0, 3.0, 4.0)
"""Seconds that kafka-python has to connect before its log is read."""
_HANG_UPS = 3
"""Attempts with closed connections before these count as a refusal. Brokers that stop close theirs
once. One that expects another protocol or refuses a password does so each time: kafka-python drops
an answer that arrives just before the end of a connection."""

_SASL_REFUSALS = (SaslAuthenticationFailedError, UnsupportedSaslMechanismError)
_OTHER_PROTOCOLS = (IllegalSaslStateError, IncompatibleBrokerVersion)

_kafka_log = logging.getLogger("kafka")
_kafka_log.setLevel(logging.WARNING)
_kafka_log.propagate = False  # the important errors are raised, and we log them
_kafka_log.addHandler(logging.NullHandler())  # otherwise Python would print it


class _Errors(logging.Handler):
    """Keeps the errors that kafka-python logs, of one thread or of all."""

    def __init__(self, thread: int | None) -> None:
        super().__init__(logging.WARNING)
        self.errors: list[Exception] = []
        self._thread = thread

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the errors among the arguments of a log record."""
        if self._thread in (None, record.thread) and isinstance(record.args, tuple):
            self.errors += [
                each
                for each in record.args
                if isinstance(each, Exception) and not any(each is kept for kept in self.errors)
            ]


@contextlib.contextmanager
def _logged_errors(thread: int | None = None) -> Iterator[list[Exception]]:
    """Yield the list of the errors that kafka-python logs meanwhile, in this thread or in any.

    A client that is connected uses a thread of its own.
    """
    handler = _Errors(thread)
    _kafka_log.addHandler(handler)
    try:
        yield handler.errors
    finally:
        _kafka_log.removeHandler(handler)


def security_options(settings: Settings) -> dict[str, Any]:
    """Return kafka-python's options for TLS and SASL.

    Files are passed by name: kafka-python reads them for each connection, so it uses renewed
    certificates.

    Raises:
        UsageError: naming the file that TLS cannot use.
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
                password.reveal() if password else "",  # OpenSSL asks the terminal otherwise
            )
        except OSError as error:
            raise UsageError(
                f"TRIAGE_KAFKA_SSL_CERTIFICATE_FILE={settings.kafka_ssl_certificate_file!r}, "
                f"TRIAGE_KAFKA_SSL_KEY_FILE={settings.kafka_ssl_key_file!r}: expected a "
                "certificate and its key in PEM, and TRIAGE_KAFKA_SSL_KEY_PASSWORD if the key is "
                f"encrypted: {error}"
            ) from error


def connect(settings: Settings, options: Mapping[str, Any]) -> Any:
    """Create the connecting part of a kafka-python client, and wait until a broker answers.

    Args:
        options: of the client, which passes them to its `kafka_client`.

    Raises:
        DependencyError: if a broker refuses us; the message names the wrong setting.
        UnavailableError: if none answers within 10 s.
    """
    server = f"Kafka at {settings.kafka_bootstrap_servers}"
    client = KafkaNetClient(**options)
    try:
        with _logged_errors(threading.get_ident()) as errors:
            hang_ups = 0
            for seconds in _ATTEMPTS:
                before = len(errors)
                try:
                    client.check_version(timeout_ms=seconds * 1000)
                    _reach_a_broker(client)
                    return client
                except (KafkaError, OSError, ValueError) as error:
                    if not errors or isinstance(error, _SASL_REFUSALS + _OTHER_PROTOCOLS):
                        errors.append(error)
                hang_ups += any(map(_hung_up, errors[before:]))
                refusal = _first_refusal(errors, settings, hung_up=hang_ups == _HANG_UPS)
                if refusal is not None:
                    message, cause = refusal
                    raise DependencyError(f"{server} {message}") from cause
                if client.cluster.brokers():
                    break
        if brokers := client.cluster.brokers():
            named = ", ".join(f"{broker.host}:{broker.port}" for broker in brokers)
            raise UnavailableError(
                f"{server} answers, but the address that it gives for its brokers cannot be "
                f"reached: {named}: {errors[-1]}; expected advertised.listeners of each broker to "
                "be an address that this machine can reach"
            ) from errors[-1]
        raise UnavailableError(
            f"{server} cannot be used: {errors[-1]}; "
            "expected TRIAGE_KAFKA_BOOTSTRAP_SERVERS to name a broker that runs"
        ) from errors[-1]
    except BaseException:
        client.close()
        raise


def _reach_a_broker(client: Any) -> None:
    """Connect to one of the brokers by the address that it advertises.

    Raises:
        KafkaError: if none can be reached.
    """
    brokers = client.cluster.brokers()
    for number, broker in enumerate(brokers, start=1):
        try:
            client.check_version(broker.node_id, timeout_ms=sum(_ATTEMPTS) * 1000 / len(brokers))
            return
        except KafkaError:
            if number == len(brokers):
                raise


def _first_refusal(
    errors: list[Exception], settings: Settings, *, hung_up: bool
) -> tuple[str, Exception] | None:
    """Return the message and the error of the first refusal.

    Args:
        hung_up: whether to treat a closed connection as a refusal.
    """
    for error in errors:
        if isinstance(error, DependencyError) and not isinstance(error, UnavailableError):
            raise error  # there is no token
        if message := _refusal(error, settings, last=hung_up and _hung_up(error)):
            return message, error
    return None


@contextlib.contextmanager
def explained(settings: Settings) -> Iterator[None]:
    """Add to an `UnavailableError` why connections failed, which kafka-python only logs."""
    with _logged_errors() as errors:
        try:
            yield
        except UnavailableError as error:
            if (reason := _reason(errors, settings)) is None:
                raise
            raise UnavailableError(f"{error}; {reason}") from error


def _reason(errors: Iterable[Exception], settings: Settings) -> str | None:
    """Return the meaning of the first refusal, or the last failure to connect."""
    reason = None
    for error in errors:
        if message := _refusal(error, settings, last=False):
            return f"Kafka at {settings.kafka_bootstrap_servers} {message}"
        if isinstance(error, KafkaConnectionError):
            reason = str(error)
    return reason


def _refusal(error: Exception, settings: Settings, *, last: bool) -> str | None:
    """Return the meaning of a refusal and the settings to correct; None for another failure.

    Args:
        last: whether to treat a closed connection as a refusal.
    """
    tls = _cause(error)
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
    protocol = f"TRIAGE_KAFKA_SECURITY_PROTOCOL={settings.kafka_security_protocol}"
    sasl = settings.kafka_security_protocol.startswith("SASL")
    if isinstance(error, _SASL_REFUSALS) or (last and sasl):
        reason = f"it hangs up; expected {protocol} to be what it speaks there," if last else error
        expected = "" if last else "; expected"
        return (
            f"refuses us: {reason}{expected} {_credentials(settings)} to be right, and "
            f"TRIAGE_KAFKA_SASL_MECHANISM={settings.kafka_sasl_mechanism} to be allowed there"
        )
    if isinstance(error, _OTHER_PROTOCOLS) or last:
        return f"does not answer as expected: {error}; expected {protocol} to be what it speaks"
    return None


def _hung_up(error: Exception) -> bool:
    return (
        isinstance(error, KafkaProtocolError)
        or isinstance(_cause(error), (ssl.SSLError, ConnectionError))
        or "disconnected" in str(error)
    )


def _cause(error: Exception) -> object:
    """Return the system's or OpenSSL's error that kafka-python wrapped."""
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

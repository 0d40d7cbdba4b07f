"""A Kafka that demands certificates, passwords, tokens and rights, for tests."""

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourceType,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from shared.errors import DependencyError
from tests.conftest import SUSPENDED
from tests.missing import skip_or_fail
from worker.demo.local_kafka import LocalKafka, hold_port

USER = "triage"
PASSWORD = "scram-s3cret"
KEY_PASSWORD = "key-s3cret"
REAUTHENTICATE_MS = 6000

_PROTOCOLS = {
    "TLS": "SSL",
    "MUTUAL": "SSL",
    "EXPIRED": "SSL",
    "SCRAM": "SASL_SSL",
    "PLAIN": "SASL_SSL",
    "OAUTH": "SASL_SSL",
    "CLEAR": "SASL_PLAINTEXT",
}
_SECURITY = "org.apache.kafka.common.security"
_UNSECURED = f"{_SECURITY}.oauthbearer.internals.unsecured"
_PROPERTIES = f"""
ssl.keystore.type=PEM
ssl.keystore.location={{certificates}}/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location={{certificates}}/authority.pem
ssl.principal.mapping.rules=RULE:^.*CN=([^,]+).*$/$1/
listener.name.mutual.ssl.client.auth=required
listener.name.expired.ssl.keystore.location={{certificates}}/expired.pem
listener.name.scram.sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512
listener.name.scram.scram-sha-256.sasl.jaas.config={_SECURITY}.scram.ScramLoginModule required;
listener.name.scram.scram-sha-512.sasl.jaas.config={_SECURITY}.scram.ScramLoginModule required;
listener.name.clear.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.clear.scram-sha-512.sasl.jaas.config={_SECURITY}.scram.ScramLoginModule required;
listener.name.clear.scram-sha-512.connections.max.reauth.ms={REAUTHENTICATE_MS}
listener.name.plain.sasl.enabled.mechanisms=PLAIN
listener.name.plain.plain.sasl.jaas.config={_SECURITY}.plain.PlainLoginModule required \
user_{USER}="{PASSWORD}";
listener.name.oauth.sasl.enabled.mechanisms=OAUTHBEARER
listener.name.oauth.oauthbearer.connections.max.reauth.ms={REAUTHENTICATE_MS}
listener.name.oauth.oauthbearer.sasl.jaas.config=\
{_SECURITY}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";
listener.name.oauth.oauthbearer.sasl.server.callback.handler.class=\
{_UNSECURED}.OAuthBearerUnsecuredValidatorCallbackHandler
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
"""
"""Whoever comes without a name, as tests and the broker itself do, may do everything."""


class SecuredKafka:
    """A broker with a listener for each way in.

    Args:
        certificates: a folder for them.
        ports: of those listeners.

    Attributes:
        kafka: the broker, whose first listener demands nothing.
        servers: the addresses of the other listeners.
        certificates: a folder of PEM files.
    """

    def __init__(self, certificates: Path, ports: Sequence[int]) -> None:
        _write_certificates(certificates)
        self.certificates = certificates
        named = zip(_PROTOCOLS, ports, strict=True)
        self.servers = {name: f"127.0.0.1:{port}" for name, port in named}
        ours = ",".join(f"{name}://{server}" for name, server in self.servers.items())
        protocols = ",".join(f"{name}:{protocol}" for name, protocol in _PROTOCOLS.items())
        listeners = f"""
listeners=PLAINTEXT://127.0.0.1:{{port}},CONTROLLER://127.0.0.1:{{controller}},{ours}
advertised.listeners=PLAINTEXT://127.0.0.1:{{port}},{ours}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,{protocols}
"""
        self.kafka = LocalKafka(
            properties=listeners + _PROPERTIES.format(certificates=certificates) + SUSPENDED
        )

    def environment(self, listener: str) -> dict[str, str]:
        """Return the settings of a listener, without certificates, tokens and passwords."""
        protocol = _PROTOCOLS[listener]
        given = {"BOOTSTRAP_SERVERS": self.servers[listener], "SECURITY_PROTOCOL": protocol}
        if protocol.endswith("SSL"):
            given["SSL_CA_FILE"] = str(self.certificates / "authority.pem")
        return {f"TRIAGE_KAFKA_{name}": value for name, value in given.items()}

    def add_user(self, name: str, password: str = PASSWORD) -> None:
        """Create a SCRAM user with a password."""
        mechanisms = (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512)
        with closing(self._admin()) as admin:
            for mechanism in mechanisms:
                credential = UserScramCredentialUpsertion(name, mechanism, password)
                assert admin.alter_user_scram_credentials([credential]) == {name: None}

    def allow(self, user: str, *rights: tuple[str, str, str]) -> None:
        """Grant rights: operation, type of resource, and its name, which may end in `*`."""
        acls = []
        for operation, kind, name in rights:
            pattern = ACLResourcePatternType.LITERAL
            if name.endswith("*"):
                pattern, name = ACLResourcePatternType.PREFIXED, name[:-1]
            resource = ResourcePattern(ResourceType[kind], name, pattern)
            permission = ACLPermissionType.ALLOW
            acls.append(ACL(f"User:{user}", "*", ACLOperation[operation], permission, resource))
        with closing(self._admin()) as admin:
            assert admin.create_acls(acls)["failed"] == []

    def _admin(self) -> KafkaAdminClient:
        return KafkaAdminClient(bootstrap_servers=self.kafka.bootstrap_servers)


@contextmanager
def secured_kafka(certificates: Path) -> Iterator[SecuredKafka]:
    """Yield a broker with TLS and SASL. If it cannot start, skip the test, or fail it in CI."""
    with ExitStack() as stack:
        held = [stack.enter_context(hold_port()) for _ in _PROTOCOLS]
        try:
            secured = SecuredKafka(certificates, [each.getsockname()[1] for each in held])
            secured.kafka.start()
        except DependencyError as error:
            skip_or_fail(str(error))
        stack.callback(secured.kafka.stop)
        yield secured


class Forwarder:
    """Passes connections on to a server, and counts them.

    Attributes:
        address: where to connect to instead of the server.
        connections: so many there have been.
    """

    def __init__(self, server: str) -> None:
        host, port = server.split(":")
        self._server = (host, int(port))
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.connections = 0

    def run(self) -> None:
        with suppress(OSError):  # it was closed
            while True:
                here, _ = self._socket.accept()
                self.connections += 1
                threading.Thread(target=self._forward, args=[here], daemon=True).start()

    def _forward(self, here: socket.socket) -> None:
        with here, socket.create_connection(self._server) as there:
            back = threading.Thread(target=_pass_on, args=[there, here], daemon=True)
            back.start()
            _pass_on(here, there)
            back.join()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@contextmanager
def forwarding(server: str) -> Iterator[Forwarder]:
    """Forward connections until the end of the `with`."""
    forwarder = Forwarder(server)
    thread = threading.Thread(target=forwarder.run)
    thread.start()
    try:
        yield forwarder
    finally:
        forwarder.close()
        thread.join()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    for end in (source, target):  # the other direction ends too
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def _write_certificates(folder: Path) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    stranger.cert_pem.write_to_path(str(folder / "stranger.pem"))
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    nothing = NoEncryption()
    host = "127.0.0.1"  # and not localhost, so that there is a wrong name to connect to
    _write(folder / "broker.pem", authority.issue_cert(host), nothing)
    _write(folder / "expired.pem", authority.issue_cert(host, not_after=long_ago), nothing)
    client = authority.issue_cert("desk@example.org", common_name=USER)
    _write(folder / "client.pem", client, nothing)
    _write(folder / "encrypted.pem", client, BestAvailableEncryption(KEY_PASSWORD.encode()))
    client.cert_chain_pems[0].write_to_path(str(folder / "client-certificate.pem"))
    client.private_key_pem.write_to_path(str(folder / "client-key.pem"))
    foreign = stranger.issue_cert("desk@example.org", common_name=USER)
    _write(folder / "foreign.pem", foreign, nothing)
    outdated = authority.issue_cert("desk@example.org", common_name=USER, not_after=long_ago)
    _write(folder / "outdated.pem", outdated, nothing)


def _write(path: Path, leaf: trustme.LeafCert, encryption: KeySerializationEncryption) -> None:
    """Write key and certificates to one file; the key as PKCS #8, which Java reads."""
    key = load_pem_private_key(leaf.private_key_pem.bytes(), None)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    path.write_bytes(pem + b"".join(part.bytes() for part in leaf.cert_chain_pems))

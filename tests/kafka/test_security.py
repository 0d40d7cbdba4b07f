"""A worker reaches a Kafka that demands security, and says in one line what a refusal is about."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest

from shared.errors import DependencyError, UnavailableError
from shared.registry.folder import FolderRegistry
from tests.conftest import Trained
from tests.kafka.feed import drain, sink_of
from tests.kafka.processes import (
    Worker,
    broker_process,
    environment_of,
    read_all,
    running,
    settings_of,
    wait_for,
)
from tests.kafka.secured_kafka import (
    KEY_PASSWORD,
    PASSWORD,
    REAUTHENTICATE_MS,
    USER,
    SecuredKafka,
    forwarding,
    secured_kafka,
)
from tests.kafka.token_endpoint import TokenServer, token_server, unsecured_token
from worker.kafka.publisher import Publisher
from worker.kafka.records import Message, Record
from worker.kafka.source import KafkaSource
from worker.kafka.topics import check_topics
from worker.settings import Settings, read_settings

CLIENT_SECRET = "client-s3cret"
SECRETS = (PASSWORD, KEY_PASSWORD, CLIENT_SECRET, "wr0ng")
BURNING = b"Forest fire near La Ronge, two villages evacuated"
SCRAM = {
    "TRIAGE_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
    "TRIAGE_KAFKA_SASL_USERNAME": USER,
    "TRIAGE_KAFKA_SASL_PASSWORD": PASSWORD,
}
OAUTH = {"TRIAGE_KAFKA_SASL_MECHANISM": "OAUTHBEARER"}


def rights(settings: Settings) -> list[tuple[str, str, str]]:
    """Return the access rights that deploy/README.md lists for a worker."""
    return [
        ("READ", "TOPIC", settings.input_topic),
        ("WRITE", "TOPIC", settings.alerts_topic),
        ("WRITE", "TOPIC", settings.dead_letters_topic),
        ("READ", "GROUP", settings.group_id),
        ("WRITE", "TRANSACTIONAL_ID", f"{settings.group_id}-*"),
    ]


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    with secured_kafka(tmp_path_factory.mktemp("certificates")) as secured:
        secured.add_user(USER)
        yield secured


@pytest.fixture(scope="module")
def settings(secured: SecuredKafka) -> Settings:
    """Return settings whose topics the user may use as a worker must."""
    settings = settings_of(secured.kafka, "secured")
    secured.allow(USER, *rights(settings))
    return settings


@pytest.fixture(scope="module")
def issuer() -> Iterator[TokenServer]:
    with token_server(USER, CLIENT_SECRET) as server:
        yield server


def publish(settings: Settings, count: int) -> None:
    with closing(Publisher(settings)) as publisher:
        publisher.publish(Message(settings.input_topic, None, BURNING, []) for _ in range(count))


def secured_settings(settings: Settings, environment: dict[str, str]) -> Settings:
    """Return the settings with the connection to Kafka that the environment describes."""
    way = read_settings(
        {name: value for name, value in environment.items() if name.startswith("TRIAGE_KAFKA_")}
    )
    changes = {
        name: value
        for name, value in msgspec.structs.asdict(way).items()
        if name.startswith("kafka_")
    }
    return msgspec.structs.replace(settings, **changes)


def alert_of(settings: Settings, record: Record) -> Message:
    return Message(settings.alerts_topic, record.key, record.value, [])


def oauth_endpoint(issuer: TokenServer) -> dict[str, str]:
    return OAUTH | {
        "TRIAGE_KAFKA_OAUTH_TOKEN_URL": issuer.url,
        "TRIAGE_KAFKA_OAUTH_CLIENT_ID": USER,
        "TRIAGE_KAFKA_OAUTH_CLIENT_SECRET": CLIENT_SECRET,
    }


@pytest.mark.parametrize(
    ("listener", "change"),
    [
        (
            "MUTUAL",
            {"SSL_CERTIFICATE_FILE": "client-certificate.pem", "SSL_KEY_FILE": "client-key.pem"},
        ),
        ("MUTUAL", {"SSL_CERTIFICATE_FILE": "encrypted.pem", "SSL_KEY_PASSWORD": KEY_PASSWORD}),
        ("SCRAM", {"SASL_MECHANISM": "SCRAM-SHA-512"}),
        ("SCRAM", {"SASL_MECHANISM": "SCRAM-SHA-256"}),
        ("CLEAR", {"SASL_MECHANISM": "SCRAM-SHA-512"}),
        ("PLAIN", {"SASL_MECHANISM": "PLAIN"}),
    ],
)
def test_records_go_in_and_messages_out_through(
    secured: SecuredKafka, settings: Settings, listener: str, change: dict[str, str]
) -> None:
    environment = secured.environment(listener)
    for name, value in change.items():
        value = str(secured.certificates / value) if name.endswith("_FILE") else value
        environment[f"TRIAGE_KAFKA_{name}"] = value
    if "SASL_MECHANISM" in change:
        environment["TRIAGE_KAFKA_SASL_USERNAME"] = USER
        environment["TRIAGE_KAFKA_SASL_PASSWORD"] = PASSWORD
    before = len(read_all(settings, settings.alerts_topic))
    through = secured_settings(settings, environment)
    check_topics(through)
    with closing(KafkaSource(through)) as source, closing(sink_of(through, source)) as sink:
        publish(settings, 20)
        left = 20
        while left:
            batch = drain(source)
            sink.deliver(batch, [alert_of(settings, record) for record in batch.records])
            left -= len(batch.records)
    assert len(read_all(settings, settings.alerts_topic)) == before + 20


@pytest.mark.slow
def test_tokens_of_an_endpoint_are_renewed(
    secured: SecuredKafka,
    settings: Settings,
    trained: Trained,
    issuer: TokenServer,
    tmp_path: Path,
) -> None:
    issuer.life = 2
    environment = environment_of(settings, trained) | secured.environment("OAUTH")
    with running(environment | oauth_endpoint(issuer), tmp_path / "log") as worker:
        publish(settings, 20)
        wait_for(lambda: worker.consumed() == 20)
        asked = len(issuer.forms)
        # The broker ends connections that have not shown a new token by then.
        time.sleep(2 * REAUTHENTICATE_MS / 1000)
        publish(settings, 20)
        wait_for(lambda: worker.consumed() == 40)
        assert worker.stop() == 0
    assert len(issuer.forms) > asked > 0
    assert "trying again" not in worker.log()
    assert CLIENT_SECRET not in worker.log()


@pytest.mark.slow
def test_neither_tweets_nor_secrets_are_logged(
    secured: SecuredKafka, trained: Trained, tmp_path: Path
) -> None:
    """Through dead letters of each kind, a bisected batch, a promotion, and a broker that hangs."""
    settings = settings_of(secured.kafka, "discreet")
    secured.allow(USER, *rights(settings))
    registry = FolderRegistry(tmp_path / "registry")
    for name in ("LSTM", "Vanilla-Feedforward-NN"):
        registry.register(trained.bundles / name)
    registry.promote("1")
    environment = environment_of(settings) | secured.environment("SCRAM") | SCRAM
    environment |= {
        "TRIAGE_REGISTRY": registry.url,
        "TRIAGE_CACHE": str(tmp_path / "cache"),
        "TRIAGE_RELOAD_SECONDS": "0.2",
        "TRIAGE_DEAD_LETTER_LIMIT": "1",
    }
    values = [
        b"private fire",
        b'{"text": "private flood", "created_at": "private"}',
        b"private \xff",
    ]
    values += [b'{"text": "private', b'{"text": ["private"]}', b'{"private": {"private": 1}}']
    values += [b"private " * 5000, b"private &#" + b"9" * 5000, b'{"text":"private \\ud800",}']
    messages = [
        Message(settings.input_topic, b"private", value, [("private", b"private")])
        for value in values * 3
    ]
    with (
        running(environment, tmp_path / "log") as worker,
        closing(Publisher(settings)) as publisher,
    ):
        publisher.publish(messages)
        wait_for(lambda: worker.consumed() == len(messages))
        registry.promote("2")
        wait_for(lambda: "version 2" in worker.log())
        broker = broker_process(secured.kafka)
        publisher.publish(messages)
        broker.suspend()
        try:
            wait_for(lambda: "trying again" in worker.log() or worker.page("/readyz")[0] == 503)
        finally:
            broker.resume()
        # Not the worker's own count, which lacks a batch whose commit it was not told of.
        wait_for(lambda: len(read_all(settings, settings.dead_letters_topic)) >= 2 * 3 * 7)
        assert "private" not in worker.page("/metrics")[1]
        assert worker.stop() == 0
    dead_letters = read_all(settings, settings.dead_letters_topic)
    assert len(dead_letters) == 2 * 3 * 7
    reasons = {headers["triage-reason"] for _, headers in dead_letters}
    assert reasons > {b"unprocessable", b"invalid_json", b"not_utf8", b"wrong_type", b"no_text"}
    log = worker.log()
    assert "private" not in log
    assert not any(secret in log for secret in SECRETS)


@contextmanager
def rotated(path: Path, life: float) -> Iterator[None]:
    """Keep a token of this life in a file, and renew it each second."""
    stop = threading.Event()

    def rotate() -> None:
        while True:
            (path.parent / "new").write_text(unsecured_token(USER, life))
            (path.parent / "new").replace(path)
            if stop.wait(1):
                return

    thread = threading.Thread(target=rotate)
    thread.start()
    wait_for(path.exists)
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.slow
def test_a_rotated_token_file_is_taken(
    secured: SecuredKafka, settings: Settings, trained: Trained, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    environment = environment_of(settings, trained) | secured.environment("OAUTH") | OAUTH
    environment["TRIAGE_KAFKA_OAUTH_TOKEN_FILE"] = str(file)
    with rotated(file, life=8), running(environment, tmp_path / "log") as worker:
        publish(settings, 20)
        wait_for(lambda: worker.consumed() == 20)
        time.sleep(10)
        publish(settings, 20)
        wait_for(lambda: worker.consumed() == 40)
        assert worker.stop() == 0
    assert "trying again" not in worker.log()
    assert file.read_text() not in worker.log()


@pytest.mark.parametrize(
    ("listener", "change", "named"),
    [
        ("SCRAM", SCRAM | {"TRIAGE_KAFKA_SASL_PASSWORD": "wr0ng"}, "TRIAGE_KAFKA_SASL_PASSWORD"),
        pytest.param(
            "SCRAM",
            SCRAM | {"TRIAGE_KAFKA_SASL_USERNAME": "who"},
            "TRIAGE_KAFKA_SASL_USERNAME",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "SCRAM",
            SCRAM | {"TRIAGE_KAFKA_SASL_MECHANISM": "PLAIN"},
            "TRIAGE_KAFKA_SASL_MECHANISM",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "PLAIN",
            SCRAM
            | {
                "TRIAGE_KAFKA_SASL_MECHANISM": "PLAIN",
                "TRIAGE_KAFKA_SASL_PASSWORD": "wr0ng",
            },
            "TRIAGE_KAFKA_SASL_PASSWORD",
            marks=pytest.mark.slow,
        ),
        ("TLS", {"TRIAGE_KAFKA_SSL_CA_FILE": "stranger.pem"}, "TRIAGE_KAFKA_SSL_CA_FILE"),
        ("EXPIRED", {}, "certificate has expired"),
        ("MUTUAL", {}, "TRIAGE_KAFKA_SSL_CERTIFICATE_FILE"),
        (
            "MUTUAL",
            {"TRIAGE_KAFKA_SSL_CERTIFICATE_FILE": "foreign.pem"},
            "TRIAGE_KAFKA_SSL_CERTIFICATE_FILE",
        ),
        (
            "MUTUAL",
            {"TRIAGE_KAFKA_SSL_CERTIFICATE_FILE": "outdated.pem"},
            "TRIAGE_KAFKA_SSL_CERTIFICATE_FILE",
        ),
        ("TLS", {"TRIAGE_KAFKA_SECURITY_PROTOCOL": "PLAINTEXT"}, "TRIAGE_KAFKA_SECURITY_PROTOCOL"),
        pytest.param(
            "CLEAR",
            SCRAM | {"TRIAGE_KAFKA_SECURITY_PROTOCOL": "SASL_SSL"},
            "TRIAGE_KAFKA_SECURITY_PROTOCOL",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "TLS",
            SCRAM | {"TRIAGE_KAFKA_SECURITY_PROTOCOL": "SASL_SSL"},
            "TRIAGE_KAFKA_SECURITY_PROTOCOL",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_refusal_names_the_setting_and_is_not_repeated(
    secured: SecuredKafka, settings: Settings, listener: str, change: dict[str, str], named: str
) -> None:
    environment = secured.environment(listener)
    for name, value in change.items():
        environment[name] = str(secured.certificates / value) if name.endswith("_FILE") else value
    if environment["TRIAGE_KAFKA_SECURITY_PROTOCOL"] == "PLAINTEXT":
        del environment["TRIAGE_KAFKA_SSL_CA_FILE"]
    with forwarding(secured.servers[listener]) as forwarder:
        environment["TRIAGE_KAFKA_BOOTSTRAP_SERVERS"] = forwarder.address
        refused(settings, environment, named)
    assert 1 <= forwarder.connections <= 10  # the client tries a few times, not for ever


def test_a_wrong_name_is_refused(secured: SecuredKafka, settings: Settings) -> None:
    environment = secured.environment("TLS")
    server = environment["TRIAGE_KAFKA_BOOTSTRAP_SERVERS"].replace("127.0.0.1", "localhost")
    environment["TRIAGE_KAFKA_BOOTSTRAP_SERVERS"] = server
    refused(settings, environment, "TRIAGE_KAFKA_BOOTSTRAP_SERVERS the name")


@pytest.mark.slow
def test_an_expired_token_is_refused(
    secured: SecuredKafka, settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(unsecured_token(USER, life=-60))
    environment = secured.environment("OAUTH") | OAUTH
    environment["TRIAGE_KAFKA_OAUTH_TOKEN_FILE"] = str(file)
    message = refused(settings, environment, "TRIAGE_KAFKA_OAUTH_TOKEN_FILE")
    assert file.read_text() not in message


def test_a_client_that_the_issuer_does_not_know_is_refused(
    secured: SecuredKafka, settings: Settings, issuer: TokenServer
) -> None:
    environment = secured.environment("OAUTH") | oauth_endpoint(issuer)
    environment |= {"TRIAGE_KAFKA_OAUTH_CLIENT_SECRET": "wr0ng"}
    refused(settings, environment, "TRIAGE_KAFKA_OAUTH_CLIENT_SECRET")


@pytest.mark.parametrize(
    ("lacking", "named"),
    [
        (range(5), "TRIAGE_INPUT_TOPIC"),
        ([0], "TRIAGE_INPUT_TOPIC"),
        ([1], "TRIAGE_ALERTS_TOPIC"),
        ([3], "GroupAuthorizationFailed"),
        ([4], "TransactionalIdAuthorizationFailed"),
    ],
)
def test_a_missing_right_is_named(secured: SecuredKafka, lacking: list[int], named: str) -> None:
    user = f"user-without-{'-'.join(map(str, lacking))}"
    settings = settings_of(secured.kafka, user)
    secured.add_user(user)
    secured.allow(user, *(right for n, right in enumerate(rights(settings)) if n not in lacking))
    environment = secured.environment("SCRAM") | SCRAM
    environment["TRIAGE_KAFKA_SASL_USERNAME"] = user
    publish(settings, 1)
    assert "TRIAGE_KAFKA_SASL_USERNAME" in refused(settings, environment, named)


def refused(settings: Settings, environment: dict[str, str], named: str) -> str:
    """Check that a worker cannot start, with an error that names what to correct."""
    settings = secured_settings(settings, environment)

    def start() -> None:
        check_topics(settings)
        with closing(KafkaSource(settings)) as source, closing(sink_of(settings, source)):
            drain(source)

    with pytest.raises(DependencyError) as caught:
        start()
    message = str(caught.value)
    assert not isinstance(caught.value, UnavailableError), message
    assert named in message
    assert not any(secret in message for secret in SECRETS)
    return message


@pytest.mark.slow
def test_a_password_that_is_changed_ends_a_worker(
    secured: SecuredKafka, trained: Trained, tmp_path: Path
) -> None:
    """While it runs, as soon as the broker wants to know again who it is."""
    user = "changing"
    settings = settings_of(secured.kafka, user)
    secured.add_user(user)
    secured.allow(user, *rights(settings))
    environment = environment_of(settings, trained) | secured.environment("CLEAR") | SCRAM
    environment["TRIAGE_KAFKA_SASL_USERNAME"] = user
    with running(environment, tmp_path / "log") as worker:
        publish(settings, 5)
        wait_for(lambda: worker.consumed() == 5)
        secured.add_user(user, "an0ther")
        assert worker.process.wait(60) == 6
    last = worker.log().splitlines()[-1]
    assert " CRITICAL " in last
    assert "TRIAGE_KAFKA_SASL_PASSWORD" in last
    assert "were they changed at the broker?" in last


@pytest.mark.slow
def test_a_certificate_that_is_no_longer_trusted_is_named_until_it_is(
    secured: SecuredKafka, settings: Settings, tmp_path: Path
) -> None:
    """The broker restarts; of its certificate's authority, the worker's file does not know yet."""
    environment = secured.environment("TLS")
    authority = Path(environment["TRIAGE_KAFKA_SSL_CA_FILE"]).read_bytes()
    file = tmp_path / "authority.pem"
    file.write_bytes(authority)
    through = secured_settings(settings, environment | {"TRIAGE_KAFKA_SSL_CA_FILE": str(file)})

    def trouble() -> str:
        try:
            source.receive(0.1, 100)
            source.lag()
        except UnavailableError as error:
            return str(error)
        return ""

    with closing(KafkaSource(through)) as source:
        publish(settings, 1)
        drain(source)
        file.write_bytes((secured.certificates / "stranger.pem").read_bytes())
        broker = broker_process(secured.kafka)
        broker.terminate()  # one that was killed could register again only after a minute
        broker.wait(60)
        secured.kafka.kill_broker(1)
        secured.kafka.start_broker(1)
        secured.kafka.wait_for_broker(1)
        wait_for(lambda: "TRIAGE_KAFKA_SSL_CA_FILE" in trouble())
        assert "certificate that is not trusted" in trouble()
        file.write_bytes(authority)
        publish(settings, 1)
        drain(source)
        assert trouble() == ""


def test_a_worker_that_is_refused_says_so_in_one_line(
    secured: SecuredKafka, settings: Settings, trained: Trained, tmp_path: Path
) -> None:
    environment = environment_of(settings, trained) | secured.environment("SCRAM") | SCRAM
    environment["TRIAGE_KAFKA_SASL_PASSWORD"] = "wr0ng"
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)  # set by this process' own Keras
    worker = Worker(environment, tmp_path / "log")
    try:
        assert worker.process.wait(60) == 6, worker.log()
    finally:
        worker.process.kill()
    lines = [line for line in worker.log().splitlines() if " INFO " not in line]
    assert len(lines) == 1, worker.log()
    assert " CRITICAL " in lines[0]
    assert "TRIAGE_KAFKA_SASL_PASSWORD" in lines[0]
    assert not any(secret in worker.log() for secret in SECRETS)

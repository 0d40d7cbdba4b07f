"""The script of the Kubernetes job creates the topics and gives rights: enough, and no more."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import TopicAuthorizationFailedError

from tests.conftest import ROOT, Trained
from tests.deploy.kafka_tools import install_tools
from tests.deploy.manifests import build
from tests.kafka.processes import environment_of, read_all, running, wait_for
from tests.kafka.secured_kafka import PASSWORD, SecuredKafka, secured_kafka
from worker.demo.local_kafka import LocalKafka
from worker.kafka.publisher import Publisher
from worker.kafka.records import Message
from worker.settings import Settings

pytestmark = pytest.mark.slow

FOLDER = ROOT / "deploy" / "kubernetes" / "topics"
TWEET = b"Forest fire near La Ronge, two villages evacuated"


def job_environment() -> dict[str, str]:
    (job,) = (manifest for manifest in build("topics") if manifest["kind"] == "Job")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    return {variable["name"]: variable["value"] for variable in container["env"]}


JOB = job_environment()
WORKER, SUBSCRIBER, REPLAYER = (
    JOB[name].removeprefix("User:") for name in ("WORKER", "SUBSCRIBER", "REPLAYER")
)


def script_environment(folder: Path, servers: str) -> dict[str, str]:
    """Return the variables that the script has in the job's container, with tools in `folder`."""
    install_tools(folder)
    (folder / "client.properties").touch()  # who comes without a name is the administrator
    return (
        os.environ
        | JOB
        | {
            "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
            "BOOTSTRAP_SERVERS": servers,
            "ADMIN_CONFIG": str(folder / "client.properties"),
            "REPLICATION_FACTOR": "1",
        }
    )


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """Yield a Kafka in which the job's script ran twice, as after a change."""
    folder: Path = tmp_path_factory.mktemp("topics")
    with secured_kafka(tmp_path_factory.mktemp("certificates")) as secured:
        for user in (WORKER, SUBSCRIBER, REPLAYER):
            secured.add_user(user)
        environment = script_environment(folder, secured.kafka.bootstrap_servers)
        for _ in range(2):
            subprocess.run(["sh", FOLDER / "topics.sh"], env=environment, check=True)
        yield secured


def credentials(secured: SecuredKafka, user: str) -> dict[str, str]:
    """Return kafka-python's options to connect as a user."""
    return {
        "bootstrap_servers": secured.servers["SCRAM"],
        "security_protocol": "SASL_SSL",
        "ssl_cafile": str(secured.certificates / "authority.pem"),
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": user,
        "sasl_plain_password": PASSWORD,
    }


def test_the_topics_are_as_the_readme_says(secured: SecuredKafka) -> None:
    readme = (ROOT / "deploy" / "README.md").read_text()
    names = [
        JOB[name] for name in ("INPUT_TOPIC", "ALERTS_TOPIC", "REVIEW_TOPIC", "DEAD_LETTERS_TOPIC")
    ]
    admin = KafkaAdminClient(bootstrap_servers=secured.kafka.bootstrap_servers)
    with closing(admin):
        topics = {topic["name"]: topic for topic in admin.describe_topics(names)}
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        configs = admin.describe_configs(resources, config_filter="all")["topic"]
    for name in names:
        assert len(topics[name]["partitions"]) == int(JOB["PARTITIONS"])
        days = int(configs[name]["retention.ms"]["value"]) // 86_400_000
        (row,) = [line for line in readme.splitlines() if line.startswith(f"| `{name}` |")]
        assert f"| {days} days |" in row
        assert configs[name]["cleanup.policy"]["value"] == "delete"


def test_everybody_does_his_work_with_these_rights(
    secured: SecuredKafka, trained: Trained, tmp_path: Path
) -> None:
    settings = Settings(kafka_bootstrap_servers=secured.kafka.bootstrap_servers, metrics_port=0)
    given = environment_of(settings, trained) | secured.environment("SCRAM")
    given |= {
        "TRIAGE_REVIEW_TOPIC": JOB["REVIEW_TOPIC"],
        "TRIAGE_REVIEW_PER_MINUTE": "1000",  # more than there are: all are chosen
        "TRIAGE_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
        "TRIAGE_KAFKA_SASL_USERNAME": WORKER,
        "TRIAGE_KAFKA_SASL_PASSWORD": PASSWORD,
    }
    publisher = Publisher(settings)
    publisher.publish(Message(settings.input_topic, None, value, []) for value in (TWEET, b"\xff"))
    publisher.close()
    with running(given, tmp_path / "log") as worker:
        wait_for(lambda: worker.consumed() == 2)
        assert worker.stop() == 0
    assert len(read_all(settings, settings.dead_letters_topic)) == 1
    assert len(read_all(settings, JOB["REVIEW_TOPIC"])) == 1

    given["TRIAGE_KAFKA_SASL_USERNAME"] = REPLAYER
    replay = [sys.executable, "-m", "worker.cli", "replay-dead-letters", "--send"]
    answer = subprocess.run(replay, env=given, capture_output=True, text=True, check=True)
    assert answer.stdout.startswith(f"1 dead letters were put back into {settings.input_topic}")
    assert len(read_all(settings, settings.input_topic)) == 3

    consumer = KafkaConsumer(
        settings.alerts_topic,
        **credentials(secured, SUBSCRIBER),
        group_id=f"{SUBSCRIBER}-desk",
        isolation_level="read_committed",
        auto_offset_reset="earliest",
    )
    with closing(consumer):
        wait_for(lambda: bool(consumer.poll(timeout_ms=500)))


@pytest.mark.parametrize(
    ("user", "topic"),
    [(WORKER, JOB["INPUT_TOPIC"]), (SUBSCRIBER, JOB["ALERTS_TOPIC"])],
    ids=["the worker, tweets", "a subscriber, alerts"],
)
def test_nobody_writes_what_he_reads(secured: SecuredKafka, user: str, topic: str) -> None:
    producer = KafkaProducer(**credentials(secured, user), enable_idempotence=False)
    with closing(producer), pytest.raises(TopicAuthorizationFailedError):
        producer.send(topic, b"forged").get(timeout=30)


def test_the_worker_does_not_read_alerts(secured: SecuredKafka) -> None:
    consumer = KafkaConsumer(**credentials(secured, WORKER), group_id=JOB["GROUP_ID"])
    consumer.subscribe([JOB["ALERTS_TOPIC"]])
    with closing(consumer), pytest.raises(TopicAuthorizationFailedError):
        wait_for(lambda: bool(consumer.poll(timeout_ms=300)))


def test_a_kafka_without_rights_gets_the_topics_alone(kafka: LocalKafka, tmp_path: Path) -> None:
    names = ("INPUT_TOPIC", "ALERTS_TOPIC", "DEAD_LETTERS_TOPIC")
    topics = {name: f"no-rights-{name.lower()}" for name in names}
    environment = script_environment(tmp_path, kafka.bootstrap_servers) | topics | {"WORKER": ""}
    subprocess.run(["sh", FOLDER / "topics.sh"], env=environment, check=True)
    with closing(KafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)) as admin:
        assert set(topics.values()) <= set(admin.list_topics())

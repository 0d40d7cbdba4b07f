"""The script of the Kubernetes job creates the topics in a Kafka that knows no rights, too."""

import os
import subprocess
from contextlib import closing
from pathlib import Path

from kafka import KafkaAdminClient

from tests.deploy.kafka_tools import install_tools
from tests.deploy.manifests import FOLDER, build
from worker.local_kafka import LocalKafka

TOPICS = ("INPUT_TOPIC", "ALERTS_TOPIC", "DEAD_LETTERS_TOPIC")


def test_without_a_worker_to_allow_the_topics_are_all(kafka: LocalKafka, tmp_path: Path) -> None:
    install_tools(tmp_path)
    (tmp_path / "client.properties").touch()
    (job,) = (manifest for manifest in build("topics") if manifest["kind"] == "Job")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    topics = {name: f"no-rights-{name.lower()}" for name in TOPICS}
    environment = os.environ | {v["name"]: v["value"] for v in container["env"]} | topics
    environment |= {
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "ADMIN_CONFIG": str(tmp_path / "client.properties"),
        "REPLICATION_FACTOR": "1",
        "WORKER": "",
    }
    subprocess.run(["sh", FOLDER / "topics" / "topics.sh"], env=environment, check=True)
    with closing(KafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)) as admin:
        assert set(topics.values()) <= set(admin.list_topics())

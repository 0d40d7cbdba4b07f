"""`triage-worker check` says in one line each what a worker lacks, and ends as a worker would."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.registry.folder import FolderRegistry
from tests.conftest import Trained
from tests.kafka.processes import environment_of, settings_of
from tests.kafka.secured_kafka import PASSWORD, SecuredKafka, secured_kafka
from worker.check import check
from worker.demo.local_kafka import LocalKafka
from worker.settings import Settings, read_settings

USER = "checker"


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    with secured_kafka(tmp_path_factory.mktemp("certificates")) as secured:
        secured.add_user(USER)
        yield secured


def run_check(environment: dict[str, str]) -> tuple[int, list[str]]:
    command = [sys.executable, "-m", "worker.cli", "check"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def statuses(settings: Settings) -> dict[str, str]:
    return {finding.subject: finding.status for finding in check(settings)}


def test_a_worker_that_can_start_is_told_so(kafka: LocalKafka, trained: Trained) -> None:
    settings = settings_of(kafka, "check")
    code, lines = run_check(environment_of(settings, trained))
    assert code == 0, lines
    assert [line.split()[0] for line in lines] == ["ok"] * 9
    assert "ok      topic check.raw: 3 partitions, right READ" in lines
    assert "production is version" in lines[7]


def test_what_is_missing_is_named_with_a_remedy(kafka: LocalKafka, tmp_path: Path) -> None:
    environment = environment_of(settings_of(kafka, "check-missing"))
    environment |= {
        "TRIAGE_REGISTRY": f"file:{tmp_path}/registry",
        "TRIAGE_ALERTS_TOPIC": "no.such",
    }
    code, lines = run_check(environment)
    failed = {line for line in lines if line.startswith("failed")}
    assert code == 6  # as of the first that failed
    assert failed == {
        "failed  topic no.such: it does not exist: run triage-worker create-topics, "
        "or correct TRIAGE_ALERTS_TOPIC",
        next(line for line in lines if "bundle" in line),
    }
    assert lines[-1] == "skipped threshold: there is no bundle"


def test_wrong_settings_end_it_at_once(kafka: LocalKafka) -> None:
    environment = environment_of(settings_of(kafka, "check-settings"))
    code, (line,) = run_check(environment | {"TRIAGE_BATCH_SIZE": "many"})
    assert code == 2
    assert line.startswith("failed  settings: settings: TRIAGE_BATCH_SIZE='many'")


@pytest.mark.slow
def test_without_a_broker_the_bundle_is_checked_all_the_same(trained: Trained) -> None:
    environment = {"TRIAGE_REGISTRY": trained.registry.url}
    environment["TRIAGE_KAFKA_BOOTSTRAP_SERVERS"] = "127.0.0.1:1"
    found = statuses(read_settings(environment))
    assert found.pop("brokers") == "failed"
    assert (found.pop("bundle"), found.pop("threshold")) == ("ok", "ok")
    assert set(found.values()) == {"skipped"}


def test_a_threshold_that_the_bundle_lacks_is_named(
    kafka: LocalKafka, trained: Trained, tmp_path: Path
) -> None:
    bundle = shutil.copytree(trained.bundles / "LSTM", tmp_path / "bundle")
    manifest = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps(manifest | {"operating_points": {}}))
    registry = FolderRegistry(tmp_path / "registry")
    registry.register(bundle)
    registry.promote("1")
    environment = environment_of(settings_of(kafka, "check-threshold"))
    environment |= {"TRIAGE_REGISTRY": registry.url, "TRIAGE_THRESHOLD": "precision-90"}
    code, lines = run_check(environment)
    assert (code, lines[-1].split(":")[0]) == (4, "failed  threshold"), lines


@pytest.mark.slow
def test_each_right_that_is_missing_is_named(secured: SecuredKafka, trained: Trained) -> None:
    settings = settings_of(secured.kafka, "check-rights")
    environment = environment_of(settings, trained) | secured.environment("SCRAM")
    environment |= {
        "TRIAGE_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
        "TRIAGE_KAFKA_SASL_USERNAME": USER,
        "TRIAGE_KAFKA_SASL_PASSWORD": PASSWORD,
    }
    settings = read_settings({k: v for k, v in environment.items() if k.startswith("TRIAGE_")})
    needed = {
        f"topic {settings.input_topic}": ("READ", "TOPIC", settings.input_topic),
        f"topic {settings.alerts_topic}": ("WRITE", "TOPIC", settings.alerts_topic),
        f"topic {settings.dead_letters_topic}": ("WRITE", "TOPIC", settings.dead_letters_topic),
        f"group {settings.group_id}": ("READ", "GROUP", settings.group_id),
        "transactions": ("WRITE", "TRANSACTIONAL_ID", f"{settings.group_id}-*"),
    }
    secured.allow(USER, *(("DESCRIBE", kind, name) for _, kind, name in needed.values()))
    granted: set[str] = set()
    for subject, right in needed.items():
        found = statuses(settings)
        expected = {each: "ok" if each in granted else "failed" for each in needed}
        assert {each: found[each] for each in needed} == expected
        secured.allow(USER, right)
        granted.add(subject)
    assert set(statuses(settings).values()) == {"ok"}


@pytest.mark.slow
def test_a_topic_that_the_user_may_not_see_is_not_called_missing(secured: SecuredKafka) -> None:
    settings = settings_of(secured.kafka, "check-unseen")
    secured.add_user("stranger")
    environment = environment_of(settings) | secured.environment("SCRAM")
    environment |= {
        "TRIAGE_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
        "TRIAGE_KAFKA_SASL_USERNAME": "stranger",
        "TRIAGE_KAFKA_SASL_PASSWORD": PASSWORD,
    }
    settings = read_settings({k: v for k, v in environment.items() if k.startswith("TRIAGE_")})
    details = {finding.subject: finding.detail for finding in check(settings)}
    for subject in (f"topic {settings.input_topic}", f"group {settings.group_id}", "transactions"):
        assert "AuthorizationFailed" in details[subject]
        assert "TRIAGE_KAFKA_SASL_USERNAME" in details[subject]

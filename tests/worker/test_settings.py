from pathlib import Path
from typing import Any

import msgspec
import pytest

from shared.errors import UsageError
from shared.settings import FILE_VARIABLE, expected
from worker.settings import Settings, read_settings

FIELDS = {field.name: field for field in msgspec.structs.fields(Settings)}


def test_other_variables_are_ignored() -> None:
    assert read_settings({"PATH": "/bin", "TRIAG_X": "1"}) == Settings()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("KAFKA_BOOTSTRAP_SERVERS", "a:1,b:2", "a:1,b:2"),
        ("KAFKA_BOOTSTRAP_SERVERS", "[::1]:9092", "[::1]:9092"),
        ("KAFKA_BOOTSTRAP_SERVERS", "a:65535,b:59999,c:64999", "a:65535,b:59999,c:64999"),
        ("INPUT_TOPIC", "Tweets_raw-2.x", "Tweets_raw-2.x"),
        ("REGISTRY", "file:///models", "file:///models"),
        ("REGISTRY", "file:/models", "file:/models"),
        ("CACHE", "/var/cache/triage", "/var/cache/triage"),
        ("MODEL_ALIAS", "3", "3"),
        ("SHADOW_ALIAS", "candidate", "candidate"),
        ("RELOAD_SECONDS", "0.5", 0.5),
        ("THRESHOLD", "0.25", 0.25),
        ("THRESHOLD", "recall-90", "recall-90"),
        ("DEAD_LETTER_LIMIT", "1", 1),
        ("INSTANCE_ID", "worker-0", "worker-0"),
        ("STALL_SECONDS", "1.5", 1.5),
        ("DELIVERY", "at-least-once", "at-least-once"),
        ("BATCH_SIZE", "1", 1),
        ("BATCH_SIZE", "65536", 65536),
        ("BATCH_WAIT_MS", "0", 0),
        ("SESSION_TIMEOUT_MS", "300000", 300_000),
        ("METRICS_PORT", "0", 0),
    ],
)
def test_environment(name: str, text: str, value: object) -> None:
    assert getattr(read_settings({f"TRIAGE_{name}": text}), name.lower()) == value


def refusal(environment: dict[str, str]) -> str:
    with pytest.raises(UsageError) as caught:
        read_settings(environment)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KAFKA_BOOTSTRAP_SERVERS", ""),
        ("KAFKA_BOOTSTRAP_SERVERS", "broker"),
        ("KAFKA_BOOTSTRAP_SERVERS", "a:1,b"),
        ("KAFKA_BOOTSTRAP_SERVERS", "a:1, b:2"),
        ("KAFKA_BOOTSTRAP_SERVERS", "a:http"),
        ("KAFKA_BOOTSTRAP_SERVERS", "a:0"),
        ("KAFKA_BOOTSTRAP_SERVERS", "a:65536"),
        ("KAFKA_BOOTSTRAP_SERVERS", "a:75000"),
        ("KAFKA_BOOTSTRAP_SERVERS", "a:1\n"),
        ("INPUT_TOPIC", "a b"),
        ("ALERTS_TOPIC", ""),
        ("ALERTS_TOPIC", ".."),
        ("DEAD_LETTERS_TOPIC", "x" * 250),
        ("BATCH_SIZE", "0"),
        ("BATCH_SIZE", "65537"),
        ("BATCH_SIZE", "1.5"),
        ("BATCH_SIZE", ""),
        ("BATCH_SIZE", "9" * 5000),
        ("BATCH_WAIT_MS", "-1"),
        ("BATCH_WAIT_MS", "10ms"),
        ("SESSION_TIMEOUT_MS", "999"),
        ("METRICS_PORT", "65536"),
        ("METRICS_PORT", "true"),
        ("THRESHOLD", "0"),
        ("THRESHOLD", "1"),
        ("THRESHOLD", "nan"),
        ("THRESHOLD", "50%"),
        ("THRESHOLD", "recall-95"),
        ("DELIVERY", "at-most-once"),
        ("DELIVERY", "Exactly-Once"),
        ("GROUP_ID", ""),
        ("REGISTRY", ""),
        ("REGISTRY", "models"),
        ("REGISTRY", "file:"),
        ("REGISTRY", "file://host/models"),
        ("REGISTRY", "wandb:entity/collection"),
    ],
)
def test_bad_value_is_named_with_what_is_expected(name: str, value: str) -> None:
    expectation = expected(FIELDS[name.lower()].type)
    assert refusal({f"TRIAGE_{name}": value}) == (
        f"settings: TRIAGE_{name}={value!r}: expected {expectation}"
    )


def test_all_problems_are_in_one_message(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('delivery = "sometimes"\nport = 5\n[kafka]\nservers = "a:1"\n')
    message = refusal(
        {
            FILE_VARIABLE: str(file),
            "TRIAGE_TRESHOLD": "0.5",
            "TRIAGE_BATCH_SIZE": "many",
            "TRIAGE_METRICS_PORT": "9109",
            "TRIAGE_ALERTS_TOPIC": "tweets.raw",
        }
    )
    for part in (
        f"{file}: delivery='sometimes': expected exactly-once or at-least-once",
        f"{file}: port is not a setting",
        f"{file}: kafka is not a setting",
        "TRIAGE_TRESHOLD is not a setting: did you mean TRIAGE_THRESHOLD?",
        "TRIAGE_BATCH_SIZE='many': expected a whole number from 1 to 65536",
        "TRIAGE_ALERTS_TOPIC='tweets.raw' must differ from TRIAGE_INPUT_TOPIC",
    ):
        assert message.count(part) == 1
    assert "9109" not in message


@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        (
            {"ALERTS_TOPIC": "tweets.raw"},
            "TRIAGE_ALERTS_TOPIC='tweets.raw' must differ from TRIAGE_INPUT_TOPIC",
        ),
        (
            {"REVIEW_TOPIC": "tweets.labels"},
            "TRIAGE_REVIEW_TOPIC='tweets.labels' must differ from TRIAGE_LABELS_TOPIC",
        ),
        (
            {"INPUT_TOPIC": "a", "DEAD_LETTERS_TOPIC": "a"},
            "TRIAGE_DEAD_LETTERS_TOPIC='a' must differ from TRIAGE_INPUT_TOPIC",
        ),
        (
            {"ALERTS_TOPIC": "a", "DEAD_LETTERS_TOPIC": "a"},
            "TRIAGE_DEAD_LETTERS_TOPIC='a' must differ from TRIAGE_ALERTS_TOPIC",
        ),
        (
            {"BATCH_WAIT_MS": "1500", "STALL_SECONDS": "1.5"},
            "TRIAGE_BATCH_WAIT_MS=1500 must be less than TRIAGE_STALL_SECONDS=1.5",
        ),
    ],
)
def test_what_cannot_be_together_is_refused(environment: dict[str, str], problem: str) -> None:
    given = {f"TRIAGE_{name}": value for name, value in environment.items()}
    assert refusal(given) == f"settings: {problem}"


@pytest.mark.parametrize("field", FIELDS.values(), ids=FIELDS)
def test_every_setting_says_what_it_is_and_expects(field: Any) -> None:
    assert any(meta.description for meta in field.type.__metadata__)
    assert expected(field.type)
    assert field.default is not msgspec.NODEFAULT

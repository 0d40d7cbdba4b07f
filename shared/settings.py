"""Settings: every `TRIAGE_*` variable, parsed once into one frozen object.

A value comes from the environment or, behind it, from the TOML file that `TRIAGE_SETTINGS_FILE`
names, where the same settings are written in lower case without the prefix.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from shared.bundle.quality import BALANCED, OperatingPointName
from shared.errors import UsageError
from shared.secret import Secret

PREFIX = "TRIAGE_"
FILE_VARIABLE = "TRIAGE_SETTINGS_FILE"

Name = Annotated[str, Meta(min_length=1)]
Topic = Annotated[str, Meta(pattern=r"^(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,249}\Z")]
Threshold = Annotated[float, Meta(gt=0, lt=1)] | OperatingPointName
_PORT = r"([1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5])"
_TOPIC = "a topic: up to 249 letters, digits, dots, underscores and hyphens"
_SERVER = rf"([^\s,:\[\]]+|\[[\da-fA-F:.]+\]):{_PORT}"
_REGISTRY = r"file:(?!//[^/]).+|wandb:[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+){2}"
_THIS_HOST = r"(localhost|127\.0\.0\.1|\[::1\])"


def _setting(expected: str, description: str) -> Meta:
    return Meta(description=description, extra={"expected": expected})


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the programs can be told. The annotations are the settings' documentation."""

    kafka_bootstrap_servers: Annotated[
        Annotated[str, Meta(pattern=rf"^{_SERVER}(,{_SERVER})*\Z")],
        _setting("host:port, more of them separated by commas", "where Kafka is"),
    ] = "localhost:9092"
    kafka_security_protocol: Annotated[
        Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"],
        _setting("PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL", "what Kafka's listener speaks"),
    ] = "PLAINTEXT"
    kafka_ssl_ca_file: Annotated[
        Name | None,
        _setting("a PEM file", "the authorities to trust; unset: those of the system"),
    ] = None
    kafka_ssl_certificate_file: Annotated[
        Name | None,
        _setting("a PEM file", "the worker's certificate and its chain, for mutual TLS"),
    ] = None
    kafka_ssl_key_file: Annotated[
        Name | None,
        _setting("a PEM file", "the certificate's key; unset: it stands in the same file"),
    ] = None
    kafka_ssl_key_password: Annotated[
        Secret | None, _setting("a line of text", "of an encrypted key")
    ] = None
    kafka_sasl_mechanism: Annotated[
        Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None,
        _setting("PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER", "how to authenticate"),
    ] = None
    kafka_sasl_username: Annotated[
        Name | None, _setting("a name", "of PLAIN and SCRAM; an API key for Confluent Cloud")
    ] = None
    kafka_sasl_password: Annotated[
        Secret | None, _setting("a line of text", "of PLAIN and SCRAM; the API key's secret")
    ] = None
    kafka_oauth_token_file: Annotated[
        Name | None,
        _setting("a file", "OAUTHBEARER takes its token from here, anew whenever it connects"),
    ] = None
    kafka_oauth_token_url: Annotated[
        Annotated[str, Meta(pattern=rf"^(https://|http://{_THIS_HOST}[:/])")] | None,
        _setting("https://…", "or from here, with the client credentials grant"),
    ] = None
    kafka_oauth_client_id: Annotated[
        Name | None, _setting("a name", "the client, as the token's issuer knows it")
    ] = None
    kafka_oauth_client_secret: Annotated[
        Secret | None, _setting("a line of text", "the client's password at the issuer")
    ] = None
    kafka_oauth_scope: Annotated[
        Name | None, _setting("names separated by spaces", "what the token shall be good for")
    ] = None
    kafka_oauth_extensions: Annotated[
        Annotated[str, Meta(pattern=r"^[A-Za-z]+=[^,]+(,[A-Za-z]+=[^,]+)*\Z")] | None,
        _setting(
            "name=value, more of them separated by commas",
            "sent along with the token; Confluent Cloud wants logicalCluster and identityPoolId",
        ),
    ] = None
    input_topic: Annotated[Topic, _setting(_TOPIC, "raw tweets are read from it")] = "tweets.raw"
    alerts_topic: Annotated[Topic, _setting(_TOPIC, "relevant tweets are published to it")] = (
        "tweets.alerts"
    )
    dead_letters_topic: Annotated[
        Topic, _setting(_TOPIC, "records that cannot be read are kept in it")
    ] = "tweets.dead-letters"
    group_id: Annotated[
        Name, _setting("a name", "the consumer group, whose members share the partitions")
    ] = "tweet-triage"
    registry: Annotated[
        Annotated[str, Meta(pattern=rf"^({_REGISTRY})\Z")],
        _setting(
            "file:FOLDER or wandb:ENTITY/REGISTRY/COLLECTION",
            "where bundles are registered, with their aliases",
        ),
    ] = "file:~/.local/share/tweet-triage/registry"
    cache: Annotated[
        Name,
        _setting(
            "a folder", "keeps the bundles that were used last, for when the registry is away"
        ),
    ] = "~/.cache/tweet-triage"
    model_alias: Annotated[
        Name, _setting("an alias or a version", "which bundle the worker scores with")
    ] = "production"
    shadow_alias: Annotated[
        Name | None,
        _setting(
            "an alias or a version",
            "a second bundle scores the same tweets, without alerts; unset: none",
        ),
    ] = None
    reload_seconds: Annotated[
        Annotated[float, Meta(ge=0.1, le=3600)],
        _setting(
            "seconds from 0.1 to 3600",
            "how often the registry is asked which version the alias means",
        ),
    ] = 15
    threshold: Annotated[
        Threshold,
        _setting(
            "balanced, precision-90, recall-90, or a number between 0 and 1",
            "alerts from this probability on, or from that of the bundle's operating point",
        ),
    ] = BALANCED
    delivery: Annotated[
        Literal["exactly-once", "at-least-once"],
        _setting(
            "exactly-once or at-least-once",
            "at-least-once is for clusters that forbid transactions",
        ),
    ] = "exactly-once"
    batch_size: Annotated[
        Annotated[int, Meta(ge=1, le=65536)],
        _setting("a whole number from 1 to 65536", "tweets in a batch at most"),
    ] = 1024
    batch_wait_ms: Annotated[
        Annotated[int, Meta(ge=0, le=60000)],
        _setting(
            "milliseconds from 0 to 60000",
            "from one batch to the next at least, so that more tweets come",
        ),
    ] = 10
    dead_letter_limit: Annotated[
        Annotated[float, Meta(gt=0, le=1)],
        _setting(
            "a share above 0, up to 1",
            "where more of the last 1000 records are dead letters, the worker pauses; 1: never",
        ),
    ] = 0.5
    instance_id: Annotated[
        Name | None,
        _setting(
            "a name",
            "this member's own among the group's: a restart keeps its partitions; unset: none",
        ),
    ] = None
    session_timeout_ms: Annotated[
        Annotated[int, Meta(ge=1000, le=300000)],
        _setting(
            "milliseconds from 1000 to 300000",
            "after this long without a sign of life a member's partitions move to others",
        ),
    ] = 7500
    stall_seconds: Annotated[
        Annotated[float, Meta(ge=1, le=3600)],
        _setting(
            "seconds from 1 to 3600",
            "after this long without progress while tweets wait, /healthz fails",
        ),
    ] = 60
    metrics_address: Annotated[
        Name,
        _setting("an address of this machine", "where /metrics, /healthz and /readyz are served"),
    ] = "0.0.0.0"  # noqa: S104  # Prometheus scrapes from another machine
    metrics_port: Annotated[
        Annotated[int, Meta(ge=0, le=65535)],
        _setting("a port from 0 to 65535", "the port of these pages; 0: a free port"),
    ] = 9108


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Reads the settings from environment variables and the optional file behind them.

    A setting whose name ends in `_file` must name a file that is there.

    Args:
        environment: such as `os.environ`; names without the prefix are not looked at.

    Raises:
        UsageError: naming every unknown setting and every bad value, all in one message.
    """
    given: dict[str, tuple[str, Any]] = {}  # field: (the name the user wrote, the value)
    path = environment.get(FILE_VARIABLE)
    if path:
        given |= {name: (f"{path}: {name}", value) for name, value in _read_file(path).items()}
    for variable, value in environment.items():
        if variable.startswith(PREFIX) and variable != FILE_VARIABLE:
            given[variable.removeprefix(PREFIX).lower()] = (variable, value)

    fields = {field.name: field for field in msgspec.structs.fields(Settings)}
    values: dict[str, Any] = {}
    problems: list[str] = []
    for name, (written, value) in given.items():
        if name not in fields:
            problems.append(f"{written} is not a setting")
            continue
        try:
            values[name] = msgspec.convert(
                value, fields[name].type, strict=False, dec_hook=_to_secret
            )
        except msgspec.ValidationError:
            shown = written if name in SECRETS else f"{written}={value!r}"
            problems.append(f"{shown}: expected {expected(fields[name].type)}")
            continue
        if name.endswith("_file") and not (Path(value).is_file() and os.access(value, os.R_OK)):
            problems.append(f"{written}={value!r}: expected a file that can be read")
    given_as = {name: written for name, (written, _) in given.items()}
    problems += _contradictions(values, given_as) + _collisions(Settings(**values))
    if problems:
        known = ", ".join(PREFIX + name.upper() for name in fields)
        if any(problem.endswith("is not a setting") for problem in problems):
            problems.append(f"the settings are: {known}")
        raise UsageError("settings: " + "; ".join(problems))
    return Settings(**values)


def expected(annotation: Any) -> str:
    """The expectation that a setting's annotation declares, in words."""
    for meta in annotation.__metadata__:
        if meta.extra:
            return str(meta.extra["expected"])
    raise TypeError(f"{annotation!r} declares no expectation")


SECRETS = frozenset(
    field.name for field in msgspec.structs.fields(Settings) if "Secret" in str(field.type)
)
"""The settings whose values are never shown."""


def _to_secret(_: type, value: object) -> Secret:
    if not isinstance(value, str):
        raise ValueError("no text")
    return Secret(value)


def _contradictions(values: Mapping[str, Any], given: Mapping[str, str]) -> list[str]:
    """What the chosen way to reach Kafka lacks, and what would have no effect on it.

    Args:
        values: of the settings that were given and are good.
        given: setting → the name that the user wrote, of all that were given.
    """
    if {"kafka_security_protocol", "kafka_sasl_mechanism"} & given.keys() - values.keys():
        return []  # which way was meant is not known
    protocol = values.get("kafka_security_protocol", "PLAINTEXT")
    mechanism = values.get("kafka_sasl_mechanism")
    needed: list[str] = []
    allowed: list[str] = []
    if protocol.endswith("SSL"):
        allowed += ["kafka_ssl_ca_file", "kafka_ssl_certificate_file"]
        if "kafka_ssl_certificate_file" in given:
            allowed += ["kafka_ssl_key_file", "kafka_ssl_key_password"]
    if protocol.startswith("SASL"):
        needed.append("kafka_sasl_mechanism")
        if mechanism == "OAUTHBEARER":
            allowed.append("kafka_oauth_extensions")
            if "kafka_oauth_token_url" in given:
                needed += ["kafka_oauth_client_id", "kafka_oauth_client_secret"]
                allowed += ["kafka_oauth_token_url", "kafka_oauth_scope"]
            else:
                needed.append("kafka_oauth_token_file")
        elif mechanism is not None:
            needed += ["kafka_sasl_username", "kafka_sasl_password"]

    way = f"{PREFIX}KAFKA_SECURITY_PROTOCOL={protocol}"
    if mechanism is not None:
        way += f" and {PREFIX}KAFKA_SASL_MECHANISM={mechanism}"
    missing = [PREFIX + name.upper() for name in needed if name not in given]
    missing = [name.replace("_FILE", "_FILE or …_TOKEN_URL") for name in missing]
    idle = [
        written
        for name, written in given.items()
        if name.startswith(("kafka_ssl_", "kafka_sasl_", "kafka_oauth_"))
        and name not in [*needed, *allowed]
    ]
    return [f"{name} is missing, which {way} needs" for name in missing] + [
        f"{name} has no effect with {way}" for name in idle
    ]


def _collisions(settings: Settings) -> list[str]:
    """What cannot be together, and folders that cannot be."""
    problems = []
    topics: dict[str, str] = {}
    for name in ("input_topic", "alerts_topic", "dead_letters_topic"):
        topic = getattr(settings, name)
        if (other := topics.setdefault(topic, name)) != name:
            problems.append(
                f"{PREFIX}{name.upper()}={topic!r}: expected another than {PREFIX}{other.upper()}"
            )
    if settings.batch_wait_ms >= 1000 * settings.stall_seconds:
        problems.append(
            f"{PREFIX}BATCH_WAIT_MS={settings.batch_wait_ms}: expected less than "
            f"{PREFIX}STALL_SECONDS={settings.stall_seconds:g}"
        )
    for name in ("registry", "cache"):
        value = getattr(settings, name)
        try:
            Path(value.removeprefix("file:").removeprefix("//")).expanduser()
        except RuntimeError:
            problems.append(f"{PREFIX}{name.upper()}={value!r}: there is no such home folder")
    return problems


def _read_file(path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{FILE_VARIABLE}={path!r}: expected a TOML file: {error}") from error

"""Settings of `triage-worker`: Kafka, the model, batches, health, the desk."""

from collections.abc import Mapping
from ipaddress import ip_network
from typing import Annotated, Any, Literal

from msgspec import Meta

from shared import settings as shared_settings
from shared.bundle.quality import BALANCED, Threshold
from shared.secret import Secret
from shared.settings import PREFIX, Name, RegistrySettings, setting

Topic = Annotated[str, Meta(pattern=r"^(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,249}\Z")]
_PORT = r"([1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5])"
_TOPIC = "a topic: up to 249 letters, digits, dots, underscores and hyphens"
_SERVER = rf"([^\s,:\[\]]+|\[[\da-fA-F:.]+\]):{_PORT}"
_PATH = Annotated[str, Meta(pattern=r"^[^.].*[^.]\Z|^[^.]\Z", max_length=200)]
_FIELD = "a path such as a.b.c"
InputFormat = Literal["auto", "json", "text"]
_SHORTEST_TOKEN = 16
_THIS_HOST = r"(localhost|127\.0\.0\.1|\[::1\])"


class Settings(RegistrySettings, frozen=True, kw_only=True):
    """The settings of `triage-worker`. Their annotations are their documentation."""

    kafka_bootstrap_servers: Annotated[
        Annotated[str, Meta(pattern=rf"^{_SERVER}(,{_SERVER})*\Z")],
        setting("host:port, several separated by commas", "the brokers to connect to first"),
    ] = "localhost:9092"
    kafka_security_protocol: Annotated[
        Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"],
        setting("PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL", "the protocol of Kafka's listener"),
    ] = "PLAINTEXT"
    kafka_ssl_ca_file: Annotated[
        Name | None,
        setting("a PEM file", "the certificate authorities to trust; default: those of the system"),
    ] = None
    kafka_ssl_certificate_file: Annotated[
        Name | None,
        setting("a PEM file", "the worker's certificate and its chain, for mutual TLS"),
    ] = None
    kafka_ssl_key_file: Annotated[
        Name | None,
        setting("a PEM file", "the certificate's key; default: in the certificate's file"),
    ] = None
    kafka_ssl_key_password: Annotated[
        Secret | None, setting("a line of text", "the password of an encrypted key")
    ] = None
    kafka_sasl_mechanism: Annotated[
        Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None,
        setting("PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER", "how to authenticate"),
    ] = None
    kafka_sasl_username: Annotated[
        Name | None, setting("a name", "for PLAIN and SCRAM; an API key for Confluent Cloud")
    ] = None
    kafka_sasl_password: Annotated[
        Secret | None, setting("a line of text", "for PLAIN and SCRAM; the API key's secret")
    ] = None
    kafka_oauth_token_file: Annotated[
        Name | None,
        setting("a file", "contains the token of OAUTHBEARER; read at each new connection"),
    ] = None
    kafka_oauth_token_url: Annotated[
        Annotated[str, Meta(pattern=rf"^(https://|http://{_THIS_HOST}[:/])")] | None,
        setting("https://…", "or the endpoint that issues the token (client credentials grant)"),
    ] = None
    kafka_oauth_client_id: Annotated[
        Name | None, setting("a name", "the client, as the token's issuer knows it")
    ] = None
    kafka_oauth_client_secret: Annotated[
        Secret | None, setting("a line of text", "the client's password at the issuer")
    ] = None
    kafka_oauth_scope: Annotated[
        Name | None, setting("names separated by spaces", "the scope of the token")
    ] = None
    kafka_oauth_extensions: Annotated[
        Annotated[str, Meta(pattern=r"^[A-Za-z]+=[^,]+(,[A-Za-z]+=[^,]+)*\Z")] | None,
        setting(
            "name=value, several separated by commas",
            "sent with the token; Confluent Cloud needs logicalCluster and identityPoolId",
        ),
    ] = None
    input_topic: Annotated[Topic, setting(_TOPIC, "the topic of raw tweets")] = "tweets.raw"
    alerts_topic: Annotated[Topic, setting(_TOPIC, "the topic of alerts")] = "tweets.alerts"
    dead_letters_topic: Annotated[
        Topic, setting(_TOPIC, "the topic of records that cannot be read")
    ] = "tweets.dead-letters"
    input_format: Annotated[
        InputFormat,
        setting(
            "auto, json or text",
            "auto: JSON if the value is JSON, else plain text; json: refuse anything else; "
            "text: plain text, whatever it looks like",
        ),
    ] = "auto"
    text_field: Annotated[
        _PATH | None,
        setting(
            _FIELD,
            "the text in JSON of an unknown format; tried before the known formats",
        ),
    ] = None
    id_field: Annotated[
        _PATH | None, setting(_FIELD, "the id, in a record whose text is in TRIAGE_TEXT_FIELD")
    ] = None
    author_field: Annotated[
        _PATH | None,
        setting(_FIELD, "the user name, in a record whose text is in TRIAGE_TEXT_FIELD"),
    ] = None
    created_at_field: Annotated[
        _PATH | None, setting(_FIELD, "the time, in a record whose text is in TRIAGE_TEXT_FIELD")
    ] = None
    lang_field: Annotated[
        _PATH | None,
        setting(_FIELD, "the language, in a record whose text is in TRIAGE_TEXT_FIELD"),
    ] = None
    languages: Annotated[
        Annotated[str, Meta(pattern=r"^(any|[A-Za-z]{2,3}(,[A-Za-z]{2,3})*)\Z")] | None,
        setting(
            "languages such as en, separated by commas, or any",
            "tweets in other languages are skipped; default: those that the bundle was trained on",
        ),
    ] = None
    labels_topic: Annotated[Topic, setting(_TOPIC, "the topic of people's labels")] = (
        "tweets.labels"
    )
    review_topic: Annotated[
        Topic | None,
        setting(
            f"{_TOPIC}, such as tweets.review",
            "the topic of tweets that people are asked to label; default: none are",
        ),
    ] = None
    review_per_minute: Annotated[
        Annotated[int, Meta(ge=1, le=1000)],
        setting(
            "a whole number from 1 to 1000",
            "the most such tweets that a worker chooses in a minute",
        ),
    ] = 10
    group_id: Annotated[
        Name, setting("a name", "the consumer group, whose members share the partitions")
    ] = "tweet-triage"
    model_alias: Annotated[Name, setting("an alias or a version", "the bundle to score with")] = (
        "production"
    )
    shadow_alias: Annotated[
        Name | None,
        setting(
            "an alias or a version",
            "a second bundle that also scores the tweets, without alerts; default: none",
        ),
    ] = None
    reload_seconds: Annotated[
        Annotated[float, Meta(ge=0.1, le=3600)],
        setting(
            "seconds from 0.1 to 3600",
            "how often to ask the registry for the version of the alias",
        ),
    ] = 15
    threshold: Annotated[
        Threshold,
        setting(
            "balanced, precision-90, recall-90, or a number between 0 and 1",
            "the lowest probability of an alert, or an operating point of the bundle",
        ),
    ] = BALANCED
    delivery: Annotated[
        Literal["exactly-once", "at-least-once"],
        setting(
            "exactly-once or at-least-once",
            "at-least-once is for clusters that forbid transactions",
        ),
    ] = "exactly-once"
    batch_size: Annotated[
        Annotated[int, Meta(ge=1, le=65536)],
        setting("a whole number from 1 to 65536", "the largest batch, in tweets"),
    ] = 1024
    batch_wait_ms: Annotated[
        Annotated[int, Meta(ge=0, le=60000)],
        setting(
            "milliseconds from 0 to 60000",
            "the least time between batches, so that they fill",
        ),
    ] = 10
    dead_letter_limit: Annotated[
        Annotated[float, Meta(gt=0, le=1)],
        setting(
            "a share above 0, up to 1",
            "the worker pauses if more of the last 1000 records are dead letters; 1: never",
        ),
    ] = 0.5
    instance_id: Annotated[
        Name | None,
        setting(
            "a name",
            "unique in the group; keeps a member's partitions over a restart; default: none",
        ),
    ] = None
    session_timeout_ms: Annotated[
        Annotated[int, Meta(ge=1000, le=300000)],
        setting(
            "milliseconds from 1000 to 300000",
            "a member that is silent for this long loses its partitions",
        ),
    ] = 7500
    stall_seconds: Annotated[
        Annotated[float, Meta(ge=1, le=3600)],
        setting(
            "seconds from 1 to 3600",
            "/healthz fails after this long without progress while tweets wait",
        ),
    ] = 60
    metrics_address: Annotated[
        Name,
        setting("an address of this machine", "the address of /metrics, /healthz and /readyz"),
    ] = "0.0.0.0"  # noqa: S104  # Prometheus scrapes from another machine
    metrics_port: Annotated[
        Annotated[int, Meta(ge=0, le=65535)],
        setting("a port from 0 to 65535", "the port of these three pages; 0: a free port"),
    ] = 9108
    log_format: Annotated[
        Literal["text", "json"], setting("text or json", "the format of the log's lines")
    ] = "text"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        setting("debug, info, warning or error", "the least severe events in the log"),
    ] = "info"
    incident_window_hours: Annotated[
        Annotated[float, Meta(gt=0, le=168)],
        setting(
            "hours above 0, up to 168", "an incident ends when no alert joins it for this long"
        ),
    ] = 6
    incident_likeness: Annotated[
        Annotated[float, Meta(ge=0.3, le=1)],
        setting(
            "a share from 0.3 to 1",
            "the least likeness of alerts of one incident; 1: the same words",
        ),
    ] = 0.5
    desk_address: Annotated[
        Name, setting("an address of this machine", "the address of the desk's pages")
    ] = "127.0.0.1"
    desk_port: Annotated[
        Annotated[int, Meta(ge=0, le=65535)],
        setting("a port from 0 to 65535", "the port of the desk's pages; 0: a free port"),
    ] = 8484
    desk_token: Annotated[
        Secret | None,
        setting(
            "a line of at least 16 characters", "the token to sign in with; default: no sign-in"
        ),
    ] = None
    desk_user_header: Annotated[
        Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{1,100}\Z")] | None,
        setting("the name of a header", "the header in which a trusted proxy names the user"),
    ] = None
    desk_trusted_proxies: Annotated[
        Name | None,
        setting(
            "addresses or networks separated by commas", "the proxies that may send that header"
        ),
    ] = None
    desk_url: Annotated[
        Annotated[str, Meta(pattern=r"^https?://[^\s/]+(/\S*)?\Z")] | None,
        setting("https://…", "where people open the desk, for links in notifications"),
    ] = None
    webhook_url: Annotated[
        Secret | None,
        setting("https://…", "where the desk notifies of incidents; default: no notifications"),
    ] = None
    webhook_format: Annotated[
        Literal["json", "slack"], setting("json or slack", "the body of notifications")
    ] = "json"
    webhook_size: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000)],
        setting(
            "a whole number from 1 to 1000000", "notify of incidents with at least this many alerts"
        ),
    ] = 10
    webhook_probability: Annotated[
        Annotated[float, Meta(ge=0, le=1)] | None,
        setting(
            "a number from 0 to 1", "only if an alert has at least this probability; default: any"
        ),
    ] = None
    webhook_per_minute: Annotated[
        Annotated[int, Meta(ge=1, le=600)],
        setting("a whole number from 1 to 600", "the largest number of notifications per minute"),
    ] = 6


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read the worker's settings.

    Args:
        environment: such as `os.environ`.

    Raises:
        UsageError: if a setting is unknown, malformed, missing, or conflicts with another one. One
            message lists all problems.
    """
    return shared_settings.read_settings(Settings, environment, _conflicts)


def _conflicts(values: Mapping[str, Any], given: Mapping[str, str]) -> list[str]:
    """List problems between settings, as `shared.settings.Check` describes."""
    return _kafka_conflicts(values, given) + _other_conflicts(Settings(**values))


def _kafka_conflicts(values: Mapping[str, Any], given: Mapping[str, str]) -> list[str]:
    """List settings that the chosen connection to Kafka lacks, or that have no effect."""
    if {"kafka_security_protocol", "kafka_sasl_mechanism"} & given.keys() - values.keys():
        return []  # the intended connection is unknown
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

    chosen = f"{PREFIX}KAFKA_SECURITY_PROTOCOL={protocol}"
    if mechanism is not None:
        chosen += f" and {PREFIX}KAFKA_SASL_MECHANISM={mechanism}"
    missing = [PREFIX + name.upper() for name in needed if name not in given]
    missing = [name.replace("_FILE", "_FILE or …_TOKEN_URL") for name in missing]
    idle = [
        written
        for name, written in given.items()
        if name.startswith(("kafka_ssl_", "kafka_sasl_", "kafka_oauth_"))
        and name not in [*needed, *allowed]
    ]
    return [f"{name} is missing: {chosen} needs it" for name in missing] + [
        f"{name} has no effect with {chosen}" for name in idle
    ]


def _other_conflicts(settings: Settings) -> list[str]:
    """List topics with the same name, and other settings that contradict each other."""
    problems = []
    topics: dict[str, str] = {}
    names = ("input_topic", "alerts_topic", "dead_letters_topic", "labels_topic", "review_topic")
    for name in names:
        topic = getattr(settings, name)
        if topic is not None and (other := topics.setdefault(topic, name)) != name:
            problems.append(
                f"{PREFIX}{name.upper()}={topic!r} must differ from {PREFIX}{other.upper()}"
            )
    if settings.input_format == "text" and settings.text_field is not None:
        problems.append(f"{PREFIX}TEXT_FIELD has no effect with {PREFIX}INPUT_FORMAT=text")
    problems += [
        f"{PREFIX}{name.upper()} has no effect without {PREFIX}TEXT_FIELD"
        for name in ("id_field", "author_field", "created_at_field", "lang_field")
        if getattr(settings, name) is not None and settings.text_field is None
    ]
    if settings.batch_wait_ms >= 1000 * settings.stall_seconds:
        problems.append(
            f"{PREFIX}BATCH_WAIT_MS={settings.batch_wait_ms} must be less than "
            f"{PREFIX}STALL_SECONDS={settings.stall_seconds:g}"
        )
    return problems + _desk_conflicts(settings)


def _desk_conflicts(settings: Settings) -> list[str]:
    """List problems between the desk's settings."""
    problems = []
    token, webhook = settings.desk_token, settings.webhook_url
    if token is not None and len(token.reveal()) < _SHORTEST_TOKEN:
        problems.append(
            f"{PREFIX}DESK_TOKEN is too short: expected at least {_SHORTEST_TOKEN} characters"
        )
    if (settings.desk_user_header is None) != (settings.desk_trusted_proxies is None):
        problems.append(
            f"{PREFIX}DESK_USER_HEADER and {PREFIX}DESK_TRUSTED_PROXIES need each other: set both"
        )
    for part in (settings.desk_trusted_proxies or "127.0.0.1").split(","):
        try:
            ip_network(part.strip())
        except ValueError:
            problems.append(
                f"{PREFIX}DESK_TRUSTED_PROXIES={settings.desk_trusted_proxies!r}: {part!r} is not "
                "an address or a network such as 10.0.0.0/8"
            )
    if webhook is not None and not webhook.reveal().startswith(("https://", "http://")):
        problems.append(f"{PREFIX}WEBHOOK_URL: expected https://…")
    return problems


def worker_topics(settings: Settings) -> tuple[str, ...]:
    """Return the names of all topics that the worker and the desk use."""
    review = () if settings.review_topic is None else (settings.review_topic,)
    return (
        settings.input_topic,
        settings.alerts_topic,
        settings.dead_letters_topic,
        settings.labels_topic,
        *review,
    )

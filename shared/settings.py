"""Settings: read `TRIAGE_*` variables once into a frozen struct. Each program declares its own.

A value comes from the environment or from the TOML file that `TRIAGE_SETTINGS_FILE` names, where
the same settings are written in lower case without the prefix. The environment goes first. The
value of a secret can also come from a file: `TRIAGE_KAFKA_SASL_PASSWORD_FILE` names a file that
contains `TRIAGE_KAFKA_SASL_PASSWORD`.
"""

import difflib
import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from shared.errors import UsageError
from shared.secret import Secret

PREFIX = "TRIAGE_"
FILE_VARIABLE = "TRIAGE_SETTINGS_FILE"
FILE_SUFFIX = "_file"

Name = Annotated[str, Meta(min_length=1)]
_REGISTRY = r"file:(?!//[^/]).+|wandb:[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+){2}"


def setting(expected: str, description: str) -> Meta:
    """Describe a setting, as part of its type annotation.

    Args:
        expected: the values that it takes, in words that follow "expected".
        description: what it means.
    """
    return Meta(description=description, extra={"expected": expected})


class RegistrySettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings that every program has."""

    registry: Annotated[
        Annotated[str, Meta(pattern=rf"^({_REGISTRY})\Z")],
        setting(
            "file:FOLDER or wandb:ENTITY/REGISTRY/COLLECTION",
            "where bundles are registered, with their aliases",
        ),
    ] = "file:~/.local/share/tweet-triage/registry"
    cache: Annotated[
        Name,
        setting("a folder", "caches the last bundles, for when the registry is unavailable"),
    ] = "~/.cache/tweet-triage"


S = TypeVar("S", bound=RegistrySettings)

_Given = tuple[str, Any]
"""The name that the user wrote, and the value."""

Check = Callable[[Mapping[str, Any], Mapping[str, str]], list[str]]
"""Finds problems between settings, each as a sentence.

Its arguments are the valid values by setting, and for every given setting, valid or not, the name
that the user wrote.
"""


def read_settings(
    kind: type[S],
    environment: Mapping[str, str],
    check: Check = lambda _values, _given: [],
    *,
    ignore_unknown: bool = False,
) -> S:
    """Read settings from the environment and the optional TOML file.

    Args:
        kind: the program's settings. Each field has a default and an annotation by `setting`. A
            field whose name ends in `_file` must name a file that can be read.
        environment: such as `os.environ`. Names without the prefix are ignored.
        check: finds problems between settings.
        ignore_unknown: whether to ignore a name that is not a field and not similar to one.

    Raises:
        UsageError: if a setting is unknown or malformed, or `check` finds a problem. One message
            lists all problems.
    """
    known = {field.name: field.type for field in msgspec.structs.fields(kind)}
    secrets = secret_names(kind)
    other_names = {name: name + FILE_SUFFIX for name in secrets}
    other_names |= {file: name for name, file in other_names.items()}
    problems: list[str] = []
    given: dict[str, _Given] = {}
    if path := environment.get(FILE_VARIABLE):
        given = {name: (f"{path}: {name}", value) for name, value in _read_toml(path).items()}
    for variable, value in environment.items():
        if variable.startswith(PREFIX) and variable != FILE_VARIABLE:
            name = variable.removeprefix(PREFIX).lower()
            given[name] = (variable, value)
            other = other_names.get(name)
            if other in given and variable_of(other) not in environment:
                del given[other]  # the environment goes before the file here, too
    _read_secrets(given, secrets, problems)

    values: dict[str, Any] = {}
    for name, (written, value) in given.items():
        if name not in known:
            similar = difflib.get_close_matches(name, known, 1)
            if similar:
                meant = variable_of(*similar)
                problems.append(f"{written} is not a setting: did you mean {meant}?")
            elif not ignore_unknown:
                names = ", ".join(map(variable_of, known))
                problems.append(f"{written} is not a setting: expected one of {names}")
            continue
        try:
            values[name] = msgspec.convert(value, known[name], strict=False, dec_hook=_to_secret)
        except msgspec.ValidationError:
            shown = written if name in secrets else f"{written}={value!r}"
            problems.append(f"{shown}: expected {expected(known[name])}")
            continue
        if name.endswith(FILE_SUFFIX) and not _is_readable_file(value):
            problems.append(f"{written}={value!r}: expected a file that can be read")
    problems += check(values, {name: written for name, (written, _) in given.items()})
    settings = kind(**values)
    problems += _missing_homes(settings)
    if problems:
        raise UsageError("settings: " + "; ".join(problems))
    return settings


class Described(msgspec.Struct, frozen=True):
    """A setting: its variable, its value, its default, and its documentation."""

    variable: str
    value: Any
    default: Any
    description: str
    expected: str


def describe(settings: RegistrySettings) -> list[Described]:
    """Describe every setting of a program, in the order of declaration."""
    return [
        Described(
            variable_of(field.name),
            getattr(settings, field.name),
            field.default,
            next(meta.description or "" for meta in field.type.__metadata__ if meta.extra),
            expected(field.type),
        )
        for field in msgspec.structs.fields(settings)
    ]


def variable_of(name: str) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + name.upper()


def expected(annotation: Any) -> str:
    """Return the values that a setting takes, in words, from its annotation."""
    for meta in annotation.__metadata__:
        if meta.extra:
            return str(meta.extra["expected"])
    raise TypeError(f"{annotation!r} is not annotated by `setting`")


def secret_names(kind: type[RegistrySettings]) -> frozenset[str]:
    """Return the settings whose values are never shown."""
    fields = msgspec.structs.fields(kind)
    return frozenset(field.name for field in fields if "Secret" in str(field.type))


def _to_secret(_: type, value: object) -> Secret:
    if not isinstance(value, str):
        raise ValueError("not a text")
    return Secret(value)


def _read_secrets(given: dict[str, _Given], secrets: frozenset[str], problems: list[str]) -> None:
    """Replace each `…_file` of a secret by what the file contains, less a line break at its end."""
    for secret in secrets:
        if secret + FILE_SUFFIX not in given:
            continue
        written, path = given.pop(secret + FILE_SUFFIX)
        if secret in given:
            problems.append(f"{written} and {given[secret][0]} exclude each other: remove one")
            continue
        try:
            content = Path(path).read_text("utf-8")
            given[secret] = (written, content.removesuffix("\n").removesuffix("\r"))
        except (OSError, TypeError, ValueError):
            problems.append(f"{written}={path!r}: expected a file that can be read")
            given[secret] = (written, "not read")


def _is_readable_file(path: str) -> bool:
    return Path(path).is_file() and os.access(path, os.R_OK)


def _missing_homes(settings: RegistrySettings) -> list[str]:
    problems = []
    for name in ("registry", "cache"):
        value = getattr(settings, name)
        try:
            Path(value.removeprefix("file:").removeprefix("//")).expanduser()
        except RuntimeError:
            problems.append(f"{variable_of(name)}={value!r}: there is no such home folder")
    return problems


def _read_toml(path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{FILE_VARIABLE}={path!r}: expected a TOML file: {error}") from error

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta

from shared.errors import UsageError
from shared.secret import Secret
from shared.settings import (
    FILE_VARIABLE,
    RegistrySettings,
    expected,
    read_settings,
    secret_names,
    setting,
)


class Settings(RegistrySettings, frozen=True, kw_only=True):
    size: Annotated[Annotated[int, Meta(ge=1)], setting("a whole number from 1", "a size")] = 8
    color: Annotated[str, setting("a color", "a color")] = "red"
    key_file: Annotated[str | None, setting("a file", "a key")] = None
    password: Annotated[Secret | None, setting("a line of text", "a password")] = None


def refusal(environment: dict[str, str], **options: Any) -> str:
    with pytest.raises(UsageError) as caught:
        read_settings(Settings, environment, **options)
    return str(caught.value)


def test_defaults() -> None:
    assert read_settings(Settings, {"PATH": "/bin", "TRIAG_X": "1"}) == Settings()
    assert read_settings(Settings, {FILE_VARIABLE: ""}) == Settings()


def test_environment_goes_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('size = 7\ncolor = "blue"\n')
    settings = read_settings(Settings, {FILE_VARIABLE: str(file), "TRIAGE_SIZE": "9"})
    assert (settings.size, settings.color, settings.registry) == (9, "blue", Settings().registry)


def test_environment_repairs_a_bad_value_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('size = "many"\npassword_file = "/no/such/file"\n')
    environment = {FILE_VARIABLE: str(file), "TRIAGE_SIZE": "9", "TRIAGE_PASSWORD": "x"}
    assert read_settings(Settings, environment).size == 9


def test_all_problems_are_in_one_message(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('size = "many"\nport = 5\n[kafka]\nservers = "a:1"\n')
    environment = {FILE_VARIABLE: str(file), "TRIAGE_KEY_FILE": "/no/such", "TRIAGE_COLOUR": "red"}
    names = "TRIAGE_REGISTRY, TRIAGE_CACHE, TRIAGE_SIZE, TRIAGE_COLOR, TRIAGE_KEY_FILE"
    assert refusal(environment, check=lambda values, given: [f"{values} {given}"]).split("; ") == [
        f"settings: {file}: size='many': expected a whole number from 1",
        f"{file}: port is not a setting: expected one of {names}, TRIAGE_PASSWORD",
        f"{file}: kafka is not a setting: expected one of {names}, TRIAGE_PASSWORD",
        "TRIAGE_KEY_FILE='/no/such': expected a file that can be read",
        "TRIAGE_COLOUR is not a setting: did you mean TRIAGE_COLOR?",
        "{'key_file': '/no/such'} "
        f"{{'size': '{file}: size', 'port': '{file}: port', 'kafka': '{file}: kafka', "
        "'key_file': 'TRIAGE_KEY_FILE', 'colour': 'TRIAGE_COLOUR'}",
    ]


def test_unknown_names_can_be_ignored_but_not_misspelt_ones() -> None:
    environment = {"TRIAGE_PORT": "5", "TRIAGE_KAFKA": "a"}
    assert read_settings(Settings, environment, ignore_unknown=True) == Settings()
    assert refusal(environment | {"TRIAGE_REGISTER": "file:x"}, ignore_unknown=True) == (
        "settings: TRIAGE_REGISTER is not a setting: did you mean TRIAGE_REGISTRY?"
    )


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_secret_of_a_file(tmp_path: Path, end: str) -> None:
    path = tmp_path / "password"
    path.write_bytes(f"corr3ct h0rse{end}".encode())
    file = tmp_path / "settings.toml"
    file.write_text(f'password_file = "{path}"')
    environments: list[Mapping[str, str]] = [
        {"TRIAGE_PASSWORD_FILE": str(path)},
        {FILE_VARIABLE: str(file)},
    ]
    for environment in environments:
        assert read_settings(Settings, environment).password == Secret("corr3ct h0rse")


@pytest.mark.parametrize("content", [b"", b"\n", b"two\nlines\n", b"one\n\n", b"nul\0"])
def test_file_that_contains_no_secret(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "password"
    path.write_bytes(content)
    found = refusal({"TRIAGE_PASSWORD_FILE": str(path)})
    assert found == "settings: TRIAGE_PASSWORD_FILE: expected a line of text"


def test_secret_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff")
    for path in (tmp_path, tmp_path / "none", tmp_path / "binary"):
        assert refusal({"TRIAGE_PASSWORD_FILE": str(path)}) == (
            f"settings: TRIAGE_PASSWORD_FILE={str(path)!r}: expected a file that can be read"
        )
    file = tmp_path / "settings.toml"
    file.write_text("password_file = 5")
    assert refusal({FILE_VARIABLE: str(file)}) == (
        f"settings: {file}: password_file=5: expected a file that can be read"
    )


def test_secret_given_twice() -> None:
    environment = {"TRIAGE_PASSWORD": "corr3ct", "TRIAGE_PASSWORD_FILE": "/h0rse"}
    assert refusal(environment) == (
        "settings: TRIAGE_PASSWORD_FILE and TRIAGE_PASSWORD exclude each other: remove one"
    )


def test_only_secrets_have_a_file() -> None:
    assert secret_names(Settings) == {"password"}
    assert "TRIAGE_COLOR_FILE is not a setting" in refusal({"TRIAGE_COLOR_FILE": "/dev/null"})


@pytest.mark.parametrize("content", [b"a = ", b"size: 5", b"\xff", b'x = "\0"'])
def test_malformed_file(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "settings.toml"
    file.write_bytes(content)
    message = refusal({FILE_VARIABLE: str(file)})
    assert message.startswith(f"{FILE_VARIABLE}={str(file)!r}: expected a TOML file: ")


def test_missing_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        message = refusal({FILE_VARIABLE: str(path)})
        assert message.startswith(f"{FILE_VARIABLE}={str(path)!r}: expected a TOML file: ")


@pytest.mark.parametrize(
    ("name", "value"),
    [("REGISTRY", "file:~nobody-of-this-name/a"), ("CACHE", "~nobody-of-this-name")],
)
def test_home_folder_that_is_not_there(name: str, value: str) -> None:
    assert refusal({f"TRIAGE_{name}": value}) == (
        f"settings: TRIAGE_{name}={value!r}: there is no such home folder"
    )


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        read_settings(Settings, {}).size = 5  # type: ignore[misc]


def test_setting_without_a_description() -> None:
    with pytest.raises(TypeError):
        expected(Annotated[int, Meta(ge=1)])
    assert msgspec.structs.fields(Settings)

import msgspec
import pytest

from shared.errors import UsageError
from shared.settings import variable_of
from trainer.settings import Settings, read_settings
from worker.settings import Settings as WorkerSettings


def test_own_settings() -> None:
    environment = {"TRIAGE_REGISTRY": "file:/models", "TRIAGE_CACHE": "/cache"}
    assert read_settings(environment) == Settings(registry="file:/models", cache="/cache")


def test_settings_of_the_worker_are_ignored() -> None:
    own = {field.name for field in msgspec.structs.fields(Settings)}
    others = [
        field.name for field in msgspec.structs.fields(WorkerSettings) if field.name not in own
    ]
    assert len(others) > 10
    assert read_settings({variable_of(name): "bad value" for name in others}) == Settings()


@pytest.mark.parametrize(
    ("given", "meant"),
    [("REGISTRI", "REGISTRY"), ("REGISTRY_URL", "REGISTRY"), ("CACHE_DIR", "CACHE")],
)
def test_misspelt_setting(given: str, meant: str) -> None:
    problem = f"settings: TRIAGE_{given} is not a setting: did you mean TRIAGE_{meant}\\?"
    with pytest.raises(UsageError, match=problem):
        read_settings({f"TRIAGE_{given}": "x"})

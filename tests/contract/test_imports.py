import ast
import shutil
import subprocess
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import ROOT

OURS = {"shared", "trainer", "worker", "tests"}


def modules(package: str) -> list[str]:
    """Return the package's source files, relative to the repository."""
    found = [str(path.relative_to(ROOT)) for path in sorted((ROOT / package).rglob("*.py"))]
    assert found
    return found


SOURCES = [*modules("shared"), *modules("trainer"), *modules("worker")]


def imported(file: str) -> set[str]:
    """Return the top-level packages that a file imports, at its head or within a function."""
    names: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import in line {node.lineno}"
            names.add((node.module or "").split(".")[0])
    return names


def imported_modules(file: str) -> set[str]:
    """Return the modules of `shared` that a file imports, at its head or within a function."""
    names: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def importers(package: str) -> set[str]:
    return {file for file in SOURCES if package in imported(file)}


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("shared", {"shared"}),
        ("trainer", {"shared", "trainer"}),
        ("worker", {"shared", "worker"}),
    ],
)
def test_trainer_and_worker_meet_in_shared_alone(package: str, allowed: set[str]) -> None:
    found = {file: imported(file) & OURS - allowed for file in modules(package)}
    assert {file: names for file, names in found.items() if names} == {}
    assert any(imported(file) & allowed for file in modules(package))


def test_shared_has_no_circle_of_imports() -> None:
    names = {file.removesuffix(".py").replace("/", "."): file for file in modules("shared")}
    graph = {name: imported_modules(file) & names.keys() for name, file in names.items()}
    assert len([name for name in graph if graph[name]]) > 10
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError
    rooms = {name: name.split(".")[1] for name in order if name.count(".") == 2}
    of_rooms = {room: set[str]() for room in rooms.values()}
    for name, room in rooms.items():
        of_rooms[room] |= {rooms[other] for other in graph[name] if other in rooms} - {room}
    assert list(TopologicalSorter(of_rooms).static_order()) == [
        "text",
        "model",
        "bundle",
        "registry",
    ]


def test_kafka_is_imported_at_one_edge() -> None:
    folders = {str(Path(file).parent) for file in importers("kafka")}
    assert folders == {"worker/kafka"}


def test_tensorflow_is_imported_at_one_edge() -> None:
    assert importers("tensorflow") == importers("keras") == {"shared/model/keras_model.py"}


def test_wandb_is_imported_at_two_edges() -> None:
    shared = {f"shared/registry/wandb_{name}.py" for name in ("client", "download", "registry")}
    elsewhere = importers("wandb") - shared
    assert {str(Path(file).parent) for file in elsewhere} == {"trainer/tracking"}


def test_top_level_of_the_repository() -> None:
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a checkout")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    assert listed.returncode == 0, listed.stderr
    top = {line.split("/")[0] for line in listed.stdout.splitlines()}
    expected = {"worker", "trainer", "shared", "tests", "pyproject.toml", "README.md", "LICENSE"}
    assert expected <= top
    assert {name for name in top - expected if not name.startswith(".")} <= {"deploy"}

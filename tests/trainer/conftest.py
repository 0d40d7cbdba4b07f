"""What the tests of the program share: a call of it on a registry that they may change."""

import csv
import io
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from shared.registry.folder import FolderRegistry
from tests.conftest import SAMPLE, Trained
from trainer import cli


class Ran(msgspec.Struct, frozen=True):
    """How a call of the program ended."""

    code: int
    out: str
    err: str

    def is_refused(self, code: int, *named: str) -> None:
        """Assert that it failed with this code and one line that names the problem."""
        assert (self.code, self.out) == (code, "")
        assert self.err.startswith("error: ")
        assert self.err.endswith("\n")
        assert len(self.err.splitlines()) == 1
        for name in named:
            assert name in self.err


Program = Callable[..., Ran]


@pytest.fixture
def registry(trained: Trained, tmp_path: Path) -> FolderRegistry:
    """Return a copy of the trained registry, for a test to change."""
    return FolderRegistry(Path(shutil.copytree(trained.registry.folder, tmp_path / "registry")))


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """Return the first 100 tweets of the sample."""
    with SAMPLE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[:101]
    path = tmp_path / "few.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.fixture
def environment(registry: FolderRegistry, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Return environment variables that name the copied registry and no other setting of ours."""
    for name in list(os.environ):
        if name.startswith("TRIAGE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TRIAGE_REGISTRY", registry.url)
    monkeypatch.setenv("TRIAGE_CACHE", str(registry.folder.parent / "cache"))
    return monkeypatch


@pytest.fixture
def program(environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Program:
    """Call the program with some arguments and standard input."""

    def call(*arguments: str | Path, stdin: bytes = b"") -> Ran:
        environment.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), "utf-8"))
        capsys.readouterr()
        code = cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return call

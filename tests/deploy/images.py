"""Carries out a Dockerfile's instructions in a folder, without Docker."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from dockerfile_parse import DockerfileParser

Instruction = dict[str, Any]


class Stages:
    """A Dockerfile's stages.

    They are all laid into one folder. That is faithful where, as in ours, none changes what another
    has made, and it spares the copies between them. Each path of the Dockerfile that begins with
    one of `moved` is meant within that folder.

    Args:
        overrides: environment variables that replace those of ENV.

    Attributes:
        carried_out: the instructions that were, as they are written.
    """

    moved = ("/opt/", "/usr/local/bin/", "/wheels")

    def __init__(
        self, dockerfile: Path, context: Path, root: Path, overrides: dict[str, str]
    ) -> None:
        self._context = context
        self._root = root
        self._workdir = root
        ours = ("PYTHON", "TRIAGE_", "VIRTUAL_ENV")  # how packages are reached stays as it is
        self._outer = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
        self._outer["PATH"] = f"{root}/usr/local/bin:/usr/bin:/bin"
        self._done: set[str] = set()
        self.carried_out: list[str] = []
        self._overrides = overrides
        self._stages: dict[str, tuple[str, list[Instruction]]] = {}
        for step in read(dockerfile):
            if step["instruction"] == "FROM":
                base, _, name = step["value"].split()
                self._stages[name] = (base, [])
            elif self._stages:
                self._stages[name][1].append(step)

    def instructions(self, name: str) -> list[Instruction]:
        """A stage's instructions, those of the stages that it is built from first."""
        base, own = self._stages[name]
        return (self.instructions(base) if base in self._stages else []) + own

    def last(self, name: str, instruction: str) -> str:
        """The value of the last instruction of a kind, which is the one in force."""
        steps = self.instructions(name)
        values: list[str] = [s["value"] for s in steps if s["instruction"] == instruction]
        return values[-1]

    def environment_of(self, name: str) -> dict[str, str]:
        """What the instructions ENV of a stage set."""
        values = [s["value"] for s in self.instructions(name) if s["instruction"] == "ENV"]
        return dict(word.split("=", 1) for value in values for word in value.split())

    def carry_out(self, name: str) -> None:
        """Carries out RUN, COPY, ENV and WORKDIR of a stage, after those of its base."""
        if name in self._done:
            return
        self._done.add(name)
        base, steps = self._stages[name]
        if base in self._stages:
            self.carry_out(base)
        for step in steps:
            self._carry_out(name, step["instruction"], step["value"])
            self.carried_out.append(step["content"])

    def _carry_out(self, stage: str, instruction: str, value: str) -> None:
        if instruction == "WORKDIR":
            self._workdir = self._within(value)
            self._workdir.mkdir(parents=True, exist_ok=True)
        elif instruction == "ENV":
            pass  # a RUN asks for all of them
        elif instruction == "COPY":
            *sources, target = value.split()
            for source in sources:
                self._copy(source, target)
        elif instruction == "RUN":
            words = value.split(" ")
            command = " ".join(word for word in words if not word.startswith("--mount="))
            for path in self.moved:
                command = command.replace(f" {path}", f" {self._root}{path}")
            subprocess.run(
                ["/bin/sh", "-euc", command],
                cwd=self._workdir,
                env=self._outer | self.environment_of(stage) | self._overrides,
                check=True,
            )
        else:
            raise NotImplementedError(instruction)

    def _copy(self, source: str, target: str) -> None:
        found = self._context / source
        if found.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(found, self._workdir / target, ignore=ignored)
        else:
            folder = self._workdir / target
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(found, folder)

    def _within(self, path: str) -> Path:
        return self._root / path.lstrip("/")


def read(dockerfile: Path) -> list[Instruction]:
    """The instructions, in order; comments are left out."""
    steps = [dict(step) for step in DockerfileParser(str(dockerfile)).structure]
    return [step for step in steps if step["instruction"] != "COMMENT"]

"""What the server knows: runs, artifacts, the collections that hold them, and stored bytes."""

import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

ENTITY = "storm-team"
"""The team that may log runs."""
ORGANISATION = "storm"
ORG_ENTITY = "storm-org"
"""The entity of the team's organisation, which owns its registries."""
USER = "storm-user"
KEY = "k" * 40
REGISTRY_PREFIX = "wandb-registry-"
REGISTRIES = ("dataset", "model")
"""Those that every organisation has; others are not there, as an administrator has to make them."""

_ids = itertools.count(1)  # never starts again, because the client caches what it fetched by id


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def new_id(kind: str) -> str:
    return f"{kind}:{next(_ids)}"


class RefusedError(Exception):
    """A request that W&B would answer with an error of the application."""


@dataclass
class Run:
    """A run; `name` is its id in addresses, `display_name` what people see."""

    entity: str
    project: str
    name: str
    display_name: str
    id: str = field(default_factory=lambda: new_id("Run"))
    config: dict[str, Any] = field(default_factory=dict)  # values, without W&B's own `_wandb`
    raw_config: dict[str, Any] = field(default_factory=dict)
    group: str | None = None
    job_type: str | None = None
    notes: str | None = None
    commit: str | None = None
    program: str | None = None
    repo: str | None = None
    sweep: str | None = None
    tags: list[str] = field(default_factory=list)
    state: str = "running"
    exit_code: int | None = None
    created: str = field(default_factory=now)
    history: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    used: list["Artifact"] = field(default_factory=list)
    logged: list["Artifact"] = field(default_factory=list)  # those that were there before as well

    @property
    def path(self) -> str:
        return f"{self.entity}/{self.project}/{self.name}"


@dataclass
class Artifact:
    """An artifact, at `index` of the sequence it was logged to."""

    sequence: "Collection"
    index: int
    digest: str
    algorithm: str
    description: str | None
    metadata: str | None
    created_by: Run | None
    aliases: list[str]
    id: str = field(default_factory=lambda: new_id("Artifact"))
    state: Literal["PENDING", "COMMITTED"] = "PENDING"
    manifest: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    created: str = field(default_factory=now)

    @property
    def contents(self) -> dict[str, dict[str, Any]]:
        """Member → digest (MD5 in base64), size, and for a reference its `ref`."""
        found: dict[str, dict[str, Any]] = self.manifest.get("contents", {})
        return found


@dataclass
class Sweep:
    """A sweep, and the parameters of the runs that it has asked agents for, by run id."""

    entity: str
    project: str
    name: str
    config: dict[str, Any]
    id: str = field(default_factory=lambda: new_id("Sweep"))
    state: str = "RUNNING"
    trials: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass
class Collection:
    """A sequence, to which artifacts are logged, or a portfolio, to which they are linked."""

    kind: Literal["ArtifactSequence", "ArtifactPortfolio"]
    entity: str
    project: str
    name: str
    type: str
    id: str = field(default_factory=lambda: new_id("ArtifactCollection"))
    members: list[Artifact] = field(default_factory=list)
    linked: list[str] = field(default_factory=list)  # when, by member
    aliases: dict[str, Artifact] = field(default_factory=dict)

    def add(self, artifact: Artifact) -> int:
        """Add the artifact unless it is there, and return its index in the collection."""
        if artifact not in self.members:
            self.members.append(artifact)
            self.linked.append(now())
        self.aliases["latest"] = self.members[-1]
        return self.members.index(artifact)

    def find(self, alias: str) -> Artifact | None:
        """Return the member that an alias, or a version such as `v0`, names."""
        if alias.startswith("v") and alias[1:].isdigit():
            return self.members[int(alias[1:])] if int(alias[1:]) < len(self.members) else None
        return self.aliases.get(alias)

    def aliases_of(self, artifact: Artifact) -> list[str]:
        return sorted(alias for alias, meant in self.aliases.items() if meant is artifact)


class Store:
    """Everything, and how to find it."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}  # by path
        self.artifacts: dict[str, Artifact] = {}  # by id
        self.collections: dict[tuple[str, str, str], Collection] = {}  # by entity, project, name
        self.manifests: dict[str, Artifact] = {}  # by the manifest's id
        self.projects: dict[tuple[str, str], int] = {}  # its internal id
        self.sweeps: dict[str, Sweep] = {}  # by name
        self.agents: dict[str, Sweep] = {}  # by the agent's id
        self.read_only: set[str] = set()  # projects of the entity that this key may not change
        for registry in REGISTRIES:
            self.add_project(ORG_ENTITY, REGISTRY_PREFIX + registry)

    def add_project(self, entity: str, name: str) -> None:
        if entity not in (ENTITY, ORG_ENTITY):
            raise RefusedError(f"entity {entity} not found")
        self.projects.setdefault((entity, name), next(_ids))

    def run(self, entity: str, project: str, name: str) -> Run:
        try:
            return self.runs[f"{entity}/{project}/{name}"]
        except KeyError:
            raise RefusedError(f"run {entity}/{project}/{name} not found") from None

    def run_by_id(self, run_id: str) -> Run:
        for run in self.runs.values():
            if run.id == run_id:
                return run
        raise RefusedError(f"run {run_id} not found")

    def sweep(self, name: str) -> Sweep:
        try:
            return self.sweeps[name]
        except KeyError:
            raise RefusedError(f"sweep {name} not found") from None

    def artifact(self, artifact_id: str) -> Artifact:
        try:
            return self.artifacts[artifact_id]
        except KeyError:
            raise RefusedError(f"artifact {artifact_id} not found") from None

    def collection(self, entity: str, project: str, name: str) -> Collection:
        try:
            return self.collections[entity, project, name]
        except KeyError:
            raise RefusedError(f"collection {entity}/{project}/{name} not found") from None

"""The operations on runs: begin, log, finish, list."""

import json
from collections.abc import Callable
from typing import Any

from tests.wandb.server.store import ENTITY, USER, Run, Store

Answer = dict[str, Any]
FEATURES = (
    "ARTIFACT_COLLECTION_MEMBERSHIP_FILES",
    "ARTIFACT_DIGEST_ALGORITHM",
    "ARTIFACT_MEMBERSHIP_IN_LINK_ARTIFACT_RESPONSE",
    "CLIENT_IDS",
)


class Runs:
    """Each method answers one GraphQL operation, of its own name, from the operation's variables.

    Args:
        url: of the server, where files are uploaded to and downloaded from.
    """

    def __init__(self, store: Store, url: str) -> None:
        self._store = store
        self._url = url

    def viewer(self, _: Answer) -> Answer:
        team = {"node": {"id": "Entity:1", "name": ENTITY}}
        return {
            "viewer": {
                "id": "User:1",
                "entity": ENTITY,
                "username": USER,
                "name": USER,
                "email": f"{USER}@localhost",
                "admin": False,
                "deletedAt": None,
                "apiKeys": None,
                "flags": "{}",
                "teams": {"edges": [team]},
            }
        }

    def get_viewer(self, variables: Answer) -> Answer:
        return self.viewer(variables)

    def get_default_entity(self, variables: Answer) -> Answer:
        return self.viewer(variables)

    def server_features_query(self, _: Answer) -> Answer:
        features = [{"name": name, "isEnabled": True} for name in FEATURES]
        return {"serverInfo": {"features": features}}

    def is_project_read_only(self, variables: Answer) -> Answer:
        there = (variables["entity"], variables["project"]) in self._store.projects
        read_only = variables["project"] in self._store.read_only
        return {"project": {"readOnly": read_only} if there else None}

    def upsert_bucket(self, variables: Answer) -> Answer:
        run, inserted = self._run_to_write(variables)
        told = {name: value for name, value in variables.items() if value not in (None, "")}
        if "config" in told:
            run.raw_config = json.loads(told["config"])
            run.config = {
                name: entry["value"] if isinstance(entry, dict) and "value" in entry else entry
                for name, entry in run.raw_config.items()
                if name != "_wandb"
            }
        if "summaryMetrics" in told:
            run.summary |= json.loads(told["summaryMetrics"])
        run.display_name = told.get("displayName", told.get("display_name", run.display_name))
        run.group = told.get("groupName", run.group)
        run.job_type = told.get("jobType", run.job_type)
        for name in ("notes", "commit", "program", "repo", "sweep", "tags", "state"):
            setattr(run, name, told.get(name, getattr(run, name)))
        return {"upsertBucket": {"bucket": self._bucket(run), "inserted": inserted}}

    def _run_to_write(self, variables: Answer) -> tuple[Run, bool]:
        if variables.get("id"):
            return self._store.run_by_id(variables["id"]), False
        entity = variables.get("entity") or ENTITY
        project = variables.get("project") or "uncategorized"
        self._store.add_project(entity, project)
        name = variables["name"]
        new = Run(entity, project, name, variables.get("displayName") or name)
        run = self._store.runs.setdefault(new.path, new)
        return run, run is new

    def run_resume_status(self, variables: Answer) -> Answer:
        entity, project = variables.get("entity") or ENTITY, variables["project"]
        run = self._store.runs.get(f"{entity}/{project}/{variables['name']}")
        if (entity, project) not in self._store.projects:
            return {"model": None}
        info = self._project(entity, project)
        return {"model": {**info, "bucket": self._bucket(run) if run else None}}

    def create_run_files(self, variables: Answer) -> Answer:
        run = self._store.run(variables["entity"], variables["project"], variables["run"])
        files = [
            {"name": name, "uploadUrl": f"{self._url}/storage/run/{run.path}/{name}"}
            for name in variables["files"]
        ]
        return {"createRunFiles": {"runID": run.id, "uploadHeaders": [], "files": files}}

    def mark_run_files_uploaded(self, _: Answer) -> Answer:
        return {"markRunFilesUploaded": {"success": True}}

    def run_state(self, variables: Answer) -> Answer:
        return self.run(variables)

    def run(self, variables: Answer) -> Answer:
        found = self._find(variables)
        return {"project": {"internalId": "1", "run": found and self._bucket(found)}}

    def run_history_keys(self, variables: Answer) -> Answer:
        return self.run(variables)

    def run_full_history(self, variables: Answer) -> Answer:
        run = self._find(variables)
        if run is None:
            return {"project": {"run": None}}
        told = {"history": run.history, "events": run.events}
        lines = {name: [json.dumps(row) for row in rows] for name, rows in told.items()}
        return {"project": {"run": lines}}

    def run_files(self, variables: Answer) -> Answer:
        run = self._find(variables)
        if run is None:
            return {"project": {"internalId": "1", "run": None}}
        asked = variables.get("fileNames")
        edges = [
            {
                "cursor": name,
                "node": {
                    "__typename": "File",
                    "id": f"{run.id}/{name}",
                    "name": name,
                    "url": f"{self._url}/files/{run.path}/{name}",
                    "directUrl": f"{self._url}/files/{run.path}/{name}",
                    "sizeBytes": len(content),
                    "mimetype": None,
                    "updatedAt": run.created,
                    "md5": None,
                },
            }
            for name, content in run.files.items()
            if not asked or name in asked
        ]
        files = {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}}
        return {"project": {"internalId": "1", "run": {"fileCount": len(edges), "files": files}}}

    def runs(self, variables: Answer) -> Answer:
        entity, project = variables["entity"], variables["project"]
        if (entity, project) not in self._store.projects:
            return {"project": None}
        matches = matcher(json.loads(variables.get("filters") or "{}"))
        found = [
            run
            for run in self._store.runs.values()
            if (run.entity, run.project) == (entity, project) and matches(run)
        ]
        if (variables.get("order") or "").startswith("-"):
            found.reverse()
        edges = [{"node": self._bucket(run), "cursor": run.id} for run in found]
        return {
            "project": {
                "internalId": str(self._store.projects[entity, project]),
                "runCount": len(found),
                "readOnly": False,
                "runs": {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}},
            }
        }

    def stream(self, run: Run, body: Answer) -> None:
        """Store what a run posts while it goes on."""
        for name, chunk in (body.get("files") or {}).items():
            lines = chunk["content"]
            if name == "wandb-history.jsonl":
                _put(run.history, chunk.get("offset", 0), [json.loads(line) for line in lines])
            elif name == "wandb-events.jsonl":
                _put(run.events, chunk.get("offset", 0), [json.loads(line) for line in lines])
            elif name == "wandb-summary.json" and lines:
                run.summary = json.loads(lines[-1])
            elif name == "output.log":
                _put(run.log, chunk.get("offset", 0), lines)
        if body.get("complete"):
            run.exit_code = body.get("exitcode", 0)
            run.state = "finished" if run.exit_code == 0 else "failed"

    def _find(self, variables: Answer) -> Run | None:
        name = variables.get("name") or variables.get("run")
        return self._store.runs.get(f"{variables['entity']}/{variables['project']}/{name}")

    def _project(self, entity: str, name: str) -> Answer:
        internal = str(self._store.projects[entity, name])
        return {
            "id": f"Project:{internal}",
            "internalId": internal,
            "name": name,
            "entity": {"id": f"Entity:{entity}", "name": entity},
        }

    def _bucket(self, run: Run) -> Answer:
        return {
            "__typename": "Run",
            "id": run.id,
            "name": run.name,
            "displayName": run.display_name,
            "description": "",
            "notes": run.notes,
            "config": json.dumps(run.raw_config),
            "wandbConfig": json.dumps(_telemetry(run)),
            "summaryMetrics": json.dumps(run.summary),
            "systemMetrics": "{}",
            "tags": run.tags,
            "group": run.group,
            "jobType": run.job_type,
            "sweepName": run.sweep,
            "commit": run.commit,
            "state": run.state,
            "readOnly": False,
            "createdAt": run.created,
            "heartbeatAt": run.created,
            "historyLineCount": len(run.history),
            "eventsLineCount": len(run.events),
            "logLineCount": len(run.log),
            "historyTail": json.dumps([json.dumps(row) for row in run.history[-1:]]),
            "eventsTail": json.dumps([json.dumps(row) for row in run.events[-1:]]),
            "historyKeys": _history_keys(run),
            "user": {"name": USER, "username": USER},
            "projectId": str(self._store.projects[run.entity, run.project]),
            "project": self._project(run.entity, run.project),
        }


def _put(kept: list[Any], offset: int, new: list[Any]) -> None:
    """Replace or append lines: a repeated request replaces its own lines."""
    kept[offset : offset + len(new)] = new


def _telemetry(run: Run) -> Answer:
    """Return what tells a client that a run has begun and may be resumed."""
    told: Answer = run.raw_config.get("_wandb", {}).get("value", {})
    return {name: value for name, value in told.items() if name == "t"}


def _history_keys(run: Run) -> Answer:
    keys = sorted({name for row in run.history for name in row})
    last = max((row.get("_step", 0) for row in run.history), default=0)
    return {"lastStep": last, "keys": {name: {"typeCounts": []} for name in keys}}


def matcher(filters: Answer) -> Callable[[Run], bool]:
    """Return a filter for the MongoDB queries of runs: fields, `$in`, `$and`, `$or`."""
    fields: dict[str, Callable[[Run], Any]] = {
        "group": lambda run: run.group,
        "jobType": lambda run: run.job_type,
        "state": lambda run: run.state,
        "sweep": lambda run: run.sweep,
        "name": lambda run: run.name,
        "displayName": lambda run: run.display_name,
        "display_name": lambda run: run.display_name,
    }

    def value(run: Run, name: str) -> Any:
        if name.startswith("config."):
            return run.config.get(name.removeprefix("config.").removesuffix(".value"))
        return fields[name](run)

    def matches(run: Run, asked: Answer) -> bool:
        for name, wanted in asked.items():
            if name == "$and":
                holds = all(matches(run, part) for part in wanted)
            elif name == "$or":
                holds = any(matches(run, part) for part in wanted)
            elif isinstance(wanted, dict):
                holds = value(run, name) in wanted["$in"]
            else:
                holds = value(run, name) == wanted
            if not holds:
                return False
        return True

    return lambda run: matches(run, filters)

"""The operations on artifacts: create, upload, commit, link, find, alias, download, list."""

import base64
import hashlib
import json
from typing import Any
from urllib.parse import quote

from tests.wandb.server.store import (
    ENTITY,
    ORG_ENTITY,
    ORGANISATION,
    Artifact,
    Collection,
    RefusedError,
    Store,
    new_id,
)

Answer = dict[str, Any]
PAGE_END = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}


class Artifacts:
    """Each method answers one GraphQL operation, of its own name, from the operation's variables.

    Args:
        url: of the server, where files are uploaded to and downloaded from.
    """

    def __init__(self, store: Store, url: str) -> None:
        self._store = store
        self._url = url

    # Log: `create_artifact` … `commit_artifact`.

    def artifact_type(self, variables: Answer) -> Answer:
        entity, project = variables["entity"], variables["project"]
        collection = self._store.collections.get((entity, project, _name(variables["name"])))
        found = collection and {"artifactType": {"name": collection.type}}
        return {"project": {"artifact": found}}

    def fetch_artifact_digest_algorithm(self, _: Answer) -> Answer:
        return {"project": None}

    def create_artifact(self, variables: Answer) -> Answer:
        given = variables.get("input", variables)
        entity, project = given["entityName"], given["projectName"]
        (name,) = given.get("artifactCollectionNames") or [given["artifactCollectionName"]]
        if (entity, project) not in self._store.projects:
            raise RefusedError(f"project {entity}/{project} not found")
        new = Collection("ArtifactSequence", entity, project, name, given["artifactTypeName"])
        sequence = self._store.collections.setdefault((entity, project, name), new)
        if sequence.type != given["artifactTypeName"]:
            raise RefusedError(f"collection {name} is of type {sequence.type}")
        latest = sequence.aliases.get("latest")
        run_name = given.get("runName")
        if latest is not None and latest.digest == given["digest"]:
            artifact = latest
            self._alias(sequence, artifact, _aliases(given))
        else:
            artifact = Artifact(
                sequence=sequence,
                index=-1,
                digest=given["digest"],
                algorithm=given.get("digestAlgorithm") or "MANIFEST_MD5",
                description=given.get("description"),
                metadata=given.get("metadata"),
                created_by=self._store.run(entity, project, run_name) if run_name else None,
                aliases=_aliases(given),
            )
            self._store.artifacts[artifact.id] = artifact
        if run_name:
            self._store.run(entity, project, run_name).logged.append(artifact)
        before = latest and {"id": latest.id, "versionIndex": latest.index}
        told = {"id": artifact.id, "state": artifact.state}
        sequence_info = {"id": sequence.id, "latestArtifact": before}
        return {"createArtifact": {"artifact": {**told, "artifactSequence": sequence_info}}}

    def create_artifact_manifest(self, variables: Answer) -> Answer:
        artifact = self._store.artifact(variables["artifactID"])
        manifest_id = new_id("ArtifactManifest")
        self._store.manifests[manifest_id] = artifact
        return {"createArtifactManifest": {"artifactManifest": self._manifest(manifest_id)}}

    def update_artifact_manifest(self, variables: Answer) -> Answer:
        manifest_id = variables["artifactManifestID"]
        return {"updateArtifactManifest": {"artifactManifest": self._manifest(manifest_id)}}

    def _manifest(self, manifest_id: str) -> Answer:
        url = f"{self._url}/storage/manifest/{quote(manifest_id)}"
        file = {"id": f"File:{manifest_id}", "uploadUrl": url, "uploadHeaders": []}
        return {"id": manifest_id, "file": file}

    def create_artifact_files(self, variables: Answer) -> Answer:
        edges = []
        for asked in variables["input"]["artifactFiles"]:
            artifact = self._store.artifact(asked["artifactID"])
            path = f"artifact/{artifact.id}/{asked['name']}"
            node: Answer = {
                "storagePath": path,
                "uploadUrl": f"{self._url}/storage/{quote(path)}",
                "uploadHeaders": [],
                "uploadMultipartUrls": None,
                "artifact": {"id": artifact.id},
            }
            edges.append({"node": node})
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def commit_artifact(self, variables: Answer) -> Answer:
        artifact = self._store.artifact(variables["artifactID"])
        for name, entry in artifact.contents.items():
            if "ref" in entry:
                continue
            stored = artifact.files.get(name)
            if stored is None or _md5(stored) != entry["digest"]:
                raise RefusedError(f"{name} was not uploaded as the manifest says")
        artifact.state = "COMMITTED"
        artifact.index = artifact.sequence.add(artifact)
        self._alias(artifact.sequence, artifact, artifact.aliases)
        return {"commitArtifact": {"artifact": {"id": artifact.id, "digest": artifact.digest}}}

    def use_artifact(self, variables: Answer) -> Answer:
        given = variables.get("input", variables)
        artifact = self._store.artifact(given["artifactID"])
        run = self._store.run(given["entityName"], given["projectName"], given["runName"])
        run.used.append(artifact)
        return {"useArtifact": {"artifact": self._artifact(artifact)}}

    # Link to a registry, and aliases.

    def fetch_org_info_from_entity(self, variables: Answer) -> Answer:
        if variables["entity"] not in (ENTITY, ORG_ENTITY):
            return {"entity": None}
        organisation = {"name": ORGANISATION, "orgEntity": {"name": ORG_ENTITY}}
        return {"entity": {"organization": organisation, "user": None}}

    def organization_core_weave_organization_id(self, _: Answer) -> Answer:
        return {"organization": None}

    def link_artifact(self, variables: Answer) -> Answer:
        given = variables["input"]
        artifact = self._store.artifact(given.get("artifactID") or given["artifactId"])
        entity, project = given["entityName"], given["projectName"]
        name = given["artifactPortfolioName"]
        if (entity, project) not in self._store.projects:
            raise RefusedError(f"project {entity}/{project} not found")
        new = Collection("ArtifactPortfolio", entity, project, name, artifact.sequence.type)
        portfolio = self._store.collections.setdefault((entity, project, name), new)
        if portfolio.type != artifact.sequence.type:
            raise RefusedError(f"collection {name} takes artifacts of type {portfolio.type}")
        index = portfolio.add(artifact)
        self._alias(portfolio, artifact, _aliases(given))
        membership = self._membership(portfolio, artifact)
        return {"result": {"versionIndex": index, "artifactMembership": membership}}

    def add_aliases(self, variables: Answer) -> Answer:
        artifact = self._store.artifact(variables["input"]["artifactID"])
        for given in variables["input"]["aliases"]:
            self._alias(self._collection_of(given), artifact, [given["alias"]])
        return {"result": {"success": True}}

    def delete_aliases(self, variables: Answer) -> Answer:
        artifact = self._store.artifact(variables["input"]["artifactID"])
        for given in variables["input"]["aliases"]:
            aliases = self._collection_of(given).aliases
            if aliases.get(given["alias"]) is artifact:
                del aliases[given["alias"]]
        return {"result": {"success": True}}

    def update_artifact(self, variables: Answer) -> Answer:
        given = variables["input"]
        artifact = self._store.artifact(given["artifactID"])
        if artifact.sequence.project in self._store.read_only:
            raise RefusedError(f"project {artifact.sequence.project} is read-only")
        artifact.metadata = given.get("metadata", artifact.metadata)
        artifact.description = given.get("description", artifact.description)
        return {"result": {"artifact": self._artifact(artifact)}}

    def _alias(self, collection: Collection, artifact: Artifact, aliases: list[str]) -> None:
        for alias in aliases:
            collection.aliases[alias] = artifact

    def _collection_of(self, given: Answer) -> Collection:
        return self._store.collection(
            given["entityName"], given["projectName"], given["artifactCollectionName"]
        )

    # Find, list, download.

    def artifact_by_id(self, variables: Answer) -> Answer:
        return {"artifact": self._artifact(self._store.artifact(variables["id"]))}

    def artifact_membership_by_name(self, variables: Answer) -> Answer:
        entity, project = variables["entity"], variables["project"]
        if (entity, project) not in self._store.projects:
            return {"project": None}
        name, _, alias = variables["name"].partition(":")
        collection = self._store.collections.get((entity, project, name))
        artifact = collection and collection.find(alias or "latest")
        found = self._membership(collection, artifact) if collection and artifact else None
        return {"project": {"artifactCollectionMembership": found}}

    def project_artifacts(self, variables: Answer) -> Answer:
        key = variables["entity"], variables["project"], variables["collection"]
        collection = self._store.collections.get(key)
        if collection is None or collection.type != variables["type"]:
            return {"project": {"artifactType": None}}
        first = int(variables.get("cursor") or 0)
        last = first + (variables.get("perPage") or 50)
        newest = list(reversed(collection.members))
        edges = [
            {"version": f"v{collection.members.index(artifact)}", "node": self._artifact(artifact)}
            for artifact in newest[first:last]
        ]
        more = last < len(newest)
        page = {"__typename": "PageInfo", "endCursor": str(last) if more else None}
        artifacts = {
            "totalCount": len(newest),
            "pageInfo": {**page, "hasNextPage": more},
            "edges": edges,
        }
        found = {"__typename": collection.kind, "artifacts": artifacts}
        return {"project": {"artifactType": {"artifactCollection": found}}}

    def project_artifact_collection(self, variables: Answer) -> Answer:
        key = variables["entity"], variables["project"], variables["name"]
        collection = self._store.collections.get(key)
        if collection is None or collection.type != variables["type"]:
            return {"project": {"artifactType": None}}
        found = {
            **self._collection(collection),
            "id": collection.id,
            "description": None,
            "createdAt": collection.linked[0] if collection.linked else "",
            "updatedAt": None,
            "type": {"name": collection.type},
            "tags": {"edges": []},
        }
        return {"project": {"artifactType": {"artifactCollection": found}}}

    def fetch_artifact_manifest(self, variables: Answer) -> Answer:
        artifact = self._store.artifact(variables.get("id") or variables["artifact_id"])
        url = f"{self._url}/storage/manifest-of/{artifact.id}"
        return {"artifact": {"currentManifest": {"file": {"directUrl": url}}}}

    def artifact_manifest(self, variables: Answer) -> Answer:
        return self.fetch_artifact_manifest(variables)

    def get_artifact_membership_file_urls(self, variables: Answer) -> Answer:
        collection = self._store.collection(
            variables["entity"], variables["project"], variables["collection"]
        )
        artifact = collection.find(variables["alias"])
        if artifact is None:
            raise RefusedError(f"{collection.name}:{variables['alias']} not found")
        edges = []
        for name in artifact.contents:
            url = f"{self._url}/storage/{quote(f'artifact/{artifact.id}/{name}')}"
            edges.append({"node": {"__typename": "File", "name": name, "directUrl": url}})
        membership = {"files": {"pageInfo": PAGE_END, "edges": edges}}
        found = {"__typename": collection.kind, "artifactMembership": membership}
        return {"project": {"artifactCollection": found}}

    def artifact_created_by(self, variables: Answer) -> Answer:
        run = self._store.artifact(variables["id"]).created_by
        if run is None:
            return {"artifact": {"createdBy": None}}
        found = {"__typename": "Run", "id": run.id, "name": run.name}
        return {
            "artifact": {"createdBy": {**found, "project": self._project(run.entity, run.project)}}
        }

    def run_output_artifacts(self, variables: Answer) -> Answer:
        run = self._store.run(variables["entity"], variables["project"], variables["run"])
        return self._of_run(run.logged)

    def run_input_artifacts(self, variables: Answer) -> Answer:
        run = self._store.run(variables["entity"], variables["project"], variables["run"])
        return self._of_run(run.used)

    def _of_run(self, found: list[Artifact]) -> Answer:
        edges = [{"node": self._artifact(artifact)} for artifact in found]
        page = {"totalCount": len(found), "pageInfo": PAGE_END, "edges": edges}
        return {"project": {"run": {"artifacts": page}}}

    def _project(self, entity: str, name: str) -> Answer:
        internal = str(self._store.projects[entity, name])
        ids = {"id": f"Project:{internal}", "internalId": internal}
        return {**ids, "name": name, "entity": {"name": entity}}

    def _collection(self, collection: Collection) -> Answer:
        project = self._project(collection.entity, collection.project)
        return {"__typename": collection.kind, "name": collection.name, "project": project}

    def _membership(self, collection: Collection, artifact: Artifact) -> Answer:
        index = collection.members.index(artifact)
        aliases = collection.aliases_of(artifact)
        return {
            "__typename": "ArtifactCollectionMembership",
            "id": f"{collection.id}/{index}",
            "versionIndex": index,
            "createdAt": collection.linked[index],
            "aliases": [_alias_info(collection, alias) for alias in aliases],
            "artifactCollection": self._collection(collection),
            "artifact": self._artifact(artifact),
        }

    def _artifact(self, artifact: Artifact) -> Answer:
        aliases = [
            {**_alias_info(collection, alias), "artifactCollection": self._collection(collection)}
            for collection in self._store.collections.values()
            for alias in collection.aliases_of(artifact)
        ]
        return {
            "__typename": "Artifact",
            "id": artifact.id,
            "artifactSequence": self._collection(artifact.sequence),
            "versionIndex": artifact.index,
            "artifactType": {"name": artifact.sequence.type},
            "description": artifact.description,
            "metadata": artifact.metadata,
            "ttlDurationSeconds": -2,
            "ttlIsInherited": True,
            "tags": [],
            "historyStep": None,
            "state": artifact.state,
            "size": sum(entry.get("size", 0) for entry in artifact.contents.values()),
            "digest": artifact.digest,
            "digestAlgorithm": artifact.algorithm,
            "commitHash": None,
            "fileCount": len(artifact.contents),
            "createdAt": artifact.created,
            "updatedAt": artifact.created,
            "aliases": aliases,
        }


def manifest_of(artifact: Artifact) -> bytes:
    return json.dumps(artifact.manifest).encode()


def _name(path: str) -> str:
    return path.partition(":")[0]


def _md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def _aliases(given: Answer) -> list[str]:
    return [alias["alias"] for alias in given.get("aliases") or [] if alias["alias"] != "latest"]


def _alias_info(collection: Collection, alias: str) -> Answer:
    ids = {"__typename": "ArtifactAlias", "id": f"{collection.id}:{alias}"}
    return {**ids, "alias": alias}

"""Registry in Weights & Biases: each bundle is an artifact, linked to a collection of a registry.

The address is `wandb:ENTITY/REGISTRY/COLLECTION`. ENTITY logs the artifacts, and REGISTRY belongs
to its organisation. An artifact of type `model` contains the bundle's files. Its metadata contain
the manifest, the digest, and the events of this version. Version numbers are W&B's own, from 0: `3`
here is `v3` on its pages. Its alias `latest`, which W&B moves by itself, is not shown.

W&B moves an alias atomically but has no transactions. Of two promotions at the same time the last
one wins, and an event of the other one may be lost. So every change of `production` is recorded
before it is made, in an order in which repeating it completes it.

Every wait has a timeout.
"""

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from shared.bundle.files import MANIFEST, digest_of, verify_bundle
from shared.bundle.manifest import FORMAT, Manifest
from shared.errors import BundleError, RegistryError
from shared.registry.base import (
    CANDIDATE,
    PREVIOUS,
    PRODUCTION,
    Action,
    Event,
    Version,
    no_such_version,
    user_name,
)
from shared.registry.cache import keep_in_cache
from shared.registry.wandb_client import errors_explained, project
from shared.registry.wandb_download import download

if TYPE_CHECKING:
    import wandb

REGISTERED = "registered.json"
"""A file with the time and the user. It makes each artifact unique: W&B merges equal ones."""
_TYPE = "model"
_FINISH_SECONDS = 30  # for what a run still sends after its artifact
_METADATA = {"digest", "manifest", "history"}


class WandbRegistry:
    """A registry in W&B.

    Args:
        entity: logs the artifacts; the registry belongs to its organisation.
        registry: the name of the registry, such as `model`, which every organisation has.
        collection: is created by the first registration.
        clock: returns the time of an event.
        patience: timeout of an upload or a download, in seconds.
    """

    def __init__(
        self,
        entity: str,
        registry: str,
        collection: str,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        patience: float = 600,
    ) -> None:
        self.url = f"wandb:{entity}/{registry}/{collection}"
        self._entity = entity
        self._name = collection
        self._collection = f"wandb-registry-{registry}/{collection}"
        self._clock = clock
        self._patience = patience
        self._api: wandb.Api | None = None

    def register(self, bundle: Path, alias: str = CANDIDATE) -> Version:
        """See `shared.registry.base.Registry`.

        The current run logs the artifact. If there is none, a run of job type `register` does, in
        the project `WANDB_PROJECT` or `tweet-triage`. The run uses an artifact that refers to the
        labelled data by the SHA-256 of their content.
        """
        manifest = verify_bundle(bundle)
        with self._asking() as api:
            metadata = {
                "digest": digest_of(bundle),
                "manifest": msgspec.json.decode((bundle / MANIFEST).read_bytes()),
                "history": [self._event(api, "register", alias)],
            }
            number = self._upload(bundle, metadata, alias)
        return Version(number, metadata["digest"], manifest, (alias,))

    def promote(
        self, version: str, alias: str = PRODUCTION, reason: str = "", forced: bool = False
    ) -> Version:
        """See `shared.registry.base.Registry`."""
        with self._asking() as api:
            target = self._verified(api, version).number
            moves = [(target, alias)]
            former = self._look_up(api, PRODUCTION) if alias == PRODUCTION else None
            if former is not None and _number(former) != target:
                moves.append((_number(former), PREVIOUS))
            for number, name in moves:
                self._record(api, number, self._event(api, "promote", name, reason, forced))
            for number, name in reversed(moves):  # so that a repetition keeps the former version
                self._point(api, number, name)
        return self.resolve(str(target))

    def rollback(self, reason: str = "") -> Version:
        """See `shared.registry.base.Registry`."""
        with self._asking() as api:
            production = _number(self._find(api, PRODUCTION))
            previous = _number(self._find(api, PREVIOUS))
            moves = [e for e in self._events(api) if e.alias in (PRODUCTION, PREVIOUS)]
            if moves and (moves[-1].action, moves[-1].alias) == ("rollback", PRODUCTION):
                # A rollback was interrupted: complete it.
                back = self._verified(api, str(moves[-1].version))
                former = previous if production == back.number else production
            else:
                back, former = self._verified(api, PREVIOUS), production
                self._record(api, back.number, self._event(api, "rollback", PRODUCTION, reason))
            self._point(api, former, PREVIOUS)
            self._point(api, back.number, PRODUCTION)
            self._note(api, former, self._event(api, "rollback", PREVIOUS, reason))
        # Nothing may fail from here on: repeating a complete rollback would undo it.
        aliases = {*back.aliases, PRODUCTION} - {PREVIOUS}
        return msgspec.structs.replace(back, aliases=tuple(sorted(aliases)))

    def resolve(self, version: str) -> Version:
        """See `shared.registry.base.Registry`."""
        with self._asking() as api:
            return self._version(self._find(api, version))

    def fetch(self, version: Version, cache: Path) -> Path:
        """See `shared.registry.base.Registry`."""
        return keep_in_cache(cache, version.digest, lambda new: self._bring(version, new))

    def versions(self) -> list[Version]:
        """See `shared.registry.base.Registry`. Artifacts that are not bundles are skipped."""
        with self._asking() as api:
            versions = []
            for member in self._members(api):
                with suppress(BundleError):
                    versions.append(self._version(member))
            return versions

    def history(self) -> list[Event]:
        """See `shared.registry.base.Registry`."""
        with self._asking() as api:
            return self._events(api)

    def _upload(self, bundle: Path, metadata: dict[str, Any], alias: str) -> int:
        import wandb

        run = wandb.run
        if run is not None and not run.offline and not run.disabled:
            return self._log(run, bundle, metadata, alias)
        finish = min(_FINISH_SECONDS, self._patience)
        settings = wandb.Settings(silent=True, console="off", finish_timeout=finish)
        with tempfile.TemporaryDirectory() as folder:
            run = wandb.init(
                entity=self._entity,
                project=project(),
                job_type="register",
                name=f"register {metadata['manifest']['name']}",
                mode="online",
                reinit="create_new",
                dir=folder,
                settings=settings,
            )
            try:
                number = self._log(run, bundle, metadata, alias)
            except BaseException:  # the run's own context would print a traceback
                run.finish(1)
                raise
            with suppress(
                Exception
            ):  # the bundle is registered even if W&B does not see the run's end
                run.finish(0)
        return number

    def _log(self, run: "wandb.Run", bundle: Path, metadata: dict[str, Any], alias: str) -> int:
        import wandb

        data = metadata["manifest"]["data"]
        if data:
            run.use_artifact(labelled_data(data))
        artifact = wandb.Artifact(self._name, type=_TYPE, metadata=metadata)
        for name in (MANIFEST, *metadata["manifest"]["files"]):
            artifact.add_file(str(bundle / name), name=name, skip_cache=True)
        with tempfile.TemporaryDirectory() as folder:
            registered = Path(folder) / REGISTERED
            registered.write_bytes(msgspec.json.encode(metadata["history"][0]))
            artifact.add_file(str(registered), name=REGISTERED, skip_cache=True)
            run.log_artifact(artifact).wait(timeout=int(self._patience))
        return _number(run.link_artifact(artifact, self._collection, aliases=[alias]))

    def _members(self, api: "wandb.Api") -> list["wandb.Artifact"]:
        """Return the collection's bundles, the oldest first."""
        try:
            found = list(api.artifacts(_TYPE, self._collection))
        except ValueError:  # the collection does not exist yet
            return []
        return sorted((one for one in found if one.metadata.keys() >= _METADATA), key=_number)

    def _find(self, api: "wandb.Api", version: str) -> "wandb.Artifact":
        found = self._look_up(api, version)
        if found is None:
            members = self._members(api)
            names = {alias for member in members for alias in _aliases(member)}
            known = ", ".join([*(str(_number(member)) for member in members), *sorted(names)])
            raise RegistryError(no_such_version(self.url, version, known))
        return found

    def _look_up(self, api: "wandb.Api", version: str) -> "wandb.Artifact | None":
        import wandb

        if not re.fullmatch(r"[\w.-]+", version, re.ASCII):
            return None
        name = f"v{int(version)}" if version.isdigit() else version
        try:
            found: wandb.Artifact = api.artifact(f"{self._collection}:{name}", type=_TYPE)
            return found
        except wandb.errors.CommError as error:
            if isinstance(error.exc, ValueError):  # W&B has answered that there is none
                return None
            raise

    def _verified(self, api: "wandb.Api", version: str) -> Version:
        """Find a version, and download and verify its files."""
        found = self._version(self._find(api, version))
        with tempfile.TemporaryDirectory() as scratch:
            self.fetch(found, Path(scratch))
        return found

    def _bring(self, version: Version, folder: Path) -> None:
        where = f"registry {self.url}: version {version.number}"
        artifact = f"{self._collection}:v{version.number}"
        members = {MANIFEST, REGISTERED, *version.manifest.files}
        download(where, self._entity, artifact, folder, members, self._patience)
        (folder / REGISTERED).unlink()

    def _record(self, api: "wandb.Api", number: int, event: dict[str, Any]) -> None:
        """Add an event to the version's metadata, and check that W&B has saved it."""
        artifact = self._note(api, number, event)
        if event not in self._find(api, str(number)).metadata["history"]:
            raise RegistryError(
                f"registry {self.url}: the history of version {number} cannot be written: you "
                f"cannot write to the project {artifact.source_entity}/{artifact.source_project}; "
                "ask its owner for access"
            )

    def _note(self, api: "wandb.Api", number: int, event: dict[str, Any]) -> "wandb.Artifact":
        artifact = self._find(api, str(number))
        artifact.metadata.setdefault("history", []).append(event)
        artifact.save()
        return artifact

    def _point(self, api: "wandb.Api", number: int, alias: str) -> None:
        artifact = self._find(api, str(number))
        if alias not in artifact.aliases:
            artifact.aliases.append(alias)
            artifact.save()

    def _event(
        self,
        api: "wandb.Api",
        action: Action,
        alias: str,
        reason: str = "",
        forced: bool = False,
    ) -> dict[str, Any]:
        """Make an event as in the metadata: without the version, which is the artifact's."""
        return {
            "time": self._clock().isoformat(timespec="microseconds"),  # the order of events
            "who": _account(api),
            "action": action,
            "alias": alias,
            "reason": reason,
            "forced": forced,
        }

    def _events(self, api: "wandb.Api") -> list[Event]:
        events = []
        for member in self._members(api):
            given = [{**event, "version": _number(member)} for event in member.metadata["history"]]
            try:
                events += msgspec.convert(given, list[Event])
            except msgspec.ValidationError as error:
                raise RegistryError(
                    f"registry {self.url}: the history of version {_number(member)} cannot be "
                    f"read: {error}"
                ) from error
        return sorted(events, key=lambda event: event.time)

    def _version(self, artifact: "wandb.Artifact") -> Version:
        manifest = self._manifest(artifact)
        digest = artifact.metadata["digest"]
        return Version(_number(artifact), digest, manifest, tuple(_aliases(artifact)))

    def _manifest(self, artifact: "wandb.Artifact") -> Manifest:
        where = f"version {_number(artifact)} of {self.url}"
        if not re.fullmatch("[0-9a-f]{64}", str(artifact.metadata.get("digest"))):
            raise BundleError(f"{where} is not a bundle: its metadata have no digest")
        given = artifact.metadata.get("manifest")
        if not isinstance(given, dict) or given.get("format") != FORMAT:
            raise BundleError(f"{where}: expected the manifest of a bundle of format {FORMAT}")
        try:
            return msgspec.convert(given, Manifest)
        except msgspec.ValidationError as error:
            raise BundleError(f"{where}: its manifest cannot be read: {error}") from error

    @contextmanager
    def _asking(self) -> Iterator["wandb.Api"]:
        """Return the client. After a failure, the next call makes a new one."""
        with errors_explained(f"registry {self.url}"):
            import wandb

            try:
                if self._api is None:
                    timeout = int(os.environ["WANDB_HTTP_TIMEOUT"])
                    self._api = wandb.Api(overrides={"entity": self._entity}, timeout=timeout)
                yield self._api
            except Exception:
                self._api = None
                raise


def labelled_data(data: dict[str, Any]) -> "wandb.Artifact":
    """Make an artifact of the labelled file that refers to its content by hash, without a copy.

    Args:
        data: `data` of a bundle's manifest.
    """
    import wandb

    artifact = wandb.Artifact("labelled-tweets", type="dataset", metadata=data)
    artifact.add_reference(f"sha256:{data['sha256']}", name=data["name"])
    return artifact


def _account(api: "wandb.Api") -> str:
    """Return the owner of the API key, or the local user: W&B does not name every owner."""
    with suppress(ValueError):
        if name := api.viewer.username:
            return str(name)
    return user_name()


def _number(artifact: "wandb.Artifact") -> int:
    """Return the number in the collection; `version` may be that in the project of the run."""
    found = re.search(r":v(\d+)$", artifact.name) or re.search(r"v(\d+)$", artifact.version)
    if found is None:
        raise ValueError(f"expected a version such as v3, got {artifact.version!r}")
    return int(found.group(1))


def _aliases(artifact: "wandb.Artifact") -> list[str]:
    return sorted(alias for alias in artifact.aliases if alias != "latest")

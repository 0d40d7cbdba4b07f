"""Following an alias: promotions, bundles that are no good, and a registry that goes away."""

import errno
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from shared.bundle.files import GOLDEN, MANIFEST, WEIGHTS
from shared.bundle.load import load_bundle
from shared.errors import BundleError, RegistryError, UnavailableError
from shared.registry.folder import FolderRegistry
from shared.registry.wandb_registry import WandbRegistry
from tests.conftest import Trained
from tests.shared.bundle.test_bundle import edit_manifest, replace_file
from tests.wandb.server.server import WandbServer
from tests.wandb.server.store import ENTITY
from worker.model.follower import Follower, Loaded

FEED_FORWARD = "Vanilla-Feedforward-NN"
TEXT = "Forest fire near La Ronge"


class Place(msgspec.Struct):
    """A registry of its own, a cache, and what a follower tells."""

    registry: FolderRegistry
    cache: Path
    bundles: Path
    told: list[str]

    def add(self, name: str, threshold: float = 0.5, **points: float) -> str:
        """Register a copy of a trained bundle, and return its number."""
        folder = self.cache.parent / "changed"
        shutil.copytree(self.bundles / name, folder)
        stated = {f"{point}-90": {"threshold": at, "figures": {}} for point, at in points.items()}
        edit_manifest(folder, threshold=threshold, operating_points=stated)
        number = self.registry.register(folder).number
        shutil.rmtree(folder)
        return str(number)

    def add_one_that_forgot(self, name: str) -> str:
        """Register a bundle that verifies but does not reproduce its golden probabilities."""
        folder = shutil.copytree(self.bundles / name, self.cache.parent / "changed")
        golden = json.loads((folder / GOLDEN).read_text())
        golden[3]["probability"] = 1 - golden[3]["probability"]
        replace_file(folder, GOLDEN, json.dumps(golden).encode())
        number = self.registry.register(folder).number
        shutil.rmtree(folder)
        return str(number)

    def follower(
        self, threshold: float | str = "balanced", resolve_timeout: float = 60
    ) -> Follower:
        return Follower(
            *(self.registry, "production", self.cache, 8, self.told.append, threshold),
            resolve_timeout=resolve_timeout,
        )


@pytest.fixture
def place(trained: Trained, tmp_path: Path) -> Place:
    """Return a registry with version 1, the feed-forward model, in production."""
    registry = FolderRegistry(tmp_path / "registry")
    place = Place(registry, tmp_path / "cache", trained.bundles, [])
    registry.promote(place.add(FEED_FORWARD))
    return place


@pytest.fixture
def following(place: Place) -> Iterator[Follower]:
    """Yield a follower that has loaded version 1 and polls often."""
    follower = place.follower()
    assert follower.load_initial().number == 1
    follower.start(0.02)
    yield follower
    follower.stop()


@pytest.fixture(autouse=True)
def _all_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "triage")


def next_of(follower: Follower) -> Loaded:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if (loaded := follower.poll()) is not None:
            return loaded
        time.sleep(0.01)
    raise AssertionError("nothing was loaded")


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "triage"]


def test_a_promotion_and_a_rollback_are_followed(place: Place, following: Follower) -> None:
    place.registry.promote(place.add("LSTM"))
    second = next_of(following)
    assert (second.number, second.bundle.manifest.name) == (2, "LSTM")
    assert second.bundle.scorer.score([TEXT]) == pytest.approx(
        load_bundle(place.bundles / "LSTM").scorer.score([TEXT]), abs=1e-6
    )
    place.registry.rollback()
    first = next_of(following)
    assert (first.number, first.bundle.manifest.name) == (1, FEED_FORWARD)
    assert place.told == ["loaded", "loaded"]
    assert following.poll() is None


def test_the_same_bundle_under_another_number_is_another_version(
    place: Place, following: Follower
) -> None:
    place.registry.promote(place.add(FEED_FORWARD))
    assert next_of(following).number == 2


def test_a_bundle_that_does_not_verify_is_refused_once(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    follower = place.follower()
    follower.load_initial()
    second = place.add("LSTM")
    weights = place.registry.folder / "versions" / second / WEIGHTS
    content = weights.read_bytes()
    place.registry.promote(second)
    weights.write_bytes(content[:-1] + b"!")
    follower.start(0.02)
    wait_for(lambda: place.told != [])
    time.sleep(0.3)
    assert (place.told, follower.poll()) == (["refused"], None)
    (line,) = lines(caplog)
    assert line.startswith(f"production: {weights} was changed: expected SHA-256 ")
    assert line.endswith("; scoring with version 1 meanwhile")

    place.registry.promote(place.add("LSTM", threshold=0.6))
    third = next_of(follower)
    assert (third.number, third.bundle.manifest.threshold) == (3, 0.6)
    assert place.told == ["refused", "loaded"]
    assert lines(caplog)[1:] == ["production: the registry answers again"]
    follower.stop()


def test_a_disk_that_stutters_is_no_refusal(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    read, stutters = Path.read_bytes, iter([True])

    def once_stale(path: Path) -> bytes:
        if path.name == WEIGHTS and next(stutters, False):
            raise OSError(errno.ESTALE, "stale file handle")
        return read(path)

    follower = place.follower()
    follower.load_initial()
    place.registry.promote(place.add("LSTM"))
    monkeypatch.setattr(Path, "read_bytes", once_stale)
    follower.start(0.02)
    assert next_of(follower).number == 2
    follower.stop()
    assert place.told == ["unavailable", "loaded"]


def test_a_bundle_that_forgot_its_golden_texts_is_refused_each_time_it_comes(
    place: Place, following: Follower, caplog: pytest.LogCaptureFixture
) -> None:
    forgetful = place.add_one_that_forgot("LSTM")
    for times in (1, 2):
        place.registry.promote(forgetful)
        wait_for(lambda: len(place.told) == times)  # noqa: B023  # it is called here
        time.sleep(0.2)
        assert (place.told, following.poll()) == (["refused"] * times, None)
        assert "does not reproduce its golden probabilities" in lines(caplog)[-1]
        place.registry.rollback()  # to what is loaded already
        wait_for(lambda: lines(caplog)[-1] == "production: the registry answers again")
        assert following.poll() is None


def test_a_bundle_that_lacks_the_operating_point_is_refused(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(BundleError, match=r"^threshold 'recall-90': Vanilla.* expected balanced"):
        place.follower("recall-90").load_initial()
    place.registry.promote(place.add("LSTM", recall=0.2, precision=0.7))
    follower = place.follower("recall-90")
    first = follower.load_initial()
    assert (first.number, first.threshold) == (2, 0.2)
    follower.start(0.02)
    place.registry.promote(place.add("LSTM", precision=0.8))
    wait_for(lambda: place.told != [])
    time.sleep(0.2)
    assert (place.told, follower.poll()) == (["refused"], None)
    (line,) = lines(caplog)
    assert line.startswith("production: threshold 'recall-90': LSTM of ")
    assert "expected balanced, precision-90, or a number" in line
    assert line.endswith("; scoring with version 2 meanwhile")
    place.registry.promote(place.add("LSTM", recall=0.3))
    assert next_of(follower).threshold == 0.3
    follower.stop()
    assert place.follower(0.25).load_initial().threshold == 0.25


def test_a_manifest_that_cannot_be_read_is_told_once(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    second = place.add("LSTM")
    place.registry.promote(second)
    follower = place.follower()
    assert follower.load_initial().number == 2
    manifest = place.registry.folder / "versions" / second / MANIFEST
    content = manifest.read_bytes()
    manifest.write_bytes(b"{")
    follower.start(0.02)
    wait_for(lambda: place.told != [])
    time.sleep(0.2)
    assert place.told == ["refused"]
    manifest.write_bytes(content)  # of which half may be read
    wait_for(lambda: "production: the registry answers again" in lines(caplog))
    assert "loaded" not in place.told
    assert follower.poll() is None
    follower.stop()


def test_a_registry_that_goes_away_stops_nothing(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    follower = place.follower()
    follower.load_initial()
    away = place.registry.folder.rename(place.registry.folder.with_name("away"))
    follower.start(0.02)
    wait_for(lambda: len(place.told) > 3)
    assert set(place.told) == {"unavailable"}
    assert follower.poll() is None
    (line,) = lines(caplog)
    assert line.startswith("production: registry file:")
    away.rename(place.registry.folder)
    wait_for(lambda: "production: the registry answers again" in lines(caplog))
    place.registry.promote(place.add("LSTM"))
    assert next_of(follower).number == 2
    assert len(lines(caplog)) == 2
    follower.stop()


@pytest.mark.slow
def test_wandb_that_goes_away_in_the_middle_of_a_download_stops_nothing(
    place: Place, wandb_server: WandbServer, caplog: pytest.LogCaptureFixture
) -> None:
    registry = WandbRegistry(ENTITY, "model", "tweet-triage", patience=60)
    for name in (FEED_FORWARD, "LSTM"):
        registry.register(place.bundles / name)
    registry.promote("0")
    follower = Follower(registry, "production", place.cache, 8, place.told.append)
    assert follower.load_initial().number == 0
    registry.promote("1")
    registry._patience = 10
    wandb_server.fault(f"download {WEIGHTS}", "hang")
    follower.start(0.02)
    wait_for(lambda: lines(caplog) != [])
    assert (place.told[0], follower.poll()) == ("unavailable", None)
    assert lines(caplog)[0].endswith("; scoring with version 0 meanwhile")
    wandb_server.mend()
    registry._patience = 60
    assert next_of(follower).number == 1
    follower.stop()


def test_a_start_without_the_registry_takes_the_last_good_bundle(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(RegistryError, match="no version or alias 'candidates'"):
        Follower(place.registry, "candidates", place.cache, 8, place.told.append).load_initial()
    place.registry.promote(place.add("LSTM"))
    assert place.follower().load_initial().number == 2
    away = place.registry.folder.rename(place.registry.folder.with_name("away"))
    follower = place.follower()
    last = follower.load_initial()
    assert (last.number, last.bundle.manifest.name) == (2, "LSTM")
    assert place.told == ["unavailable"]
    assert lines(caplog)[-1].endswith("; scoring with version 2 meanwhile")
    away.rename(place.registry.folder)
    place.registry.rollback()
    follower.start(0.02)
    assert next_of(follower).number == 1
    follower.stop()

    shutil.rmtree(place.cache)
    place.registry.folder.rename(place.registry.folder.with_name("away"))
    with pytest.raises(RegistryError, match="the registry is empty"):
        place.follower().load_initial()


def test_the_last_good_bundle_stays_in_the_cache(place: Place) -> None:
    """Others on the machine may use the cache while no worker runs."""
    place.follower().load_initial()
    for n in range(6):
        version = place.registry.resolve(place.add("LSTM", threshold=0.1 + n / 100))
        place.registry.fetch(version, place.cache)
    place.registry.folder.rename(place.registry.folder.with_name("away"))
    assert place.follower().load_initial().number == 1


def test_a_start_with_a_broken_bundle_takes_the_last_good_one(place: Place) -> None:
    place.follower().load_initial()
    place.registry.promote(place.add_one_that_forgot("LSTM"))
    follower = place.follower()
    assert follower.load_initial().number == 1
    follower.start(0.02)
    time.sleep(0.2)
    assert place.told == ["refused"]
    place.registry.promote(place.add("LSTM"))
    assert next_of(follower).number == 3
    follower.stop()

    place.registry.promote("2")
    shutil.rmtree(place.cache)
    with pytest.raises(BundleError, match="does not reproduce its golden probabilities"):
        place.follower().load_initial()


def test_a_last_good_bundle_that_was_changed_is_not_taken(place: Place) -> None:
    place.follower().load_initial()
    (weights,) = place.cache.glob(f"*/{WEIGHTS}")
    weights.write_bytes(b"!")
    away = place.registry.folder.rename(place.registry.folder.with_name("away"))
    with pytest.raises(RegistryError, match="the registry is empty"):
        place.follower().load_initial()
    away.rename(place.registry.folder)
    assert place.follower().load_initial().number == 1  # brought anew


def test_a_cache_that_cannot_be_written_is_named_and_waited_for(
    place: Place, following: Follower
) -> None:
    place.cache.rename(place.cache.with_name("kept"))
    place.cache.write_text("a file")
    place.registry.promote(place.add("LSTM"))
    wait_for(lambda: len(place.told) > 2)
    assert set(place.told) == {"unavailable"}
    with pytest.raises(UnavailableError, match=r"^TRIAGE_CACHE: .* cannot be written: "):
        place.follower().load_initial()
    place.cache.unlink()
    assert next_of(following).number == 2


def test_workers_that_share_a_cache_do_not_disturb_each_other(
    place: Place, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = Path.replace

    def load_another(path: Path, target: Path) -> Path:
        monkeypatch.undo()
        place.follower().load_initial()
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", load_another)
    place.follower().load_initial()
    assert "cannot be written" not in caplog.text


def test_a_registry_that_hangs_is_reported(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """As a network file system does that is stale: a read from it blocks, and no signal ends it."""
    place.follower().load_initial()
    history = place.registry.folder / "history.jsonl"
    kept = history.rename(history.with_name("kept"))
    os.mkfifo(history)  # to open it blocks until somebody writes
    follower = place.follower(resolve_timeout=0.2)
    assert follower.load_initial().number == 1  # from the cache
    follower.start(0.02)
    wait_for(lambda: len(place.told) > 2)
    assert set(place.told) == {"unavailable"}
    assert len([line for line in lines(caplog) if "does not answer" in line]) == 1
    pipe = history.rename(history.with_name("pipe"))
    kept.rename(history)
    pipe.write_bytes(history.read_bytes())
    wait_for(lambda: any("the registry answers again" in line for line in lines(caplog)))
    place.registry.promote(place.add("LSTM"))
    assert next_of(follower).number == 2
    follower.stop()


@pytest.mark.usefixtures("following")
def test_nothing_is_put_in_place_of_a_bundle_that_is_gone(place: Place) -> None:
    kept = place.cache / place.registry.resolve("1").digest
    shutil.rmtree(kept)
    time.sleep(0.2)
    assert not kept.exists()


def test_what_scores_stays_in_the_cache(place: Place, following: Follower) -> None:
    digest = place.registry.resolve("1").digest
    for n in range(7):
        version = place.registry.resolve(place.add("LSTM", threshold=0.1 + n / 100))
        place.registry.fetch(version, place.cache)
        time.sleep(0.2)
    assert (place.cache / digest / MANIFEST).exists()
    assert len(list(place.cache.glob(f"*/{MANIFEST}"))) == 5
    assert following.poll() is None

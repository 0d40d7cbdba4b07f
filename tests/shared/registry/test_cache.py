"""The cache of bundles, which workers on one machine may share."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.bundle.files import MANIFEST, copy_bundle, digest_of, verify_bundle
from shared.registry.cache import keep_in_cache
from tests.conftest import Trained
from tests.shared.registry.test_folder_registry import make_bundle


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def bundles(tmp_path: Path) -> Iterator[Path]:
    """Return this many different bundles."""
    return (make_bundle(tmp_path / f"model {n}", f"model {n}") for n in range(100))


def keep(cache: Path, bundle: Path, used: float) -> Path:
    """Add a bundle to the cache, as if at `used` seconds since 1970."""
    kept = keep_in_cache(cache, digest_of(bundle), lambda new: copy_bundle(bundle, new))
    os.utime(kept, (used, used))
    return kept


def test_the_least_recently_used_are_removed(cache: Path, bundles: Iterator[Path]) -> None:
    kept = [keep(cache, next(bundles), age) for age in range(1000, 1007)]
    assert set(cache.iterdir()) == set(kept[2:])


def test_a_workers_last_good_bundle_stays(cache: Path, bundles: Iterator[Path]) -> None:
    noted = keep(cache, next(bundles), 1000)
    note = cache / "last-good-0123456789abcdef.json"
    note.write_text(f'{{"number":1,"digest":"{noted.name}"}}')
    kept = [keep(cache, next(bundles), age) for age in range(1001, 1008)]
    assert set(cache.iterdir()) == {note, noted, *kept[2:]}


def test_what_is_not_the_caches_stays(cache: Path, bundles: Iterator[Path]) -> None:
    """Somebody may name a folder of bundles."""
    foreign = [cache / f"model {n}" for n in range(7)]
    for folder in foreign:
        folder.mkdir(parents=True)
        (folder / MANIFEST).write_text("{}")
    kept = keep(cache, next(bundles), 1000)
    assert set(cache.iterdir()) == {kept, *foreign}


def test_what_killed_processes_left_is_removed(cache: Path, bundles: Iterator[Path]) -> None:
    for name, age in ((".new-killed", 3700), (".new-under-way", 3500)):
        (cache / name / "bundle").mkdir(parents=True)
        os.utime(cache / name, (time.time() - age,) * 2)
    kept = keep(cache, next(bundles), 1000)
    assert set(cache.iterdir()) == {kept, cache / ".new-under-way"}


def test_another_process_may_tidy_up_too(cache: Path, bundles: Iterator[Path]) -> None:
    """What is listed may be gone a moment later, as what a link leads to that leads nowhere."""
    cache.mkdir()
    for name in ("0" * 64, ".new-gone"):
        (cache / name).symlink_to(cache / "nowhere")
    assert verify_bundle(keep(cache, next(bundles), 1000))


def test_what_another_worker_has_brought_meanwhile_stays(trained: Trained, tmp_path: Path) -> None:
    """It may be reading it."""
    bundle = trained.bundles / "LSTM"
    digest, cache = digest_of(bundle), tmp_path / "cache"
    places: list[int] = []

    def bring(new: Path) -> None:
        if not places:
            places.append(-1)
            places.append(keep_in_cache(cache, digest, bring).stat().st_ino)
        copy_bundle(bundle, new)

    kept = keep_in_cache(cache, digest, bring)
    assert places == [-1, kept.stat().st_ino]
    assert [path.name for path in cache.iterdir()] == [digest]

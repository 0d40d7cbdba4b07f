"""The cache of bundles, which workers on one machine may share."""

from pathlib import Path

from shared.bundle import copy_bundle
from shared.registry import digest_of, keep_in_cache
from tests.conftest import Trained


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

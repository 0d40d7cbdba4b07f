import errno
import hashlib
import json
import pickletools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import numpy as safetensors

from shared.bundle.files import (
    GOLDEN,
    GOLDEN_TEXTS,
    MANIFEST,
    MODEL_CARD,
    PIPELINE,
    TRAINED_ON,
    VECTORS,
    VOCABULARY,
    WEIGHTS,
    copy_bundle,
    read_manifest,
    read_trained_on,
    verify_bundle,
    write_bundle,
)
from shared.bundle.load import GOLDEN_TOLERANCE, Bundle, load_bundle
from shared.bundle.manifest import FORMAT, Labelling
from shared.errors import BundleError, UnavailableError
from shared.model.scorer import BATCH_SIZE
from shared.text.tokens import vectors_from_bytes
from tests.conftest import Trained

LOADED = [WEIGHTS, VOCABULARY, PIPELINE, GOLDEN]
FILES = [*LOADED, TRAINED_ON, MODEL_CARD, VECTORS]


@pytest.fixture
def original(trained: Trained) -> Path:
    """Return the folder that `bundle` was loaded from. Do not change it."""
    return trained.registry.folder / "versions" / "1"


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """Return a copy of the bundle, for a test to change."""
    return shutil.copytree(original, tmp_path / "bundle")


def edit_manifest(folder: Path, **changes: Any) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, **changes}))


def replace_file(folder: Path, name: str, content: bytes) -> None:
    """Change a file and its hash, as an attacker would."""
    (folder / name).write_bytes(content)
    files = json.loads((folder / MANIFEST).read_text())["files"]
    edit_manifest(folder, files={**files, name: hashlib.sha256(content).hexdigest()})


def refusal(folder: Path) -> str:
    with pytest.raises(BundleError) as caught:
        load_bundle(folder)
    return str(caught.value)


def test_every_trained_bundle_loads(trained: Trained) -> None:
    folders = sorted(path for path in trained.bundles.iterdir() if path.is_dir())
    assert len(folders) == 3
    for folder in folders:
        loaded = load_bundle(folder)
        assert loaded.manifest == read_manifest(folder) == verify_bundle(folder)
        assert (loaded.manifest.name, loaded.manifest.format) == (folder.name, FORMAT)


def test_digest_is_the_manifests_hash(original: Path, bundle: Bundle) -> None:
    assert bundle.digest == hashlib.sha256((original / MANIFEST).read_bytes()).hexdigest()


@pytest.mark.parametrize("where", [0, 0.5, -1], ids=["first", "middle", "last"])
@pytest.mark.parametrize("name", FILES)
def test_changed_byte_is_refused(folder: Path, name: str, where: float) -> None:
    content = bytearray((folder / name).read_bytes())
    place = where if isinstance(where, int) else int(len(content) * where)
    content[place] ^= 1
    (folder / name).write_bytes(content)
    assert refusal(folder).startswith(f"{folder / name} was changed: expected SHA-256 ")
    with pytest.raises(BundleError, match=name):
        verify_bundle(folder)


def test_changed_byte_in_the_manifest_is_refused(folder: Path) -> None:
    content = (folder / MANIFEST).read_bytes()
    for changed in (
        b"!" + content[1:],
        b"\xff" + content[1:],
        content[:-1],
        content[:40] + b"\xff",
    ):
        (folder / MANIFEST).write_bytes(changed)
        assert refusal(folder).startswith(f"{folder / MANIFEST} is not the manifest of a bundle: ")
    invalid_text = content.replace(b'"name": "', b'"name": "\xff', 1)
    assert invalid_text != content
    (folder / MANIFEST).write_bytes(invalid_text)
    assert refusal(folder).startswith(f"{folder / MANIFEST} is not the manifest of a bundle: ")


def test_changed_hash_in_the_manifest_is_refused(folder: Path) -> None:
    files = dict(read_manifest(folder).files)
    edit_manifest(folder, files={**files, GOLDEN: files[WEIGHTS]})
    assert refusal(folder).startswith(f"{folder / GOLDEN} was changed: expected SHA-256 ")


@pytest.mark.parametrize("name", [MANIFEST, *FILES])
def test_missing_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    message = refusal(folder)
    assert message.startswith(f"{folder} is not a complete bundle: ")
    assert name in message


def test_labelling_and_languages_are_kept_and_have_defaults(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_bytes())
    for name in ("labelling", "languages"):
        manifest.pop(name, None)
    (folder / MANIFEST).write_text(json.dumps(manifest), "utf-8")
    read = read_manifest(folder)
    assert (read.labelling, read.languages) == (Labelling(), ("en",))
    labelling = {"text_column": "tweet", "positive": ["a", "b"], "leave_out": []}
    edit_manifest(folder, labelling=labelling, languages=["en", "es"])
    read = read_manifest(folder)
    assert read.labelling == Labelling(text_column="tweet", positive=("a", "b"), leave_out=())
    assert read.languages == ("en", "es")


@pytest.mark.parametrize("name", [MANIFEST, WEIGHTS])
def test_a_file_that_the_disk_does_not_give_now_is_no_fault_of_the_bundle(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.read_bytes

    def stale(path: Path) -> bytes:
        if path.name == name:
            raise OSError(errno.ESTALE, "stale file handle")
        return read(path)

    with monkeypatch.context() as away:
        away.setattr(Path, "read_bytes", stale)
        with pytest.raises(UnavailableError, match=rf"{name} cannot be read: .*stale file handle"):
            verify_bundle(folder)
    verify_bundle(folder)


@pytest.mark.parametrize("number", [0, FORMAT + 1, str(FORMAT), None])
def test_another_format_is_refused(folder: Path, number: object) -> None:
    edit_manifest(folder, format=number, something="new")
    expected = f"{folder / MANIFEST}: expected bundle format {FORMAT}, got {number}: "
    expected += "train again, or install the version that made it"
    assert refusal(folder) == expected
    with pytest.raises(BundleError) as caught:
        read_manifest(folder)
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    "content", [b"", b"no JSON", b"[]", b"null", b'"text"', b"1", b'{"format": 1}', b"{"]
)
def test_what_is_no_manifest_is_refused(folder: Path, content: bytes) -> None:
    (folder / MANIFEST).write_bytes(content)
    assert refusal(folder).startswith(f"{folder / MANIFEST} is not the manifest of a bundle: ")


def test_manifest_must_list_the_files_and_no_others(folder: Path) -> None:
    files = dict(read_manifest(folder).files)
    (folder / "more.bin").write_bytes(b"")
    more = {**files, "more.bin": hashlib.sha256(b"").hexdigest()}
    fewer = {name: value for name, value in files.items() if name != PIPELINE}
    outside = {**fewer, f"../{PIPELINE}": files[PIPELINE]}
    for listed in (more, fewer, outside, {}):
        edit_manifest(folder, files=listed)
        assert refusal(folder) == (
            f"{folder / MANIFEST}: expected {sorted(FILES)}, got {sorted(listed)}"
        )


@pytest.mark.parametrize(("change", "loads"), [(0.5, True), (2, False), (-2, False)])
def test_golden_probabilities_must_be_reproduced(folder: Path, change: float, loads: bool) -> None:
    golden = json.loads((folder / GOLDEN).read_text())
    golden[4]["probability"] += change * GOLDEN_TOLERANCE
    replace_file(folder, GOLDEN, json.dumps(golden).encode())
    verify_bundle(folder)
    if loads:
        load_bundle(folder)
        return
    message = refusal(folder)
    assert message.startswith(f"{folder} does not reproduce its golden probabilities: ")
    assert f"expected {golden[4]['probability']:.6f} for {GOLDEN_TEXTS[4]!r}, got " in message


def test_other_weights_do_not_reproduce_the_golden_probabilities(folder: Path) -> None:
    weights = safetensors.load_file(folder / WEIGHTS)
    weights["output/kernel"] = -weights["output/kernel"]
    replace_file(folder, WEIGHTS, safetensors.save(weights))
    assert "does not reproduce its golden probabilities" in refusal(folder)


def test_weights_of_another_shape_are_refused(folder: Path) -> None:
    weights = safetensors.load_file(folder / WEIGHTS)
    del weights["output/bias"]
    replace_file(folder, WEIGHTS, safetensors.save(weights))
    assert "weights for this architecture, got " in refusal(folder)


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff\xff", b"{}", b"[1]", b"\x80\x04N."])
@pytest.mark.parametrize("name", LOADED)
def test_unreadable_content_is_refused_even_if_its_hash_agrees(
    folder: Path, name: str, content: bytes
) -> None:
    replace_file(folder, name, content)
    assert str(folder) in refusal(folder)


def test_golden_texts_are_kept_with_their_probabilities(original: Path, bundle: Bundle) -> None:
    golden = json.loads((original / GOLDEN).read_text())
    assert [entry["text"] for entry in golden] == list(GOLDEN_TEXTS)
    kept = [entry["probability"] for entry in golden]
    np.testing.assert_allclose(bundle.scorer.score(GOLDEN_TEXTS), kept, rtol=0, atol=1e-5)
    assert min(kept) < 0.5 < max(kept)


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")  # of any bytes
def test_nothing_in_a_bundle_is_code(original: Path) -> None:
    assert {path.name for path in original.iterdir()} == {MANIFEST, *FILES}
    for path in original.iterdir():
        content = path.read_bytes()
        assert b"\x89HDF" not in content
        assert not content.startswith(b"PK")
        with pytest.raises(
            ValueError, match=r"opcode|pickle|invalid|expected|not enough|no newline|decode"
        ):
            list(pickletools.genops(content))


def rewritten(bundle: Bundle, original: Path, target: Path, **changes: Any) -> None:
    parts = {
        "manifest": bundle.manifest,
        "weights": safetensors.load_file(original / WEIGHTS),
        "vocabulary": json.loads((original / VOCABULARY).read_text()),
        "pipeline": (original / PIPELINE).read_bytes(),
        "scorer": bundle.scorer,
        "trained_on": np.array([3, 2**64 - 1, 3, 1], np.uint64),
        "card": (original / MODEL_CARD).read_text("utf-8"),
        "vectors": vectors_from_bytes(
            (original / VECTORS).read_bytes(), bundle.manifest.architecture.vectors
        ),
        **changes,
    }
    write_bundle(target, **parts)


def test_written_bundle_is_the_loaded_one(bundle: Bundle, original: Path, tmp_path: Path) -> None:
    target = tmp_path / "to" / "be made" / "bundle"
    rewritten(bundle, original, target)
    again = load_bundle(target)
    assert again.manifest.files[WEIGHTS] == bundle.manifest.files[WEIGHTS]
    assert again.manifest.architecture == bundle.manifest.architecture
    texts = ["Flood on main street", "what a day", ""]
    np.testing.assert_array_equal(again.scorer.score(texts), bundle.scorer.score(texts))
    assert [path.name for path in target.parent.iterdir()] == ["bundle"]


def test_writing_replaces_a_former_bundle_whole(
    bundle: Bundle, original: Path, folder: Path
) -> None:
    edit_manifest(folder, name="former")
    (folder / "stale").write_text("not of the new one")
    rewritten(bundle, original, folder)
    assert verify_bundle(folder).name == bundle.manifest.name
    assert {path.name for path in folder.iterdir()} == {MANIFEST, *FILES}
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_writing_replaces_nothing_but_a_bundle(
    bundle: Bundle, original: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes").mkdir()
    rewritten(bundle, original, tmp_path / "notes")  # an empty folder is nothing to lose
    (tmp_path / "notes" / MANIFEST).unlink()
    (tmp_path / "file").write_text("not a folder")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(BundleError, match=r"notes exists and is not a bundle; choose another"):
        rewritten(bundle, original, tmp_path / "notes")
    with pytest.raises(BundleError, match="file cannot be written"):
        rewritten(bundle, original, tmp_path / "file")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_hashes_of_training_texts_are_kept_once_and_sorted(
    bundle: Bundle, original: Path, tmp_path: Path
) -> None:
    rewritten(bundle, original, tmp_path / "bundle")
    kept = read_trained_on(tmp_path / "bundle")
    assert kept is not None
    assert kept.dtype == np.uint64
    assert kept.tolist() == [1, 3, 2**64 - 1]


def test_bundle_of_version_0_1_does_not_say_what_it_was_trained_on(
    folder: Path, tmp_path: Path
) -> None:
    files = dict(read_manifest(folder).files)
    for name in (TRAINED_ON, MODEL_CARD):
        del files[name]
        (folder / name).unlink()
    edit_manifest(folder, files=files)
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["epochs"], manifest["operating_points"], manifest["quality"]
    (folder / MANIFEST).write_text(json.dumps(manifest))

    old = load_bundle(folder).manifest
    assert (old.epochs, old.operating_points, old.quality) == ([], {}, None)
    assert (old.threshold_at("balanced"), old.threshold_at(0.7)) == (old.threshold, 0.7)
    with pytest.raises(BundleError, match=r"threshold 'recall-90': .* expected balanced, or a num"):
        old.threshold_at("recall-90")
    assert read_trained_on(folder) is None
    copy_bundle(folder, tmp_path / "copy")
    assert {path.name for path in (tmp_path / "copy").iterdir()} == {MANIFEST, *LOADED, VECTORS}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        safetensors.save({"a": np.zeros(1, np.uint64)}),
        safetensors.save({"normalized_texts": np.zeros(1)}),
        safetensors.save({"normalized_texts": np.zeros((1, 1), np.uint64)}),
    ],
)
def test_hashes_that_cannot_be_read_are_refused(folder: Path, content: bytes) -> None:
    (folder / TRAINED_ON).write_bytes(content)
    with pytest.raises(BundleError, match="was changed: expected SHA-256"):
        read_trained_on(folder)
    replace_file(folder, TRAINED_ON, content)
    with pytest.raises(BundleError) as caught:
        read_trained_on(folder)
    assert str(folder / TRAINED_ON) in str(caught.value)


class NoScorer:
    def score(self, texts: object) -> Iterator[float]:
        raise RuntimeError(f"no scores for {texts}")


def test_failed_writing_leaves_the_former_bundle(
    bundle: Bundle, original: Path, folder: Path
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(TypeError):
        rewritten(bundle, original, folder, pipeline="no bytes")
    with pytest.raises(RuntimeError, match="no scores"):
        rewritten(bundle, original, folder, scorer=NoScorer())
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_copy_takes_the_bundles_files_alone(folder: Path, tmp_path: Path) -> None:
    (folder / "more.bin").write_bytes(b"more")
    copy_bundle(folder, tmp_path / "copy")
    assert {path.name for path in (tmp_path / "copy").iterdir()} == {MANIFEST, *FILES}
    assert verify_bundle(tmp_path / "copy") == read_manifest(folder)


def test_scores_do_not_depend_on_the_batch(bundle: Bundle) -> None:
    score = bundle.scorer.score
    texts = [*GOLDEN_TEXTS, "", " ", "flood " * 500, "(" * 2000]
    together = score(texts)
    assert together.dtype == np.float32
    assert together.shape == (len(texts),)
    assert ((together > 0) & (together < 1)).all()
    alone = np.concatenate([score([text]) for text in texts])
    np.testing.assert_allclose(alone, together, rtol=0, atol=1e-5)
    np.testing.assert_allclose(score(texts[::-1])[::-1], together, rtol=0, atol=1e-5)
    short = texts[:-2]  # spaCy takes long for the others
    many = score((short * BATCH_SIZE)[: 2 * BATCH_SIZE + 1])
    assert len(many) == 2 * BATCH_SIZE + 1
    expected = np.resize(together[: len(short)], len(many))
    np.testing.assert_allclose(many, expected, rtol=0, atol=1e-5)


def test_no_texts_have_no_scores(bundle: Bundle) -> None:
    scores = bundle.scorer.score([])
    assert scores.shape == (0,)
    assert scores.dtype == np.float32

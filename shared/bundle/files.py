"""The files of a bundle: write, verify, copy and read them.

    manifest.json           what it is, and the SHA-256 of every other file
    weights.safetensors     the model's weights by path
    vocabulary.json         the words, each at the index that is its id
    pipeline.msgpack        spaCy's tokenizer rules and lemma table
    vectors.safetensors     pretrained word vectors, if the model has them
    golden.json             texts with the probabilities that the model gave them when it was made
    trained_on.safetensors  hashes of the texts that training saw; not in bundles of version 0.1
    model-card.md           a page about it for people; not in bundles of version 0.1

All are data: JSON, msgpack, safetensors, Markdown. No file can run code, and the size of each is
bounded, so that a malicious bundle cannot use more memory than that.
"""

import hashlib
import json
import shutil
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from safetensors import numpy as safetensors

from shared.bundle.manifest import FORMAT, Manifest
from shared.errors import BundleError, UnavailableError
from shared.model.architecture import Weights
from shared.model.scorer import Scorer
from shared.text.tokens import WordVectors, vectors_to_bytes

MANIFEST = "manifest.json"
WEIGHTS = "weights.safetensors"
VOCABULARY = "vocabulary.json"
PIPELINE = "pipeline.msgpack"
GOLDEN = "golden.json"
TRAINED_ON = "trained_on.safetensors"
VECTORS = "vectors.safetensors"
MODEL_CARD = "model-card.md"
LOADED = (WEIGHTS, VOCABULARY, PIPELINE, GOLDEN)
_OPTIONAL = (TRAINED_ON, MODEL_CARD)
_FILES = (*LOADED, *_OPTIONAL)
_LARGEST = {
    MANIFEST: 1 << 20,
    WEIGHTS: 512 << 20,
    VOCABULARY: 16 << 20,
    PIPELINE: 16 << 20,
    GOLDEN: 1 << 20,
    TRAINED_ON: 64 << 20,
    VECTORS: 128 << 20,
    MODEL_CARD: 1 << 20,
}
"""Largest size of each file in bytes: 100 times the size in our recipes, 16 times for lemmas and
vectors."""

_HASHES = "normalized_texts"  # the tensor's name in TRAINED_ON

GOLDEN_TEXTS = (
    "Forest fire near La Ronge, crews on the way",
    "this weekend was on fire",
    "BREAKING: magnitude 6.1 earthquake shakes the coast, buildings collapsed",
    "my inbox is a disaster",
    "Flood warning for all villages along the river, evacuate now http://t.co/abc123",
    "@friend that concert blew up my mind!!! sooooo good",
    "3 killed, 12 injured as bus crashes off the bridge #accident",
    "New trailer: Storm of Ashes, in cinemas this Friday",
    "water is up to the windows on our street",
    "lol I'm drowning in homework 😂",
    "Explosion at the chemical plant, stay inside and close the windows",
    "…",
)
"""Written for this project, so that a bundle holds no tweet of the data it was trained on."""


class Golden(msgspec.Struct):
    """A text and the probability that the model gave it when it was made."""

    text: str
    probability: float


def write_bundle(
    folder: Path,
    manifest: Manifest,
    weights: Weights,
    vocabulary: Sequence[str],
    pipeline: bytes,
    scorer: Scorer,
    trained_on: npt.NDArray[np.uint64],
    card: str,
    vectors: WordVectors | None = None,
) -> Manifest:
    """Write a bundle. The folder appears all at once and replaces an existing bundle.

    Args:
        manifest: without `files`, which are filled in here.
        pipeline: as `shared.text.lemmas.pipeline_to_bytes` returns it.
        scorer: the same model, which scores the golden texts.
        trained_on: hashes of the texts that training and validation saw, uint64, shape (hashes,).
        card: the model card, in Markdown.
        vectors: the pretrained vectors, if the model has them.

    Returns:
        The manifest as written.

    Raises:
        BundleError: if the folder cannot be written, or holds anything but a bundle.
    """
    golden = [
        {"text": text, "probability": round(float(probability), 6)}
        for text, probability in zip(GOLDEN_TEXTS, scorer.score(GOLDEN_TEXTS), strict=True)
    ]
    contents = {
        WEIGHTS: safetensors.save(weights),
        VOCABULARY: json.dumps(list(vocabulary), ensure_ascii=False, indent=0).encode(),
        PIPELINE: pipeline,
        GOLDEN: json.dumps(golden, ensure_ascii=False, indent=1).encode(),
        TRAINED_ON: safetensors.save({_HASHES: np.unique(trained_on)}),
        MODEL_CARD: card.encode(),
    }
    if vectors is not None:
        contents[VECTORS] = vectors_to_bytes(vectors)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    manifest = msgspec.structs.replace(manifest, files=hashes)
    contents[MANIFEST] = msgspec.json.format(msgspec.json.encode(manifest), indent=1)

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".writing-") as scratch:
            new = Path(scratch) / "bundle"
            new.mkdir()
            for name, content in contents.items():
                (new / name).write_bytes(content)
            if folder.exists():
                if not may_be_replaced(folder):
                    raise BundleError(f"{folder} exists and is not a bundle; choose another folder")
                folder.rename(Path(scratch) / "replaced")
            new.rename(folder)
    except OSError as error:
        raise BundleError(f"{folder} cannot be written: {error}") from error
    return manifest


def may_be_replaced(folder: Path) -> bool:
    """Return whether a folder is empty or holds a bundle.

    Raises:
        OSError: if it is not a folder or cannot be read.
    """
    names = {path.name for path in folder.iterdir()}
    return not names or MANIFEST in names


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest alone.

    Raises:
        BundleError: if it is missing, malformed or of another format.
    """
    path = folder / MANIFEST
    content = read_file(folder, MANIFEST)
    try:
        given = msgspec.json.decode(content, type=dict[str, Any]).get("format")
        if given != FORMAT:
            raise BundleError(
                f"{path}: expected bundle format {FORMAT}, got {given}: train again, or "
                "install the version that made it"
            )
        return msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"{path} is not the manifest of a bundle: {error}") from error


def digest_of(folder: Path) -> str:
    """Return the SHA-256 of the manifest, which contains those of the other files.

    Raises:
        BundleError: if there is no manifest.
    """
    return hashlib.sha256(read_file(folder, MANIFEST)).hexdigest()


def verify_bundle(folder: Path) -> Manifest:
    """Read the manifest, and compare every file's SHA-256 with it.

    Raises:
        BundleError: naming the file that is missing, changed or not listed.
    """
    manifest = read_manifest(folder)
    expected = {*_FILES, VECTORS} if manifest.architecture.vectors else set(_FILES)
    if {*manifest.files, *_OPTIONAL} != expected:
        raise BundleError(
            f"{folder / MANIFEST}: expected {sorted(expected)}, got {sorted(manifest.files)}"
        )
    for name in manifest.files:
        _read_verified(folder, manifest, name)
    return manifest


def read_trained_on(folder: Path) -> npt.NDArray[np.uint64] | None:
    """Read the hashes of the texts that a bundle was trained on, ascending, if it has them.

    Raises:
        BundleError: if the file is missing, changed or malformed.
    """
    manifest = read_manifest(folder)
    if TRAINED_ON not in manifest.files:
        return None
    content = _read_verified(folder, manifest, TRAINED_ON)
    try:
        hashes: npt.NDArray[np.uint64] = safetensors.load(content)[_HASHES]
    except Exception as error:  # safetensors raises errors of many classes
        raise BundleError(f"{folder / TRAINED_ON} cannot be read: {error!r}") from error
    if hashes.dtype != np.uint64 or hashes.ndim != 1:
        raise BundleError(f"{folder / TRAINED_ON}: expected 64-bit hashes, got {hashes.dtype}")
    return hashes


def copy_bundle(source: Path, target: Path) -> None:
    """Copy a bundle's files, and no others, into a new folder.

    Raises:
        BundleError: if the bundle does not verify.
    """
    files = verify_bundle(source).files
    target.mkdir()
    for name in (MANIFEST, *files):
        shutil.copyfile(source / name, target / name)


def read_file(folder: Path, name: str) -> bytes:
    """Read a file of a bundle.

    Raises:
        BundleError: if it is missing, larger than such a file may be, or not a plain file (a link
            could lead anywhere, and a device is endless).
        UnavailableError: if the disk fails; it may succeed later.
    """
    path = folder / name
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise BundleError(f"{path} is a link or a device; expected a file")
        if status.st_size > _LARGEST[name]:
            raise BundleError(
                f"{path} has {status.st_size} bytes; expected at most {_LARGEST[name]}"
            )
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise BundleError(f"{folder} is not a complete bundle: {error}") from error
    except OSError as error:
        raise UnavailableError(f"{path} cannot be read: {error}") from error


def _read_verified(folder: Path, manifest: Manifest, name: str) -> bytes:
    content = read_file(folder, name)
    expected, found = manifest.files[name], hashlib.sha256(content).hexdigest()
    if found != expected:
        raise BundleError(f"{folder / name} was changed: expected SHA-256 {expected}, got {found}")
    return content

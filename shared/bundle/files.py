"""Bundle: a trained model as a folder, the only thing that passes from trainer to worker.

    manifest.json        what it is, and the SHA-256 of every other file
    weights.safetensors  the model's weights by name
    vocabulary.json      the words, each at the place of its id
    pipeline.msgpack     spaCy's tokenizer rules and lemma table
    vectors.safetensors  pretrained word vectors, where the model looks them up
    golden.json          texts with the probabilities that the model gave them when it was made
    trained_on.safetensors
                         hashes of the texts that training saw; bundles of version 0.1 lack it
    model-card.md        a page about it for people; bundles of version 0.1 lack it

Loading reads data only (JSON, msgpack, safetensors), builds the model from our own code, and
refuses a bundle whose hashes or golden probabilities do not agree. A bundle that somebody made with
intent costs no more memory than the files may be large, and some more for the model of that size.
"""

import hashlib
import json
import shutil
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt
from safetensors import numpy as safetensors

from shared.bundle.manifest import FORMAT, Manifest
from shared.errors import BundleError, UnavailableError
from shared.model.architecture import (
    Architecture,
    Calibration,
    Weights,
    build_model,
    count_parameters,
    has_gpu,
    set_weights,
)
from shared.model.keras_model import GpuModel
from shared.model.numpy_model import NumpyModel
from shared.model.scorer import KerasModel, Scorer
from shared.text.encoder import TextEncoder
from shared.text.lemmas import TextSettings, lemma_table, pipeline_from_bytes
from shared.text.tokens import (
    Featurizer,
    TokenEncoder,
    WordVectors,
    vectors_from_bytes,
    vectors_to_bytes,
)

if TYPE_CHECKING:
    from spacy.language import Language

MANIFEST = "manifest.json"
WEIGHTS = "weights.safetensors"
VOCABULARY = "vocabulary.json"
PIPELINE = "pipeline.msgpack"
GOLDEN = "golden.json"
TRAINED_ON = "trained_on.safetensors"
VECTORS = "vectors.safetensors"
MODEL_CARD = "model-card.md"
_LOADED = (WEIGHTS, VOCABULARY, PIPELINE, GOLDEN)
_OPTIONAL = (TRAINED_ON, MODEL_CARD)
_FILES = (*_LOADED, *_OPTIONAL)
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
"""Bytes of each file at most: 100 times those of the recipes here, at least 16 times the
lemmas and the word vectors."""

_HASHES = "normalized_texts"  # the tensor's name in TRAINED_ON

GOLDEN_TOLERANCE = 1e-3
"""Probabilities may differ by this much between processors (1e-6 between CPUs, more with TF32)."""

TokenModel = type[NumpyModel] | type[GpuModel]

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
"""Written for this project, so that a bundle carries no tweet of the data it was trained on."""


class Bundle(msgspec.Struct, frozen=True):
    """A loaded bundle: its manifest, the manifest's SHA-256, and a scorer that is ready."""

    manifest: Manifest
    digest: str
    scorer: Scorer


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
    """Writes a bundle; the folder appears as a whole, and replaces one that was there.

    Args:
        manifest: without `files`, which is filled in here.
        pipeline: as `shared.text.lemmas.pipeline_to_bytes` gives it.
        scorer: of the same model; it scores the golden texts.
        trained_on: hashes of the texts that training and validation saw, uint64, shape (hashes,).
        card: the model card, in Markdown.
        vectors: those that the model looks up, if any.

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
                    raise BundleError(
                        f"{folder} is there and is no bundle: expected another folder"
                    )
                folder.rename(Path(scratch) / "replaced")
            new.rename(folder)
    except OSError as error:
        raise BundleError(f"{folder} cannot be written: {error}") from error
    return manifest


def may_be_replaced(folder: Path) -> bool:
    """Whether a folder is empty, or holds a bundle.

    Raises:
        OSError: if it cannot be read, or is none.
    """
    names = {path.name for path in folder.iterdir()}
    return not names or MANIFEST in names


def read_manifest(folder: Path) -> Manifest:
    """Reads a manifest alone, without looking at the other files.

    Raises:
        BundleError: if there is none, or it is of another format.
    """
    return _parse_manifest(folder, read_file(folder, MANIFEST))


def digest_of(folder: Path) -> str:
    """A bundle's digest: the SHA-256 of its manifest, which holds those of its other files.

    Raises:
        BundleError: if there is no manifest.
    """
    return hashlib.sha256(read_file(folder, MANIFEST)).hexdigest()


def verify_bundle(folder: Path) -> Manifest:
    """Reads the manifest and holds every file's SHA-256 against it.

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


def load_bundle(folder: Path, token_model: TokenModel | None = None) -> Bundle:
    """Loads a bundle, having verified its hashes and its golden texts.

    Args:
        token_model: as for `new_scorer`; the golden texts are scored by what will serve.

    Raises:
        BundleError: if a file is missing or changed, or a golden text's probability differs by
            more than `GOLDEN_TOLERANCE`.
    """
    manifest = verify_bundle(folder)
    contents = {name: read_file(folder, name) for name in _LOADED}
    try:
        weights: dict[str, Any] = safetensors.load(contents[WEIGHTS])
        vocabulary = msgspec.json.decode(contents[VOCABULARY], type=list[str])
        golden = msgspec.json.decode(contents[GOLDEN], type=list[_Golden])
        pipeline = pipeline_from_bytes(contents[PIPELINE])
        vectors = None
        if manifest.architecture.vectors:
            vectors = vectors_from_bytes(read_file(folder, VECTORS), manifest.architecture.vectors)
    except Exception as error:  # spaCy and safetensors raise whatever their parts raise
        raise BundleError(f"{folder}: a file of the bundle cannot be read: {error!r}") from error
    words = (len(vocabulary), manifest.text.num_words, manifest.architecture.num_words)
    if not golden or list(words) != sorted(words):
        raise BundleError(
            f"{folder}: expected golden texts, and no more words in the vocabulary than num_words "
            f"and embeddings; got {len(golden)} texts, {words[0]} words, {words[1]} and {words[2]}"
        )
    wanted = count_parameters(manifest.architecture)
    given = sum(weight.size for weight in weights.values())
    if wanted != given:
        raise BundleError(f"{folder}: expected {wanted} weights for this architecture, got {given}")
    try:
        scorer = new_scorer(
            manifest.architecture,
            manifest.text,
            weights,
            vocabulary,
            pipeline,
            vectors,
            manifest.calibration,
            token_model,
        )
        found = scorer.score([entry.text for entry in golden])
    except BundleError:
        raise
    except Exception as error:  # so do Keras, and spaCy where it finds no lemma table
        raise BundleError(f"{folder} does not score its golden texts: {error!r}") from error
    for entry, probability in zip(golden, found, strict=True):
        if not abs(entry.probability - probability) <= GOLDEN_TOLERANCE:
            raise BundleError(
                f"{folder} does not reproduce its golden probabilities: "
                f"expected {entry.probability:.6f} for {entry.text!r}, got {probability:.6f}"
            )
    return Bundle(manifest, digest_of(folder), scorer)


def new_scorer(
    spec: Architecture,
    settings: TextSettings,
    weights: Weights,
    vocabulary: Sequence[str],
    pipeline: "Language",
    vectors: WordVectors | None,
    calibration: Calibration = Calibration(),  # noqa: B008  # is frozen
    token_model: TokenModel | None = None,
) -> Scorer:
    """Puts a model together from what a bundle holds.

    Args:
        token_model: what serves a model of tokens; None: a GPU if there is one, or else NumPy,
            which is seven times as fast as Keras on a CPU.

    Raises:
        BundleError: if the weights are not those of the architecture.
    """
    if spec.ngrams:
        network = (token_model or (GpuModel if has_gpu() else NumpyModel))(spec, weights)
        lemmas = lemma_table(pipeline) if settings.respell else None
        featurizer = Featurizer(vocabulary, vectors, lemmas)
        tokens = TokenEncoder(pipeline, settings, featurizer, network.fold)
        return Scorer(tokens, network, calibration)
    model = build_model(spec)
    set_weights(model, weights)
    words = TextEncoder(pipeline, vocabulary, settings)
    return Scorer(words, KerasModel(spec, model), calibration)


def read_trained_on(folder: Path) -> npt.NDArray[np.uint64] | None:
    """The hashes of the texts that a bundle was trained on, ascending, or None if it lacks them.

    Raises:
        BundleError: if the file is missing or changed, or holds anything else.
    """
    manifest = read_manifest(folder)
    if TRAINED_ON not in manifest.files:
        return None
    content = _read_verified(folder, manifest, TRAINED_ON)
    try:
        hashes: npt.NDArray[np.uint64] = safetensors.load(content)[_HASHES]
    except Exception as error:  # safetensors raises whatever its parts raise
        raise BundleError(f"{folder / TRAINED_ON} cannot be read: {error!r}") from error
    if hashes.dtype != np.uint64 or hashes.ndim != 1:
        raise BundleError(f"{folder / TRAINED_ON}: expected 64-bit hashes, got {hashes.dtype}")
    return hashes


def copy_bundle(source: Path, target: Path) -> None:
    """Copies a bundle's files, and no others, into a new folder.

    Raises:
        BundleError: if the bundle does not verify.
    """
    files = verify_bundle(source).files
    target.mkdir()
    for name in (MANIFEST, *files):
        shutil.copyfile(source / name, target / name)


class _Golden(msgspec.Struct):
    text: str
    probability: float


def _parse_manifest(folder: Path, content: bytes) -> Manifest:
    try:
        stated = msgspec.json.decode(content, type=dict[str, Any]).get("format")
        if stated != FORMAT:
            raise BundleError(f"{folder / MANIFEST}: expected bundle format {FORMAT}, got {stated}")
        return msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"{folder / MANIFEST} is no bundle manifest: {error}") from error


def _read_verified(folder: Path, manifest: Manifest, name: str) -> bytes:
    content = read_file(folder, name)
    expected, found = manifest.files[name], hashlib.sha256(content).hexdigest()
    if found != expected:
        raise BundleError(f"{folder / name} was changed: expected SHA-256 {expected}, got {found}")
    return content


def read_file(folder: Path, name: str) -> bytes:
    """A file of the bundle.

    Raises:
        BundleError: if it is missing, is no plain file (a link could lead anywhere, and to what has
            no end), or is larger than such a file may be.
        UnavailableError: if the disk, or what it stands for, does not give it now.
    """
    path = folder / name
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise BundleError(f"{path} is a link or a device: expected a file")
        if status.st_size > _LARGEST[name]:
            raise BundleError(f"{path} has {status.st_size} bytes, more than {_LARGEST[name]}")
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise BundleError(f"{folder} is no complete bundle: {error}") from error
    except OSError as error:
        raise UnavailableError(f"{path} cannot be read: {error}") from error

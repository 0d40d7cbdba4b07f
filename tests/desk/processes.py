"""The desk as a process, as people start it."""

import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path

import msgspec

from tests.kafka.processes import environment_of, settings_of, wait_for
from worker.demo.local_kafka import LocalKafka
from worker.kafka.publisher import Publisher
from worker.kafka.records import Message
from worker.kafka.topics import create_topics
from worker.messages.alert import Alert, encode_alert
from worker.settings import Settings


def desk_settings(kafka: LocalKafka, name: str, folder: Path) -> Settings:
    """Return settings with their own topics and store. Create the topics."""
    settings = msgspec.structs.replace(
        settings_of(kafka, name), labels_topic=f"{name}.labels", cache=str(folder), desk_port=0
    )
    create_topics(settings, {settings.labels_topic: 3})
    return settings


def publish(settings: Settings, alerts: Iterable[Alert]) -> None:
    """Publish alerts, as a worker does."""
    publisher = Publisher(settings)
    publisher.publish(Message(settings.alerts_topic, None, encode_alert(a), []) for a in alerts)
    publisher.close()


class DeskProcess:
    """`triage-worker desk`.

    Attributes:
        url: of its pages.
    """

    def __init__(self, settings: Settings, log: Path) -> None:
        self._log = log
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "worker.cli", "desk"],
                env=environment_of(settings),
                stdout=file,
                stderr=file,
            )
        started = len(log.read_bytes())
        found = self._address(started)
        wait_for(lambda: bool(self._address(started)) or self.process.poll() is not None)
        found = self._address(started)
        assert found, self.log()
        self.url = found

    def _address(self, start: int) -> str | None:
        found = re.search(rb"^The desk is at (\S+)$", self._log.read_bytes()[start:], re.MULTILINE)
        return found and found[1].decode()

    def log(self) -> str:
        return self._log.read_text()

    def wait_until_ready(self) -> None:
        wait_for(lambda: self.status("/readyz") == 200)

    def status(self, path: str) -> int:
        """Return the status of a page, or 0 if nothing answers."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code
        except OSError:
            return 0

    def stop(self) -> int:
        """End it as a supervisor does, and return its exit code."""
        self.process.terminate()
        return self.process.wait(30)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

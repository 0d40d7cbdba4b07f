"""`triage-worker`: the program. Each command has a file in worker/commands."""

import os
import sys
from collections.abc import Sequence

from shared.command_line import new_app, run_command
from shared.errors import run_program
from worker.commands.alerts import alerts
from worker.commands.check import check
from worker.commands.create_topics import create_topics
from worker.commands.demo import demo
from worker.commands.desk import desk
from worker.commands.estimates import estimates
from worker.commands.ingest import ingest
from worker.commands.kafka import kafka
from worker.commands.label import label
from worker.commands.labels import labels
from worker.commands.replay_dead_letters import replay_dead_letters
from worker.commands.run import run
from worker.commands.settings import settings
from worker.settings import read_settings

app = new_app(
    "triage-worker",
    "Find the tweets about real disasters in a Kafka topic. "
    "Settings are read from `TRIAGE_…` variables.",
)
app.command(run)
app.command(check)
app.command(create_topics)
app.command(ingest)
app.command(alerts)
app.command(desk)
app.command(label)
app.command(labels)
app.command(estimates)
app.command(replay_dead_letters)
app.command(settings)
app.command(kafka)
app.command(demo)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code, as `shared.errors` lists them."""
    return run_program(lambda: run_command(app, arguments, lambda: read_settings(os.environ)))


if __name__ == "__main__":
    sys.exit(main())

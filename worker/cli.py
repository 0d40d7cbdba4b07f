"""`triage-worker`: run, create-topics, alerts, replay-dead-letters, demo."""

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from shared.console import Console, print_json_as_utf8
from shared.errors import run_program
from shared.settings import Settings, read_settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit code, as `shared.errors` lists them."""
    parsed = parser().parse_args(arguments)
    return run_program(lambda: _run(parsed))


def _run(arguments: argparse.Namespace) -> int:
    settings = read_settings(os.environ)
    arguments.command(arguments, settings)
    return 0


def _triage(_: argparse.Namespace, settings: Settings) -> None:
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    from worker.run import run

    run(settings, stop)


def _alerts(arguments: argparse.Namespace, settings: Settings) -> None:
    from worker.alerts import print_alerts

    console = Console(soft_wrap=True, highlight=False, emoji=False)
    if arguments.json:
        print_json_as_utf8()
    print_alerts(
        settings,
        (lambda line: print(line, flush=True)) if arguments.json else console.print,
        lambda line: print(f"warning: {line}", file=sys.stderr),
        from_beginning=arguments.from_beginning,
        as_json=arguments.json,
        max_messages=arguments.max_messages,
    )


def _replay_dead_letters(arguments: argparse.Namespace, settings: Settings) -> None:
    from worker.replay import Selection, moment_of, replay, report

    selection = Selection(
        frozenset(arguments.reason),
        arguments.since and moment_of(arguments.since),
        arguments.until and moment_of(arguments.until),
        arguments.count,
    )
    account = replay(settings, selection, send=arguments.send)
    print("\n".join(report(settings, account, sent=arguments.send)))


def _create_topics(arguments: argparse.Namespace, settings: Settings) -> None:
    from worker.kafka.topics import create_topics

    topics = (settings.input_topic, settings.alerts_topic, settings.dead_letters_topic)
    there = create_topics(settings, dict.fromkeys(topics, arguments.partitions))
    print(f"{settings.kafka_bootstrap_servers} has the topics {', '.join(topics)}")
    if there:
        print(f"as they were before, whatever their partitions: {', '.join(there)}")


def _demo(arguments: argparse.Namespace, _: Settings) -> None:
    from worker.demo.demo import demo

    columns = {name: getattr(arguments, name) for name in _OF_LABELLED_DATA}
    demo(arguments.data, arguments.picture, {k: v for k, v in columns.items() if v is not None})


_OF_LABELLED_DATA = ("text_column", "label_column", "positive")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from 1")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """The program's commands and options."""
    program = argparse.ArgumentParser(
        prog="triage-worker",
        description="Finds the tweets about real disasters in a Kafka topic. "
        "Settings are read from TRIAGE_… variables.",
    )
    commands = program.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="consume tweets and publish alerts until SIGTERM")
    run.set_defaults(command=_triage)

    topics = commands.add_parser(
        "create-topics", help="create the topics that are not there yet, with the broker's defaults"
    )
    topics.add_argument(
        "--partitions",
        type=_positive,
        default=6,
        metavar="N",
        help="of each; as many members can share the work; default: %(default)s",
    )
    topics.set_defaults(command=_create_topics)

    alerts = commands.add_parser("alerts", help="print alerts as they are published")
    alerts.add_argument("--json", action="store_true", help="the alerts as they are, one a line")
    alerts.add_argument(
        "--from-beginning", action="store_true", help="begin with the oldest alert there is"
    )
    alerts.add_argument(
        "--max-messages", type=_positive, metavar="N", help="end after N alerts; default: never"
    )
    alerts.set_defaults(command=_alerts)

    replay = commands.add_parser(
        "replay-dead-letters", help="put records that failed back into the input topic, each once"
    )
    replay.add_argument(
        "--send", action="store_true", help="do it; default: only say what would go"
    )
    replay.add_argument(
        "--reason",
        action="append",
        default=[],
        metavar="NAME",
        help="those that failed by this reason, more reasons by more options; default: all",
    )
    replay.add_argument(
        "--since", metavar="TIME", help="those that failed then or later, as 2026-11-23T10:00Z"
    )
    replay.add_argument("--until", metavar="TIME", help="those that failed before")
    replay.add_argument("--count", type=_positive, metavar="N", help="N of them at most")
    replay.set_defaults(command=_replay_dead_letters)

    demo = commands.add_parser(
        "demo", help="start a Kafka, train, promote, and watch tweets become alerts"
    )
    demo.add_argument(
        "--data", type=Path, metavar="FILE", help="labelled tweets; default: a sample of our own"
    )
    for name in _OF_LABELLED_DATA:
        option = f"--{name.replace('_', '-')}"
        demo.add_argument(option, metavar="NAME", help="of FILE, as of `triage-trainer train`")
    demo.add_argument(
        "--picture", type=Path, metavar="FILE", help="write what was shown to FILE as SVG"
    )
    demo.set_defaults(command=_demo)
    return program


if __name__ == "__main__":
    sys.exit(main())

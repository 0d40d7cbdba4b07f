"""Keeps alerts in a database, each once: `python subscriber.py --help`; needs kafka-python[lz4]."""

import argparse
import contextlib
import json
import signal
import sqlite3
import threading

from kafka import KafkaConsumer

TABLE = """
CREATE TABLE IF NOT EXISTS alerts (
    alert_id TEXT PRIMARY KEY, probability REAL NOT NULL, text TEXT NOT NULL, alert TEXT NOT NULL
)"""


def main() -> None:
    """Follow the topic until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap-servers", default="localhost:9092", metavar="HOST:PORT")
    parser.add_argument("--topic", default="tweets.alerts")
    parser.add_argument("--group", default="alert-subscribers", help="members share the work")
    parser.add_argument("--database", default="alerts.db", metavar="FILE")
    arguments = parser.parse_args()

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    consumer = KafkaConsumer(
        arguments.topic,
        bootstrap_servers=arguments.bootstrap_servers.split(","),
        group_id=arguments.group,
        isolation_level="read_committed",  # without it, alerts of aborted batches would be seen
        auto_offset_reset="earliest",  # a new group begins with the oldest alert there is
        enable_auto_commit=False,  # or an alert might count as done before it is kept
        # With TLS and SASL: security_protocol="SASL_SSL", ssl_cafile=…, sasl_mechanism=…,
        # sasl_plain_username=…, sasl_plain_password=…
    )
    with contextlib.closing(consumer), contextlib.closing(connect(arguments.database)) as db:
        while not stop.is_set():
            polled = consumer.poll(timeout_ms=500)
            for record in (record for records in polled.values() for record in records):
                keep(db, record.value)
            if polled:
                db.commit()
                consumer.commit()  # last: if we die before it, the alerts come again and are known


def connect(database: str) -> sqlite3.Connection:
    """Open the database, with its table."""
    db = sqlite3.connect(database)
    db.execute(TABLE)
    return db


def keep(db: sqlite3.Connection, value: bytes) -> None:
    """Store and print an alert, unless its `alert_id` is already in the database."""
    alert = json.loads(value)
    row = (alert["alert_id"], alert["probability"], alert["tweet"]["text"], value.decode())
    if db.execute("INSERT OR IGNORE INTO alerts VALUES (?, ?, ?, ?)", row).rowcount:
        print(*row[:2], json.dumps(row[2], ensure_ascii=False), sep="\t", flush=True)


if __name__ == "__main__":
    main()

"""`triage-trainer predict`: scores texts, or the lines of standard input."""

import argparse
import json
import os
import sys
from pathlib import Path

from rich.console import Console

from shared.bundle.files import load_bundle
from shared.console import print_json_as_utf8
from shared.errors import UsageError
from shared.registry.base import Registry


def predict(
    arguments: argparse.Namespace, registry: Registry, cache: Path, out: Console, err: Console
) -> None:
    """Runs the command.

    Raises:
        UsageError: if a text is empty.
    """
    version = registry.resolve(arguments.version)
    texts = arguments.texts or _read_lines()
    for text in texts:
        if not text or text.isspace():
            raise UsageError(f"text {text!r}: expected a tweet")
    # A command line can hold bytes that are not UTF-8; they score like any unreadable character.
    texts = [os.fsencode(text).decode("utf-8", "replace") for text in texts]
    with err.status(f"loading {version.manifest.name}, version {version.number}"):
        bundle = load_bundle(registry.fetch(version, cache))
    threshold = bundle.manifest.threshold_at(arguments.threshold)
    if arguments.json:
        print_json_as_utf8()
    for text, probability in zip(texts, bundle.scorer.score(texts).tolist(), strict=True):
        relevant = probability >= threshold
        if arguments.json:
            line = {"text": text, "probability": probability, "relevant": relevant}
            print(json.dumps(line, ensure_ascii=False))
        else:
            verdict = "relevant    " if relevant else "not relevant"
            out.print(f"{probability:.3f}  {verdict}  {text}", markup=False, highlight=False)


def _read_lines() -> list[str]:
    """The lines of standard input, cut at line ends alone, as a tweet may hold U+2028."""
    content = sys.stdin.buffer.read().decode("utf-8", "replace").replace("\r\n", "\n")
    return content.removesuffix("\n").split("\n") if content else []

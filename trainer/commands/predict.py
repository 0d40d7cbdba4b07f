"""`triage-trainer predict`: scores texts, or the lines of standard input."""

import os
import sys
from json import dumps

from shared.command_line import Flag
from shared.console import print_json_as_utf8
from shared.errors import UsageError
from shared.registry.base import PRODUCTION
from trainer.commands.options import ContextGiven, Decision


def predict(
    *texts: str,
    version: str = PRODUCTION,
    decision: Decision = Decision(),  # noqa: B008  # it is frozen
    json: Flag = False,
    context: ContextGiven,
) -> None:
    """Score texts, or the lines of standard input.

    For example:

        $ triage-trainer predict "Forest fire near La Ronge"
        $ triage-trainer predict --json < tweets.txt > scored.jsonl

    Args:
        texts: The texts; without any, each line of standard input is one.
        version: The version that scores them, a number or an alias.
        json: Print a JSON object for each text, one a line.

    Raises:
        UsageError: if a text is empty.
    """
    from shared.bundle.files import load_bundle

    found = context.registry.resolve(version)
    tweets = list(texts) or _read_lines()
    for text in tweets:
        if not text or text.isspace():
            raise UsageError(f"text {text!r}: expected a tweet")
    # A command line can hold bytes that are not UTF-8; they score like any unreadable character.
    tweets = [os.fsencode(text).decode("utf-8", "replace") for text in tweets]
    with context.err.status(f"loading {found.manifest.name}, version {found.number}"):
        bundle = load_bundle(context.registry.fetch(found, context.cache))
    threshold = bundle.manifest.threshold_at(decision.threshold)
    if json:
        print_json_as_utf8()
    for text, probability in zip(tweets, bundle.scorer.score(tweets).tolist(), strict=True):
        relevant = probability >= threshold
        if json:
            line = {"text": text, "probability": probability, "relevant": relevant}
            print(dumps(line, ensure_ascii=False))
        else:
            verdict = "relevant    " if relevant else "not relevant"
            context.out.print(
                f"{probability:.3f}  {verdict}  {text}", markup=False, highlight=False
            )


def _read_lines() -> list[str]:
    """The lines of standard input, cut at line ends alone, as a tweet may hold U+2028."""
    content = sys.stdin.buffer.read().decode("utf-8", "replace").replace("\r\n", "\n")
    return content.removesuffix("\n").split("\n") if content else []

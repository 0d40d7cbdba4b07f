"""`triage-worker estimates`: writes what each version is worth on the live stream."""

import sys
from typing import Annotated

from shared.command_line import Given
from worker.settings import Settings


def estimates(*, settings: Annotated[Settings, Given]) -> None:
    """Write the estimated precision and recall of each version on the live stream.

    They are estimated from the review tweets and the labels that the topics have now, with 95 %
    intervals. Each version is a line of JSON.

    For example:

        $ triage-worker estimates | triage-trainer list --live -
    """
    import msgspec

    from shared.console import set_stdout_to_utf8
    from worker.labels import read_labels
    from worker.live import live_figures, read_review_tweets

    def warn(line: str) -> None:
        print(f"warning: {line}", file=sys.stderr)

    reviews = read_review_tweets(settings, warn)
    found = live_figures(reviews, read_labels(settings, warn))
    set_stdout_to_utf8()
    for figures in found:
        print(msgspec.json.encode(figures).decode())
    labelled = sum(figures.labelled for figures in found)
    print(f"{len(reviews)} review tweets, {labelled} of them labelled", file=sys.stderr)

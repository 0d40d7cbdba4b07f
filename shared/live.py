"""Live figures: what a version is worth on the stream, from the worker to the trainer."""

import msgspec

from shared.bundle.quality import Figure


class LiveFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A line of `triage-worker estimates`.

    Attributes:
        model: the version's name, such as `LSTM`.
        version: its number in the registry of the workers.
        digest: SHA-256 of its manifest.
        tweets: how many tweets the review tweets stand for.
        labelled: review tweets that are labelled.
        precision: share of alerts that are relevant; None without labelled alerts.
        recall: share of relevant tweets that are alerts; None without labels of both kinds.
    """

    model: str
    version: int
    digest: str
    tweets: float
    labelled: int
    precision: Figure | None
    recall: Figure | None

"""`triage-trainer fetch-data`: downloads the published data set."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from shared.errors import UsageError
from trainer.commands.options import ContextGiven


def fetch_data(
    *,
    to: Annotated[Path | None, Parameter(metavar="FILE")] = None,
    urls: Annotated[list[str] | None, Parameter(name="--from", metavar="URL")] = None,
    context: ContextGiven,
) -> None:
    """Download the published data set and print its path.

    Needs no network if the file is there already.

    For example:

        $ triage-trainer train --data "$(triage-trainer fetch-data)"

    Args:
        to: The file to write; by default one in `TRIAGE_CACHE`.
        urls: Where to download it from; repeat the option for more URLs, which are tried in turn.
            By default, where it was published.

    Raises:
        UsageError: if a URL is not one of HTTP.
    """
    from trainer.data.fetch import NAME, URLS, fetch

    for url in urls or ():
        if not url.startswith(("http://", "https://")):
            raise UsageError(f"--from {url!r}: expected http://… or https://…")
    with context.err.status("downloading the published data set"):
        path = fetch(urls or URLS, to or context.cache / NAME)
    context.out.print(path, highlight=False)

"""Download the published data set.

Copies differ in their encoding, but not in rows and labels, so the content is checked.
"""

import csv
import hashlib
import io
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

from shared.errors import DataError, UnavailableError

NAME = "socialmedia-disaster-tweets-DFE.csv"

URLS = (
    f"https://d1p17r2m4rzlbo.cloudfront.net/wp-content/uploads/2016/03/{NAME}",
    f"https://www.figure-eight.com/wp-content/uploads/2016/03/{NAME}",
)
"""Tried in turn. Kaggle and data.world have it too, but require a login."""

CONTENT = "9931891770311134d7a0214127a5771b86ba47ec2c7cadccb0d697a9be1a1896"
"""What `content_hash` returns for the published data set."""


def fetch(
    urls: Sequence[str], target: Path, *, content: str = CONTENT, timeout_s: float = 20.0
) -> Path:
    """Download a labelled file from the first URL that has it, unless it is there already.

    Args:
        urls: tried in turn.
        target: the file. It is only created complete and with the right content.
        content: its `content_hash`.
        timeout_s: how long a server may be silent, in seconds.

    Raises:
        DataError: if the target exists with another content, or cannot be written.
        UnavailableError: if no URL has it, with the reason of each.
    """
    import pooch
    import requests

    pooch.get_logger().setLevel(logging.WARNING)
    problems = []
    try:
        if target.exists():
            if content_hash(target) == content:
                return target
            raise DataError(
                f"{target} exists and is not the published data set; remove it, or use --to FILE"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        for url in urls:
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as folder:
                try:
                    downloader = pooch.HTTPDownloader(timeout=timeout_s)
                    file = Path(pooch.retrieve(url, None, NAME, folder, downloader=downloader))
                except (requests.RequestException, ValueError) as error:
                    reason = getattr(error.args[0] if error.args else None, "reason", None)
                    problems.append(f"{url}: {reason or error}")  # without urllib3's wrapping
                    continue
                if content_hash(file) == content:
                    file.replace(target)
                    return target
            problems.append(f"{url}: its content is not the published data set")
    except OSError as error:
        raise DataError(f"{target} cannot be written: {error.strerror}") from error
    raise UnavailableError(
        f"the published data set cannot be downloaded: {'; '.join(problems)}. "
        "Check the network; or download the file in a browser, on any machine, and pass it to "
        "--data; or use --from URL"
    )


def content_hash(path: Path) -> str | None:
    """Return the SHA-256 of the lines `_unit_id,choose_one` in file order, or None without them."""
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    try:
        rows = csv.DictReader(io.StringIO(text, newline=""))
        lines = [f"{row['_unit_id']},{row['choose_one']}" for row in rows]
    except (csv.Error, KeyError):
        return None
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()

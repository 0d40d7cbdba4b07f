"""`triage-trainer fetch-data`: brings the published data set here from where it is published.

Copies of it differ in bytes, by encoding, but not in rows and labels: the content is verified. A
download that was cut off goes on where it ended, if the server says that the file is still the same
(RFC 9110: Range with If-Range and a strong validator).
"""

import csv
import hashlib
import io
import time
from collections.abc import Sequence
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from shared.errors import DataError, UnavailableError

NAME = "socialmedia-disaster-tweets-DFE.csv"

PLACES = (
    f"https://d1p17r2m4rzlbo.cloudfront.net/wp-content/uploads/2016/03/{NAME}",
    f"https://www.figure-eight.com/wp-content/uploads/2016/03/{NAME}",
)
"""Tried in turn. Kaggle and data.world, which have it too, take more than the URL of a file."""

CONTENT = "9931891770311134d7a0214127a5771b86ba47ec2c7cadccb0d697a9be1a1896"
"""What `content_hash` says of the published set."""

LARGEST = 16 * 2**20
"""Bytes that are taken at most; the largest known copy has 2.3 million."""

_ATTEMPTS = 4
_AGAIN = (408, 429, 500, 502, 503, 504)  # HTTP status codes after which a server is asked again


def fetch(
    places: Sequence[str],
    target: Path,
    *,
    content: str = CONTENT,
    silence_s: float = 20.0,
    deadline_s: float = 300.0,
    pause_s: float = 1.0,
) -> Path:
    """Downloads a labelled file from the first place that has it, unless it is there already.

    Args:
        places: URLs, tried in turn.
        target: the file, which appears as a whole, with the right content or not at all.
        content: its `content_hash`.
        silence_s: how long a server may say nothing, in seconds.
        deadline_s: how long a place may take in all, in seconds.
        pause_s: before a server is asked again the first time, in seconds; it doubles.

    Raises:
        DataError: if the target is there with another content, or cannot be written.
        UnavailableError: if no place has it, saying why of each.
    """
    problems = []
    try:
        if target.exists():
            if content_hash(target) == content:
                return target
            raise DataError(
                f"{target} is there and is not the published set: remove it, or say --to FILE"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        for place in places:
            part = _Part(target, place)
            try:
                part.download(silence_s, time.monotonic() + deadline_s, pause_s)
            except _PlaceError as error:
                problems.append(f"{place}: {error}")
                continue
            if content_hash(part.path) == content:
                part.path.replace(target)
                part.remove()
                return target
            part.remove()
            problems.append(f"{place}: what it sends is not the published set")
    except OSError as error:
        raise DataError(f"{target} cannot be written: {error.strerror}") from error
    raise UnavailableError(f"the published set cannot be fetched: {'; '.join(problems)}")


def content_hash(path: Path) -> str | None:
    """The SHA-256 of the lines `_unit_id,choose_one` in file order, or None if there are none."""
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


class _PlaceError(Exception):
    """This place does not have it."""


class _CutError(Exception):
    """The server was cut off, or asks to come again."""


class _Part:
    """What was downloaded from one place so far, beside the target.

    The validator (an ETag, or a date) that names the version of the file lies in a file of its own.
    """

    def __init__(self, target: Path, url: str) -> None:
        self._url = url
        place = hashlib.sha256(url.encode()).hexdigest()[:8]
        self.path = target.with_name(f".{target.name}.{place}.part")
        self._validator = self.path.with_suffix(".validator")

    def remove(self) -> None:
        """Forgets what was downloaded."""
        self.path.unlink(missing_ok=True)
        self._validator.unlink(missing_ok=True)

    def download(self, silence_s: float, deadline: float, pause_s: float) -> None:
        """Completes the file, in several attempts if need be.

        Args:
            deadline: by `time.monotonic`.

        Raises:
            _PlaceError: if the place does not have the file, or not in time.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._attempt(silence_s, deadline)
                return
            except _CutError as error:
                pause = pause_s * 2 ** (attempt - 1)
                if attempt == _ATTEMPTS or time.monotonic() + pause > deadline:
                    raise _PlaceError(f"{error}, in attempt {attempt}") from error
            time.sleep(pause)

    def _attempt(self, silence_s: float, deadline: float) -> None:
        headers = {"User-Agent": "tweet-triage", "Accept-Encoding": "identity"}
        done = 0
        if self.path.exists() and self._validator.exists():
            done = self.path.stat().st_size
            validator = self._validator.read_text("ascii")
            headers |= {"Range": f"bytes={done}-", "If-Range": validator}
        with self._open(headers, silence_s) as response:
            length = response.headers.get("Content-Length", "")
            if response.status != 206:
                done = 0
            elif not response.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
                self.remove()
                raise _CutError("another range was sent than asked for")
            total = done + int(length) if length.isdigit() else None
            if done == 0:
                self._remember(response)
            with self.path.open("ab" if done else "wb") as file:
                while chunk := _next(response):
                    file.write(chunk)
                    done += len(chunk)
                    if done > LARGEST:
                        self.remove()
                        raise _PlaceError(f"more than {LARGEST} bytes")
                    if time.monotonic() > deadline:
                        raise _PlaceError(f"too slow: {done} bytes in the time there is")
        if total is not None and done < total:
            raise _CutError(f"cut off after {done} of {total} bytes")

    def _open(self, headers: dict[str, str], silence_s: float) -> HTTPResponse:
        try:
            request = Request(self._url, headers=headers)  # noqa: S310  # the scheme was checked
            response: HTTPResponse = urlopen(request, timeout=silence_s)  # noqa: S310
        except HTTPError as error:
            error.close()
            if error.code == 416:  # what is here is no beginning of what is there
                self.remove()
            if error.code in (*_AGAIN, 416):
                raise _CutError(f"HTTP {error.code}") from error
            raise _PlaceError(f"HTTP {error.code}") from error
        except URLError as error:
            raise _PlaceError(str(error.reason)) from error
        except (OSError, HTTPException, ValueError) as error:
            raise _PlaceError(str(error) or type(error).__name__) from error
        return response

    def _remember(self, response: HTTPResponse) -> None:
        """Keeps the validator, if it is one that a range can be asked for by."""
        tag = response.headers.get("ETag", "")
        validator = tag if tag.startswith('"') else response.headers.get("Last-Modified", "")
        self._validator.unlink(missing_ok=True)
        if validator and validator.isascii():
            self._validator.write_text(validator, "ascii")


def _next(response: HTTPResponse) -> bytes:
    try:
        return response.read1(2**16)
    except (OSError, HTTPException) as error:
        raise _CutError(f"cut off: {error or type(error).__name__}") from error

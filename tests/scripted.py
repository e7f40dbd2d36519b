"""A model server that says exactly what a test tells it to: real HTTP, the Ollama API, no model behind it.

`Scripted` answers /api/chat (the animator) and /api/generate (the reflector) from two lists, one entry a request, the
last entry for ever after. An entry is a text, or a `Fault`. Every request is kept in `history`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

MODEL = "scripted:1b"
DIGEST = "ab" * 32


@dataclass(frozen=True)
class Fault:
    """A server that misbehaves: refuses with a status, drops the line, cuts a stream short, or ends it unfinished."""

    kind: Literal["status", "drop", "cut", "no-done", "error-line", "empty", "length"]
    status: int = 501
    """By default one that lasts: after a 500 the clients ask again."""
    text: str = "the server is ill"


Entry = str | Fault


@dataclass
class Scripted:
    """What the server will say and what it was asked."""

    animator: Sequence[Entry] = ()
    reflector: Sequence[Entry] = ()
    history: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    fail_at: int | None = None
    """Number (from 1) of the model call, of either role, at which `fault` strikes once."""
    fault: Fault = field(default_factory=lambda: Fault("status"))
    capabilities: Sequence[str] | None = ()
    """What the server says that its model can do; None: it doesn't say."""
    shown: dict[str, Any] = field(default_factory=dict)
    """More that /api/show says of the model."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""

    def next(self, path: str, body: dict[str, Any]) -> Entry:
        with self.lock:
            self.history.append((path, body))
            if len(self.history) == self.fail_at:
                return self.fault
            said = sum(p == path for p, _ in self.history)
            entries = self.animator if path == "/api/chat" else self.reflector
            return entries[min(said, len(entries)) - 1]

    def asked(self, path: str) -> list[dict[str, Any]]:
        return [body for p, body in self.history if p == path]


def handler_of(script: Scripted) -> type[BaseHTTPRequestHandler]:
    """What answers as the script says."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None: ...

        def _json(self, value: object, status: int = 200) -> None:
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except ConnectionResetError:
                self.close_connection = True  # a client that left in the middle of a stream, as ours do

        def do_GET(self) -> None:
            if self.path == "/api/version":
                self._json({"version": "0.99.0"})
            elif self.path == "/api/tags":
                entry = {"name": MODEL, "model": MODEL, "modified_at": "2026-01-01T00:00:00Z", "size": 1}
                self._json({"models": [{**entry, "digest": DIGEST, "details": {}}]})
            else:
                self._json({"error": "not found"}, 404)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
            if self.path == "/api/show":
                if (body.get("model") or body.get("name")) != MODEL:
                    self._json({"error": f"model '{body.get('model')}' not found"}, 404)
                else:
                    shown = {"details": {}, "model_info": {"x.context_length": 4096}}
                    able = {} if script.capabilities is None else {"capabilities": list(script.capabilities)}
                    self._json(shown | able | script.shown)
                return
            # A server that read less of a long prompt would be taken for one that cut it.
            said = body.get("prompt") or "".join(m.get("content", "") for m in body.get("messages", ()))
            self._read = max(7, len(said) // 4)
            entry = script.next(self.path, body)
            if isinstance(entry, Fault) and entry.kind == "status":
                self._json({"error": entry.text}, entry.status)
            elif isinstance(entry, Fault) and entry.kind == "drop":
                self.close_connection = True
            elif body.get("stream", True):
                self._stream(entry)
            else:
                self._whole(entry)

        def _part(self, text: str) -> dict[str, Any]:
            said = {"message": {"role": "assistant", "content": text}}
            return {"model": MODEL, "created_at": "2026-01-01T00:00:00Z"} | (
                said if self.path == "/api/chat" else {"response": text}
            )

        def _final(self, tokens: int, reason: str = "stop") -> dict[str, Any]:
            counts = {"prompt_eval_count": self._read, "eval_count": tokens, "total_duration": 9, "load_duration": 1}
            return self._part("") | {"done": True, "done_reason": reason, "eval_duration": 1} | counts

        def _whole(self, entry: Entry) -> None:
            if isinstance(entry, Fault) and entry.kind == "length":
                self._json(self._part(entry.text) | self._final(1024, "length") | self._said(entry.text))
            elif isinstance(entry, Fault):
                # Whatever is cut or unfinished: a body shorter than promised, or none of the text.
                text = "" if entry.kind == "empty" else entry.text
                self._json(self._final(0) | self._said(text))
            else:
                self._json(self._final(len(entry.split())) | self._said(entry))

        def _said(self, text: str) -> dict[str, Any]:
            return {k: v for k, v in self._part(text).items() if k in ("message", "response")}

        def _line(self, value: dict[str, Any]) -> None:
            data = json.dumps(value).encode() + b"\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

        def _stream(self, entry: Entry) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/x-ndjson")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            text = entry.text if isinstance(entry, Fault) else entry
            try:
                pieces = text.splitlines(keepends=True)
                for piece in pieces:
                    self._line(self._part(piece) | {"done": False})
                if isinstance(entry, Fault):
                    if entry.kind == "cut":
                        self.close_connection = True
                        return
                    if entry.kind == "error-line":
                        self._line({"error": entry.text})
                    elif entry.kind == "length":
                        self._line(self._final(1024, "length"))
                    elif entry.kind == "empty":
                        self._line(self._final(0))
                else:
                    self._line(self._final(len(pieces)))
                self.wfile.write(b"0\r\n\r\n")
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the client had enough: that is what it does after a complete block

    return Handler


@contextmanager
def serving(script: Scripted, port: int = 0) -> Iterator[Scripted]:
    """Serve the script on loopback."""
    with listening(handler_of(script), port) as script.url:
        yield script


@contextmanager
def listening(handler: type[BaseHTTPRequestHandler], port: int = 0) -> Iterator[str]:
    """The address of a server on loopback that answers so."""
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

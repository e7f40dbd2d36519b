"""A server of the Ollama API that misbehaves on request, each way once or for ever, over real sockets.

`Gremlin.plan` has an `Act` for each request for text, the last one for all that follow. What it was asked is in
`asked`, and in `fates` what became of each answer: "done", or "left" when the client was gone before its end.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.scripted import DIGEST, MODEL

PATIENCE = 10.0


class Talk:
    """One answer in the making."""

    def __init__(self, handler: BaseHTTPRequestHandler, gremlin: Gremlin, body: dict[str, Any]) -> None:
        self.handler = handler
        self.gremlin = gremlin
        self.body = body
        self.chat = handler.path == "/api/chat"

    def head(self, status: int = 200, kind: str = "application/x-ndjson", **headers: str) -> None:
        self.handler.send_response(status)
        self.handler.send_header("Content-Type", kind)
        for name, value in headers.items():
            self.handler.send_header(name.replace("_", "-"), value)
        self.handler.send_header("Connection", "close")
        self.handler.end_headers()

    def raw(self, data: bytes) -> None:
        self.handler.wfile.write(data)

    def part(self, text: str) -> dict[str, Any]:
        said: dict[str, Any] = {"message": {"role": "assistant", "content": text}} if self.chat else {"response": text}
        return {"model": MODEL, "created_at": "2026-01-01T00:00:00Z", **said}

    def line(self, text: str) -> None:
        self.raw(json.dumps({**self.part(text), "done": False}).encode() + b"\n")

    def last(self, text: str = "", **changes: Any) -> None:
        read = max(7, len(json.dumps(self.body)) // 4)
        counts = {"prompt_eval_count": read, "eval_count": 2}
        durations = {"total_duration": 9, "load_duration": 1, "eval_duration": 1}
        line = {**self.part(text), "done": True, "done_reason": "stop", **counts, **durations, **changes}
        self.raw(json.dumps(line).encode() + b"\n")

    def refuse(self, status: int, text: str = "the server is ill", **headers: str) -> None:
        self.head(status, "application/json", **headers)
        self.raw(json.dumps({"error": text}).encode())

    def hold(self) -> None:
        """Say nothing until the client leaves (or the server is stopped)."""
        connection = self.handler.connection
        while not self.gremlin.stopped.is_set():
            if select.select([connection], [], [], 0.02)[0] and not _bytes_wait(connection):
                raise ConnectionResetError("the client left")

    def die(self) -> None:
        """Reset the connection, as a process that is killed does."""
        self.handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.handler.connection.close()
        raise ConnectionResetError("died")


def _bytes_wait(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1, socket.MSG_PEEK)
    except OSError:
        return b""


Act = Callable[[Talk], None]
GOOD = "one\ntwo\n"
TOO_LONG = "request (9000 tokens) exceeds the available context size (4096 tokens)"


def answer(text: str) -> Act:
    """An orderly answer, a line a token, or whole where no stream was asked for."""

    def act(talk: Talk) -> None:
        talk.head()
        if talk.body.get("stream", True):
            pieces = text.splitlines(keepends=True)
            for piece in pieces:
                talk.line(piece)
            talk.last(eval_count=len(pieces))
        else:
            talk.last(text)

    return act


def _after_half(end: Act) -> Act:
    def act(talk: Talk) -> None:
        talk.head()
        talk.line("half\n")
        end(talk)

    return act


def _endless(talk: Talk) -> None:
    talk.head()
    line = json.dumps({**talk.part("again\n" * 100), "done": False}).encode() + b"\n"
    while not talk.gremlin.stopped.is_set():
        talk.raw(line)


def _one_endless_line(talk: Talk) -> None:
    talk.head()
    while not talk.gremlin.stopped.is_set():
        talk.raw(b" " * 65536)


def _blank_lines(talk: Talk) -> None:
    talk.head()
    for piece in GOOD.splitlines(keepends=True):
        talk.raw(b"\n\r\n")
        talk.line(piece)
    talk.raw(b"\n")
    talk.last()
    talk.raw(b"\n \n")


def _only_thoughts(talk: Talk) -> None:
    talk.head()
    for piece in ("<think>", "```python\n", "def make_gif(path): ...\n", "```\n", "</think>"):
        talk.line(piece)
    talk.last(done_reason="length", eval_count=talk.body["options"]["num_predict"])


def _whole(data: bytes, status: int = 200, kind: str = "application/x-ndjson") -> Act:
    def act(talk: Talk) -> None:
        talk.head(status, kind)
        talk.raw(data)

    return act


def _said(text: str) -> Act:
    def act(talk: Talk) -> None:
        talk.raw(json.dumps({"error": text}).encode() + b"\n")

    return act


def _counts(count: float | None) -> Act:
    def act(talk: Talk) -> None:
        talk.head()
        talk.line(GOOD)
        talk.last(prompt_eval_count=count, eval_count=count)

    return act


HTML = b"<html><body>\n<h1>Welcome to the hotel's network</h1>\n</body></html>\n"

#: Every way to misbehave with one request, by name.
ACTS: dict[str, Act] = {
    "good": answer(GOOD),
    "dies before a token": lambda talk: talk.die(),
    "hangs before a token": lambda talk: talk.hold(),
    "hangs between tokens": _after_half(lambda talk: talk.hold()),
    "dies in the middle": _after_half(lambda talk: talk.die()),
    "ends without done": _after_half(lambda talk: None),
    "reports an error in the middle": _after_half(_said("model runner has unexpectedly stopped")),
    "429": lambda talk: talk.refuse(429, "slow down", Retry_After="7"),
    "500": lambda talk: talk.refuse(500),
    "503": lambda talk: talk.refuse(503, "server busy, please try again.  maximum pending requests exceeded"),
    "404": lambda talk: talk.refuse(404, f"model '{MODEL}' not found"),
    "leaves out a part": _counts(7),
    "does not fit": lambda talk: talk.refuse(400, TOO_LONG),
    "HTML": _whole(HTML, kind="text/html"),
    "HTML with 502": _whole(HTML, 502, "text/html"),
    "wrong JSON": _whole(b'{"model": "scripted:1b", "message": {"role": "assi\n'),
    "a list": _whole(b'[{"done": true}]\n'),
    "counts that are no numbers": _counts(float("nan")),
    "counts that are null": _counts(None),
    "blank lines": _blank_lines,
    "endless tokens": _endless,
    "one endless line": _one_endless_line,
    "empty": answer(""),
    "only thoughts": _only_thoughts,
}  # fmt: skip


class Gremlin:
    """The server. `stop` and `start` are an outage: the port stays the same."""

    def __init__(self, *plan: Act) -> None:
        self.plan = plan
        self.listed = DIGEST
        """The sha256 that it lists for its model."""
        self.asked: list[dict[str, Any]] = []
        self.fates: list[str] = []
        self.stopped = threading.Event()
        self.open: set[socket.socket] = set()
        self.url = ""
        self._port = 0
        self._server: ThreadingHTTPServer | None = None
        self._threads: list[threading.Thread] = []
        self._changed = threading.Condition()

    def start(self) -> None:
        self.stopped.clear()
        self._server = _Server(("127.0.0.1", self._port), _handler(self))
        self._port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self._port}"
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        self._threads.append(thread)

    def stop(self) -> None:
        if self._server is not None:
            self.stopped.set()
            for connection in list(self.open):  # who writes to one that nobody reads is waiting for ever
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._server.shutdown()
            self._server.server_close()  # joins the threads of its requests
            self._threads.pop().join()
            self._server = None

    def note(self, fate: str) -> None:
        with self._changed:
            self.fates.append(fate)
            self._changed.notify_all()

    def wait_for_fates(self, count: int) -> list[str]:
        """What became of the first answers; waits until there are so many."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.fates) >= count, PATIENCE), self.fates
            return list(self.fates)

    def act(self, body: dict[str, Any]) -> Act:
        with self._changed:
            self.asked.append(body)
            return self.plan[min(len(self.asked), len(self.plan)) - 1]


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that leave and connections that are reset are what this is about."""


def _handler(gremlin: Gremlin) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None: ...

        def _whole(self, **value: object) -> None:
            talk = Talk(self, gremlin, {})
            talk.head(200, "application/json")
            talk.raw(json.dumps(value).encode())
            self.close_connection = True

        def do_GET(self) -> None:
            entry = {"name": MODEL, "model": MODEL, "modified_at": "2026-01-01T00:00:00Z", "size": 1}
            self._whole(version="0.99.0", models=[{**entry, "digest": gremlin.listed, "details": {}}])

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
            if self.path == "/api/show":
                self._whole(details={}, model_info={"x.context_length": 4096}, capabilities=[])
                return
            self.close_connection = True
            act, fate = gremlin.act(body), "done"
            gremlin.open.add(self.connection)
            try:
                act(Talk(self, gremlin, body))
            except OSError:
                fate = "left"
            finally:
                gremlin.open.discard(self.connection)
            gremlin.note(fate)

    return Handler


@contextmanager
def misbehaving(*plan: Act) -> Iterator[Gremlin]:
    """A gremlin for the time of the block."""
    gremlin = Gremlin(*plan)
    gremlin.start()
    try:
        yield gremlin
    finally:
        gremlin.stop()

"""A model server that does exactly what a test says: the Ollama API over real sockets, no model behind it.

`Scripted` answers /api/chat (the animator) and /api/generate (the reflector) from two lists, one entry a request, the
last entry for ever after. An entry is a text, or an `Act`: any way to misbehave (`ACTS` has them by name). What was
asked is in `history`, and in `fates` what became of each answer: "done", or "left" when the client was gone before.
"""

from __future__ import annotations

import codecs
import gzip
import json
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

from localgif.endpoint.discover import SYSTEM_QUESTION
from tests.support import SOON

MODEL = "scripted:1b"
DIGEST = "ab" * 32


class Talk:
    """One answer in the making."""

    def __init__(self, handler: BaseHTTPRequestHandler, script: Scripted, body: dict[str, Any]) -> None:
        self.handler, self.script, self.body = handler, script, body
        self.chat = handler.path == "/api/chat"

    def head(self, status: int = 200, kind: str = "application/x-ndjson", **headers: str) -> None:
        self.handler.send_response(status)
        for name, value in {"Content_Type": kind, **headers, "Connection": "close"}.items():
            self.handler.send_header(name.replace("_", "-"), value)
        self.handler.end_headers()

    def raw(self, data: bytes) -> None:
        self.handler.wfile.write(data)

    def part(self, text: str) -> dict[str, Any]:
        said: dict[str, Any] = {"message": {"role": "assistant", "content": text}} if self.chat else {"response": text}
        return {"model": MODEL, "created_at": "2026-01-01T00:00:00Z", **said}

    def line(self, text: str) -> None:
        self.raw(json.dumps({**self.part(text), "done": False}).encode() + b"\n")

    def last(self, text: str = "", **changes: Any) -> None:
        """The line that ends an answer; it says that the whole prompt was read."""
        said = self.body.get("prompt") or "".join(m.get("content", "") for m in self.body.get("messages", ()))
        counts = {"prompt_eval_count": max(7, len(said) // 4), "eval_count": 2}
        durations = {"total_duration": 9, "load_duration": 1, "eval_duration": 1}
        line = {**self.part(text), "done": True, "done_reason": "stop", **counts, **durations, **changes}
        self.raw(json.dumps(line).encode() + b"\n")

    def json(self, value: object, status: int = 200, **headers: str) -> None:
        data = json.dumps(value).encode()
        self.head(status, "application/json", Content_Length=str(len(data)), **headers)
        self.raw(data)

    def hold(self) -> None:
        """Say nothing until the client leaves (or the server is stopped)."""
        connection = self.handler.connection
        while not self.script.stopped.is_set():
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
Entry = str | Act
GOOD = "one\ntwo\n"
TOO_LONG = "request (9000 tokens) exceeds the available context size (4096 tokens)"


def answer(text: str, **changes: Any) -> Act:
    """An orderly answer, a line a token, or whole where no stream was asked for; `changes` are of its last line."""

    def act(talk: Talk) -> None:
        talk.head()
        pieces = text.splitlines(keepends=True) if isinstance(text, str) else [text]
        streams = talk.body.get("stream", True)
        for piece in pieces if streams else ():
            talk.line(piece)
        talk.last("" if streams else text, **{"eval_count": len(pieces), **changes})

    return act


def refuse(status: int, text: str = "the server is ill", **headers: str) -> Act:
    """An error in place of an answer."""
    return lambda talk: talk.json({"error": text}, status, **headers)


def cut_off(text: str) -> Act:
    """An answer that reached its token limit."""
    return answer(text, done_reason="length", eval_count=1024)


#: A failure that lasts: after a 500 the clients would ask again.
ILL = refuse(501)


def _after_half(end: Act) -> Act:
    def act(talk: Talk) -> None:
        talk.head()
        talk.line("half\n")
        end(talk)

    return act


def _for_ever(data: Callable[[Talk], bytes]) -> Act:
    def act(talk: Talk) -> None:
        talk.head()
        while not talk.script.stopped.is_set():
            talk.raw(data(talk))

    return act


def _blank_lines(talk: Talk) -> None:
    talk.head()
    for piece in GOOD.splitlines(keepends=True):
        talk.raw(b"\n\r\n")
        talk.line(piece)
    talk.raw(b"\n")
    talk.last()
    talk.raw(b"\n \n")


def _drops(talk: Talk) -> None:
    """Never silent for long, and never a whole line."""
    talk.head()
    talk.line(GOOD)
    while not talk.script.stopped.wait(0.02):
        talk.raw(b" \n")


def _compressed(talk: Talk) -> None:
    talk.head(Content_Encoding="gzip")
    talk.raw(gzip.compress(json.dumps({**talk.part(GOOD), "done": True}).encode()))


def _marked(talk: Talk) -> None:
    talk.head()
    talk.raw(codecs.BOM_UTF8)
    talk.last(GOOD)


def _odd_characters(talk: Talk) -> None:
    """Line separators of Unicode raw, as JSON allows them, and a pair of surrogates in two lines."""
    talk.head()
    pieces = ["one\x85\u2028", "\ud83d", "\ude00\ud83d"]
    for piece in pieces if talk.body.get("stream", True) else ["".join(pieces)]:
        line = json.dumps({**talk.part(piece), "done": False}).replace("\\u0085", "\x85").replace("\\u2028", "\u2028")
        talk.raw(line.encode() + b"\n" if talk.body.get("stream", True) else line[:-16].encode())
    if talk.body.get("stream", True):
        talk.last()
    else:
        talk.raw(b', "done": true, "done_reason": "stop", "prompt_eval_count": 7, "eval_count": 3}\n')


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


def _counts(count: float | None) -> Act:
    return answer(GOOD, prompt_eval_count=count, eval_count=count)


HTML = b"<html><body>\n<h1>Welcome to the hotel's network</h1>\n</body></html>\n"

#: Every way to misbehave with one request, by name.
ACTS: dict[str, Act] = {
    "good": answer(GOOD),
    "dies before a token": lambda talk: talk.die(),
    "hangs before a token": lambda talk: talk.hold(),
    "hangs between tokens": _after_half(lambda talk: talk.hold()),
    "dies in the middle": _after_half(lambda talk: talk.die()),
    "ends without done": _after_half(lambda talk: None),
    "reports an error in the middle": _after_half(
        lambda talk: talk.raw(b'{"error": "model runner has unexpectedly stopped"}\n')
    ),
    "429": refuse(429, "slow down", Retry_After="7"),
    "500": refuse(500),
    "503": refuse(503, "server busy, please try again.  maximum pending requests exceeded"),
    "404": refuse(404, f"model '{MODEL}' not found"),
    "leaves out a part": _counts(7),
    "does not fit": refuse(400, TOO_LONG),
    "HTML": _whole(HTML, kind="text/html"),
    "HTML with 502": _whole(HTML, 502, "text/html"),
    "wrong JSON": _whole(b'{"model": "scripted:1b", "message": {"role": "assi\n'),
    "a list": _whole(b'[{"done": true}]\n'),
    "counts that are no numbers": _counts(float("nan")),
    "counts that are null": _counts(None),
    "blank lines": _blank_lines,
    "raw line separators": _odd_characters,
    "only loaded": answer("", done_reason="load"),
    "a null": answer(None, done_reason="stop"),  # type: ignore[arg-type]
    "a list of parts": answer([{"type": "text", "text": "one two"}]),  # type: ignore[arg-type]
    "drops between tokens": _drops,
    "compressed": _compressed,
    "a byte order mark": _marked,
    "deep JSON": _whole(b'{"message": ' + b"[" * 100_000 + b"\n"),
    "a long error": refuse(400, "x" * 2**20),
    "endless tokens": _for_ever(lambda talk: json.dumps(talk.part("again\n" * 999) | {"done": False}).encode() + b"\n"),
    "one endless line": _for_ever(lambda talk: b" " * 65536),
    "empty": answer(""),
    "only thoughts": _only_thoughts,
}  # fmt: skip


@dataclass
class Scripted:
    """The answers that the server will give, and the requests that it got. `stop` and `start` simulate an outage."""

    animator: Sequence[Entry] = ()
    reflector: Sequence[Entry] = ()
    fail_at: int | None = None
    """Number (from 1) of the model call, of either role, at which `fault` strikes once."""
    fault: Act = ILL
    capabilities: Sequence[str] | None = ()
    """The capabilities that the server lists; None: it lists none."""
    shown: dict[str, Any] = field(default_factory=dict)
    """More keys of /api/show."""
    reads_system: bool | str = True
    """Whether its chat template shows system messages to the model; a text: it refuses them with these words."""
    listed: str = DIGEST
    """The sha256 that the server lists for its model."""
    history: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    fates: list[str] = field(default_factory=list)
    url: str = ""

    def __post_init__(self) -> None:
        self.lock = threading.Lock()
        self.stopped = threading.Event()
        self.open: set[socket.socket] = set()
        self.probed: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._server: _Server | None = None
        self._thread = threading.Thread()

    def next(self, path: str, body: dict[str, Any]) -> Entry:
        with self.lock:
            self.history.append((path, body))
            if len(self.history) == self.fail_at:
                return self.fault
            said = sum(p == path for p, _ in self.history)
            entries = self.animator if path == "/api/chat" else self.reflector
            return entries[min(said, len(entries)) - 1]

    def tells(self, path: str) -> dict[str, Any] | None:
        """The answer to a GET; None: there is no such page."""
        if path != "/api/tags":
            return {"version": "0.99.0"} if path == "/api/version" else None
        entry = {"name": MODEL, "model": MODEL, "modified_at": "2026-01-01T00:00:00Z", "size": 1}
        return {"models": [{**entry, "digest": self.listed, "details": {}}]}

    def counts_system(self, talk: Talk) -> None:
        """Answers the requests that find out whether the model reads system messages; they are not in `history`."""
        self.probed.append(talk.body)
        system = [m["content"] for m in talk.body["messages"] if m["role"] == "system"]
        user = [m["content"] for m in talk.body["messages"] if m["role"] == "user"]
        if system and isinstance(self.reads_system, str):
            talk.json({"error": self.reads_system}, 400)
            return
        read = " ".join((system if self.reads_system else []) + user)
        talk.json({**talk.part("yes"), "done": True, "done_reason": "length", "prompt_eval_count": len(read.split())})

    def asked(self, path: str) -> list[dict[str, Any]]:
        return [body for p, body in self.history if p == path]

    def start(self) -> None:
        self.stopped.clear()
        port = int(self.url.rpartition(":")[2]) if self.url else 0
        self._server = _Server(("127.0.0.1", port), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def stop(self) -> None:
        if self._server is None:
            return
        self.stopped.set()
        self._server.shutdown()
        for connection in list(self.open):  # who writes to one that nobody reads is waiting for ever
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()  # joins the threads of its requests
        self._thread.join()
        self._server = None

    def note(self, fate: str) -> None:
        with self._changed:
            self.fates.append(fate)
            self._changed.notify_all()

    def wait_for_fates(self, count: int) -> list[str]:
        """What became of the first answers; waits until there are this many."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.fates) >= count, SOON), self.fates
            return list(self.fates)


class Gremlin(Scripted):
    """Performs the acts of one plan for every request."""

    def __init__(self, *plan: Act) -> None:
        super().__init__()
        self.plan = plan

    def next(self, path: str, body: dict[str, Any]) -> Entry:
        with self.lock:
            self.history.append((path, body))
            return self.plan[min(len(self.history), len(self.plan)) - 1]


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that leave and connections that are reset are what this is about."""


def _handler(script: Scripted) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None: ...

        def setup(self) -> None:
            super().setup()
            script.open.add(self.connection)
            if script.stopped.is_set():
                self.connection.shutdown(socket.SHUT_RDWR)

        def finish(self) -> None:
            script.open.discard(self.connection)
            super().finish()

        def do_GET(self) -> None:
            self.close_connection = True
            said = script.tells(self.path)
            Talk(self, script, {}).json(said or {"error": "not found"}, 404 if said is None else 200)

        def do_POST(self) -> None:
            self.close_connection = True
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
            talk = Talk(self, script, body)
            if self.path == "/api/show":
                if (body.get("model") or body.get("name")) != MODEL:
                    talk.json({"error": f"model '{body.get('model')}' not found"}, 404)
                    return
                can = {} if script.capabilities is None else {"capabilities": list(script.capabilities)}
                talk.json({"details": {}, "model_info": {"x.context_length": 4096}, **can, **script.shown})
                return
            if (body.get("messages") or [{}])[-1].get("content", "").endswith(SYSTEM_QUESTION):
                script.counts_system(talk)
                return
            fate = "done"
            try:
                entry = script.next(self.path, body)
                (answer(entry) if isinstance(entry, str) else entry)(talk)
            except OSError:
                fate = "left"
            script.note(fate)

    return Handler


S = TypeVar("S", bound=Scripted)


@contextmanager
def serving(script: S) -> Iterator[S]:
    """Serve the script on loopback."""
    script.start()
    try:
        yield script
    finally:
        script.stop()


@contextmanager
def misbehaving(*plan: Act) -> Iterator[Gremlin]:
    """A gremlin for the time of the block."""
    with serving(Gremlin(*plan)) as gremlin:
        yield gremlin

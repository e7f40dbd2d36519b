"""A gateway in front of an OpenAI-compatible server that does exactly what a test says, both on real sockets.

Both run in one event loop on a thread of their own; tests stay ordinary blocking code.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import httpx
import psutil
from aiohttp import web
from anyio.from_thread import start_blocking_portal
from langchain_ollama import ChatOllama

from localgif.endpoint.child import RunningEndpoint, session_members
from localgif.endpoint.gguf import GgufFacts
from localgif.endpoint.server import listening
from localgif.endpoint.upstream import Backend, Card, Upstream, remote_backend
from localgif.records import Dialect, RemoteModel

MODEL = "scripted:1b"
KEY = "only the gateway knows"
#: A question for a real model, and options that make its answer short and the same each time.
HI = [{"role": "user", "content": "Name three colours."}]
GREEDY = {"temperature": 0, "seed": 1, "num_predict": 12}
#: Until what must happen has happened, on a machine that does other things too, seconds.
PATIENCE = 30.0


@dataclass(frozen=True)
class Status:
    """Answer with an error instead of a stream."""

    code: int
    body: str


@dataclass(frozen=True)
class Hold:
    """Say nothing more until the test calls `release`."""


Step = bytes | Status | Hold | Literal["cut", "end"]


def event(content: str | None = None, finish: str | None = None, **delta: Any) -> bytes:
    """One chunk of an OpenAI stream."""
    choice = {"index": 0, "delta": {"content": content, **delta}, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


def usage(prompt: int = 7, generated: int = 2) -> bytes:
    """llama.cpp's extra last chunk."""
    timings = {
        "cache_n": 3, "prompt_n": prompt - 3, "prompt_ms": 1.5, "predicted_n": generated, "predicted_ms": 2.25,
    }  # fmt: skip
    body = {
        "choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": generated}, "timings": timings,
    }  # fmt: skip
    return b"data: " + json.dumps(body).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def answer(*words: str, finish: str = "stop") -> list[Step]:
    """A complete, orderly answer."""
    spoken: list[Step] = [event(None, role="assistant"), *(event(word) for word in words)]
    return [*spoken, event(finish=finish), usage(generated=len(words)), DONE, "end"]


class Script:
    """What the upstream does, one list of steps per generation (the last one repeats), and what happened to it."""

    def __init__(self, *answers: Sequence[Step]) -> None:
        self.answers = list(answers)
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.fates: list[str] = []
        self.tokens = 10
        """The token count of every prompt; -1 is a server without token counts."""
        self.counted: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._held: list[asyncio.Event] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def wait_for(self, predicate: Callable[[Script], bool]) -> None:
        """Block until it holds."""
        with self._changed:
            assert self._changed.wait_for(lambda: predicate(self), PATIENCE), (len(self.bodies), self.fates)

    def wait_until_held(self) -> None:
        """Block until a generation holds."""
        self.wait_for(lambda script: bool(script._held))

    def release(self) -> None:
        """Let the oldest held generation go on."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._held.pop(0).set)

    def app(self) -> web.Application:
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/v1/chat/completions", self._generate)
        app.router.add_post("/v1/chat/completions/input_tokens", self._count)
        app.router.add_post("/tokenize", self._count)
        return app

    def _note(self, change: Callable[[], None]) -> None:
        with self._changed:
            change()
            self._changed.notify_all()

    async def _count(self, request: web.Request) -> web.Response:
        if self.tokens == -1:
            raise web.HTTPNotFound
        self.counted.append(await request.json())
        name = "count" if request.path == "/tokenize" else "input_tokens"
        return web.json_response({name: self.tokens})

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self._loop = asyncio.get_running_loop()
        number = len(self.bodies)
        steps = self.answers[min(number, len(self.answers) - 1)]

        def begin() -> None:
            self.bodies.append(body)
            self.headers.append(dict(request.headers))
            self.fates.append("running")

        self._note(begin)
        fate = "dropped"
        try:
            response = await self._play(request, steps)
            fate = "done"
            return response
        finally:
            self._note(lambda: self.fates.__setitem__(number, fate))

    async def _play(self, request: web.Request, steps: Sequence[Step]) -> web.StreamResponse:
        if isinstance(steps[0], Status):
            return web.Response(status=steps[0].code, text=steps[0].body, content_type="application/json")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for step in steps:
            if isinstance(step, bytes):
                await response.write(step)
            elif isinstance(step, Hold):
                held = asyncio.Event()
                self._note(lambda held=held: self._held.append(held))  # type: ignore[misc]
                await held.wait()
            elif step == "cut":
                assert request.transport is not None
                request.transport.abort()
            elif step == "end":
                await response.write_eof()
        return response


class FixedBackend(Backend):
    """A backend with a running server, whose load a test can make fail."""

    def __init__(self, url: str, facts: GgufFacts, name: str, dialect: Dialect, ours: bool) -> None:
        card = Card(name, facts, num_ctx=4096, digest="ab" * 32, size=1)
        super().__init__(card, Upstream(url, KEY, "upstream-name", 4096, dialect, ours))
        self.keep_alives: list[float | None] = []
        self.load_error: Exception | None = None
        self.death = ""
        self._up = True

    def loaded(self) -> Upstream | None:
        return self._upstream if self._up else None

    async def acquire(self) -> Upstream:
        if self.load_error:
            raise self.load_error
        self._up = True
        return await super().acquire()

    async def release(self, keep_alive: float | None) -> None:
        self.keep_alives.append(keep_alive)
        self._up = keep_alive != 0

    async def exit_reason(self) -> str:
        return self.death


@dataclass(frozen=True)
class Running:
    """A gateway and its upstream."""

    url: str
    script: Script
    backend: FixedBackend


PLAIN = GgufFacts(architecture="llama", context_length=8192)

T = TypeVar("T")


@contextlib.contextmanager
def in_thread(make: Callable[[], contextlib.AbstractAsyncContextManager[T]]) -> Iterator[T]:
    """An async context manager, entered in an event loop on a thread of its own for the duration of the block."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(make()) as value:
        yield value


@contextlib.contextmanager
def gateway(
    script: Script,
    max_queue: int = 512,
    facts: GgufFacts = PLAIN,
    dialect: Dialect = "llama.cpp",
    ours: bool = True,
    name: str = MODEL,
    slots: int = 1,
) -> Iterator[Running]:
    """Both servers for the duration of the block."""

    @contextlib.asynccontextmanager
    async def both() -> AsyncIterator[Running]:
        async with serving_app(script.app()) as url:
            backend = FixedBackend(url, facts, name, dialect, ours)
            async with listening([backend], 0, max_queue, slots) as address:
                yield Running(address, script, backend)

    with in_thread(both) as running:
        yield running


@contextlib.contextmanager
def gateway_to(*models: RemoteModel) -> Iterator[str]:
    """The address of a gateway in front of servers that run already."""
    with in_thread(lambda: listening([remote_backend(model) for model in models])) as address:
        yield address


@contextlib.asynccontextmanager
async def serving_app(app: web.Application) -> AsyncIterator[str]:
    """The address of an application on loopback."""
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    listener = socket.create_server(("127.0.0.1", 0))
    try:
        await web.SockSite(runner, listener).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        await runner.cleanup()


# --- clients ---------------------------------------------------------------------------------------------------------


def post(url: str, path: str, body: Any, **extra: Any) -> httpx.Response:
    """A request with a body of bytes or JSON, without a Content-Type: litellm sends none either."""
    content = body if isinstance(body, bytes) else json.dumps({**body, **extra}).encode()
    with httpx.Client(trust_env=False, timeout=20) as client:
        return client.post(url + path, content=content)


def post_and_keep(url: str, path: str, body: dict[str, Any]) -> socket.socket:
    """Send a request and return the open connection: closing it is a client that leaves."""
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(data)}\r\n\r\n"
    connection = connect(url)
    connection.sendall(head.encode() + data)
    return connection


def engine_seconds(endpoint: RunningEndpoint) -> float:
    """CPU time of the endpoint's engine so far: unlike the clock, it does not depend on what else the machine does."""
    (engine,) = [pid for pid in session_members(endpoint.pid) if pid != endpoint.pid]
    times = psutil.Process(engine).cpu_times()
    return times.user + times.system


def connect(url: str) -> socket.socket:
    """A connection to the server."""
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname or "", parts.port or 0), timeout=PATIENCE)


@contextlib.contextmanager
def chat_ollama(url: str, model: str = MODEL, **more: Any) -> Iterator[ChatOllama]:
    """An unmodified ChatOllama; its connections close at the end, because it has no close method."""
    with httpx.HTTPTransport() as transport:
        ours = {"client_kwargs": {"trust_env": False}, "sync_client_kwargs": {"transport": transport}}
        yield ChatOllama(model=model, base_url=url, **ours, **more)


def never(_: str) -> str:
    """Read an answer to its end."""
    return ""

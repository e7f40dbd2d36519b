"""The HTTP front: the Ollama API before llama.cpp's server or another OpenAI-compatible one."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from localgif.endpoint.ollama_reply import Answer, Clock, Delta, chunk, emptied, final
from localgif.endpoint.ollama_request import (
    ApiError,
    Call,
    Kind,
    Upstream,
    UpstreamBroken,
    cut_silently,
    encode,
    encode_line,
    parse_object,
    read_call,
    read_model,
    same_model,
    timestamp,
)
from localgif.endpoint.upstream import Backend, Card, LoadFailed, Turns, deltas, fit_window, new_session, with_thoughts

_LOG = logging.getLogger("localgif.endpoint")

#: Prompts with sources and pictures in them are long, but not this long.
MAX_BODY = 64 * 2**20

#: A whole request must be here by then, seconds. Its headers have as long as a connection may be idle (serve.py).
BODY_SECONDS = 60.0

#: A client that takes nothing for so long, seconds, is gone: the model works for it alone meanwhile.
READER_SECONDS = 60.0


async def read_body(request: web.Request) -> bytes:
    """The body of a request.

    Raises:
        ApiError: 413; it is too long. 408; it does not come.
    """
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise ApiError(413, f"the request is larger than {MAX_BODY >> 20} MiB") from None
    except TimeoutError:
        raise ApiError(408, f"the request did not arrive within {BODY_SECONDS:.0f} s") from None


class ClientGone(ConnectionResetError):
    """Nobody reads the answer any more."""


async def send(request: web.Request, response: web.StreamResponse, data: bytes = b"", *, last: bool = False) -> None:
    """Write a part of an answer, or with `last` its end; the headers go out with the first part.

    Raises:
        ClientGone: The client left, or takes nothing any more.
    """
    try:
        async with asyncio.timeout(READER_SECONDS):
            if not response.prepared:
                await response.prepare(request)
            await (response.write_eof(data) if last else response.write(data))
    except TimeoutError:
        raise ClientGone(f"the client took nothing for {READER_SECONDS:.0f} s") from None
    except ConnectionError as error:
        raise ClientGone(str(error)) from error


def is_local(authority: str) -> bool:
    """Whether a Host header (or the host of an Origin) names this machine's loopback."""
    try:
        host = urlsplit(f"//{authority}").hostname or ""
    except ValueError:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_local_page(origin: str) -> bool:
    try:
        return is_local(urlsplit(origin).netloc)
    except ValueError:  # half an IPv6 address
        return False


def error_response(status: int, message: str) -> web.Response:
    """The only shape of a failure."""
    return web.Response(
        status=status, body=encode({"error": message}), content_type="application/json", charset="utf-8"
    )


def is_ours(authority: str) -> bool:
    """Whether a Host header names this machine by an address or its own name, not by a name that a stranger chose."""
    try:
        host = urlsplit(f"//{authority}").hostname or ""
    except ValueError:
        return False
    if is_local(authority) or (host and host == socket.gethostname().lower()):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def guarded(everybody: bool = False) -> Middleware:
    """A middleware that refuses strangers and turns every exception into a JSON error.

    A web page can make a browser call us under a name that it lets resolve to our address; its Host and Origin give it
    away.

    Args:
        everybody: Callers from other machines are wanted.
    """

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        host, origin = request.headers.get("Host", "localhost"), request.headers.get("Origin")
        if not (is_ours(host) if everybody else is_local(host)) or (origin is not None and not _is_local_page(origin)):
            return error_response(403, "localgif answers local callers only")
        return await _answer(request, handler)

    return guard


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ApiError as error:
        return error_response(error.status, error.message)
    except web.HTTPException as error:
        words = {404: f"{request.path} not found", 405: f"method {request.method} not allowed for {request.path}"}
        response = error_response(error.status, words.get(error.status, error.reason))
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except ConnectionError as error:
        # aiohttp takes any exception but the one below for a bug, with a traceback.
        if not isinstance(error, ClientGone):
            _LOG.warning("%s %s: half an answer is cut off: %s", request.method, request.path, error)
        elif request.transport is not None:
            request.transport.abort()  # what nobody reads would keep a closed connection open
        raise asyncio.CancelledError from error
    except Exception as error:
        _LOG.exception("%s %s", request.method, request.path)
        return error_response(500, f"internal error: {type(error).__name__}: {error}")


def capabilities(card: Card) -> list[str]:
    """Ollama's words for what the model is known to be able to do."""
    return ["completion", "thinking"] if card.facts.can_think else ["completion"]


def details(card: Card) -> dict[str, Any]:
    """The `details` object of a model."""
    facts = card.facts
    return {
        "parent_model": "",
        "format": "gguf" if facts.quantisation != "unknown" else "unknown",
        "family": facts.architecture,
        "families": [facts.architecture],
        "parameter_size": facts.parameter_size,
        "quantization_level": facts.quantisation,
    }


def listed_name(card: Card) -> str:
    """The name with its tag: ChatOllama looks for `name:latest` in the listing when it is asked for it."""
    return card.name if ":" in card.name.rpartition("/")[2] else f"{card.name}:latest"


def tag(backend: Backend) -> dict[str, Any]:
    """One entry of /api/tags."""
    card = backend.card
    return {
        "name": listed_name(card),
        "model": listed_name(card),
        "modified_at": timestamp(_modified(card)),
        "size": card.size,
        "digest": card.digest,
        "details": details(card),
        "capabilities": capabilities(card),
    }


def running(backend: Backend) -> dict[str, Any] | None:
    """One entry of /api/ps; None when the model is not loaded. `context_length` is the allocated window."""
    upstream = backend.loaded()
    if upstream is None:
        return None
    card = backend.card
    return {
        "name": listed_name(card),
        "model": listed_name(card),
        "size": card.size,
        "digest": card.digest,
        "details": details(card),
        "expires_at": timestamp(ahead=backend.expires_in()),
        "size_vram": 0,
        "context_length": upstream.window,
    }


def show(backend: Backend) -> dict[str, Any]:
    """The answer of /api/show. Exactly one key of `model_info` contains "context_length": litellm takes the first."""
    card, facts = backend.card, backend.card.facts
    info = {name: value for name, value in facts.metadata.items() if "context_length" not in name}
    info |= {
        "general.architecture": facts.architecture,
        "general.parameter_count": facts.parameters,
        f"{facts.architecture}.context_length": facts.context_length or card.num_ctx,
    }
    return {
        "modelfile": f"# {card.description or card.name}\nFROM {card.source}\n",
        "parameters": f"num_ctx {card.num_ctx}",
        "template": facts.template or "",
        "system": "",
        "license": str(facts.metadata.get("general.license", "")),
        "details": details(card),
        "model_info": info,
        "capabilities": capabilities(card),
        "modified_at": timestamp(_modified(card)),
    }


def _modified(card: Card) -> datetime:
    return datetime.fromtimestamp(card.modified, UTC)


#: The Ollama version whose behaviour this follows; clients look here whether `think` and `truncate` are known.
OLLAMA_VERSION = "0.33.0"


class Gateway:
    """The application and its models.

    Args:
        backends: The models, in the order of listing.
        max_queue: Requests for text that may wait.
        slots: Requests for text that are worked on at once.
    """

    def __init__(self, backends: Sequence[Backend], max_queue: int, slots: int = 1) -> None:
        self._backends = list(backends)
        self._turns = Turns(max_queue, slots)
        self._session: aiohttp.ClientSession | None = None

    def app(self, everybody: bool = False) -> web.Application:
        """The aiohttp application; run it with `handler_cancellation=True`.

        Args:
            everybody: Callers from other machines are wanted.
        """
        app = web.Application(middlewares=[guarded(everybody)], client_max_size=MAX_BODY)
        app.cleanup_ctx.append(self._hold_session)
        routes: list[tuple[str, str, Any]] = [
            ("GET", "/", self._root),
            ("GET", "/api/version", self._version),
            ("GET", "/api/tags", self._tags),
            ("GET", "/api/ps", self._ps),
            ("POST", "/api/show", self._show),
            ("POST", "/api/chat", self._chat),
            ("POST", "/api/generate", self._generate),
            *((("POST", f"/api/{verb}", self._unmanaged)) for verb in ("pull", "push", "create", "copy")),
            ("DELETE", "/api/delete", self._unmanaged),
            ("*", "/v1/{path:.*}", self._not_openai),
        ]
        for method, path, handler in routes:
            # A GET route answers HEAD too.
            app.router.add_get(path, handler) if method == "GET" else app.router.add_route(method, path, handler)
        return app

    async def _hold_session(self, app: web.Application) -> AsyncIterator[None]:
        async with new_session() as self._session:
            yield

    @property
    def _upstreams(self) -> aiohttp.ClientSession:
        assert self._session is not None, "the application has not started"
        return self._session

    # --- what is known -----------------------------------------------------------------------------------------------

    async def _root(self, request: web.Request) -> web.Response:
        return web.Response(text="Ollama is running")

    async def _version(self, request: web.Request) -> web.Response:
        return _json({"version": OLLAMA_VERSION})

    async def _tags(self, request: web.Request) -> web.Response:
        return _json({"models": [tag(backend) for backend in self._backends]})

    async def _ps(self, request: web.Request) -> web.Response:
        longest_first = sorted(self._backends, key=lambda backend: -backend.expires_in())
        return _json({"models": [entry for backend in longest_first if (entry := running(backend))]})

    async def _show(self, request: web.Request) -> web.Response:
        return _json(show(self._find(read_model(parse_object(await read_body(request))))))

    async def _unmanaged(self, request: web.Request) -> web.Response:
        raise ApiError(501, "localgif does not manage models")

    async def _not_openai(self, request: web.Request) -> web.Response:
        raise ApiError(404, f"{request.path} not found: localgif speaks the Ollama API, use /api/chat or /api/generate")

    def _find(self, name: str) -> Backend:
        for backend in self._backends:
            if same_model(backend.card.name, name):
                return backend
        raise ApiError(404, f"model '{name}' not found")

    # --- text --------------------------------------------------------------------------------------------------------

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._answer("chat", request)

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        return await self._answer("generate", request)

    async def _answer(self, kind: Kind, request: web.Request) -> web.StreamResponse:
        arrival = time.monotonic_ns()
        call = read_call(kind, parse_object(await read_body(request)))
        backend = self._find(call.model)
        _check_capabilities(call, backend)
        if call.empty:
            return await self._load_or_unload(call, backend)
        async with self._turns.hold(), _in_use(backend, call.keep_alive) as upstream:
            await fit_window(self._upstreams, upstream, call.body, call.sampling.num_ctx)
            generation = _Generation(call, arrival, time.monotonic_ns(), upstream)
            events = _with_obituary(backend, deltas(self._upstreams, upstream, call.body))
            if backend.card.facts.can_think is not False:
                events = with_thoughts(events)
            async with aclosing(events):
                if call.stream:
                    return await _stream(request, generation, events)
                async for delta in events:
                    generation.take(delta)
                return _json(generation.final(whole=True))

    async def _load_or_unload(self, call: Call, backend: Backend) -> web.Response:
        if call.keep_alive == 0:
            # Behind the running generation: what it uses is not taken away from it.
            async with self._turns.hold():
                if backend.loaded() is not None:
                    async with _in_use(backend, 0):
                        pass
            return _json(emptied(call.kind, call.model, "unload"))
        async with _in_use(backend, call.keep_alive):
            return _json(emptied(call.kind, call.model, "load"))


class _Generation:
    """One answer on its way: what came so far, and when."""

    def __init__(self, call: Call, arrival: int, dispatch: int, upstream: Upstream) -> None:
        self.call = call
        self._upstream = upstream
        self.answer = Answer()
        self._arrival = arrival
        self._dispatch = dispatch
        self._first: int | None = None
        self._last: int | None = None
        #: num_predict 0 wants the prompt read and nothing written; llama.cpp makes one token all the same.
        self._silent = call.sampling.num_predict == 0

    def take(self, delta: Delta) -> dict[str, Any] | None:
        """Collect one event; the line for the client when there is something in it to see."""
        self.answer.add(delta)
        if not delta.speaks or self._silent:
            return None
        self._last = time.monotonic_ns()
        self._first = self._first or self._last
        return chunk(self.call.kind, self.call.model, delta.content, delta.thinking)

    def final(self, whole: bool) -> dict[str, Any]:
        """The line with `done`.

        Raises:
            UpstreamBroken: The upstream said [DONE] without saying why it stopped: the answer may be half of one. Or
                it cannot have read the whole prompt.
        """
        if self.answer.finish is None:
            raise UpstreamBroken("the upstream server ended the answer without a finish reason")
        read = self.answer.usage.get("prompt_tokens")
        if self._upstream.dialect == "other" and isinstance(read, int) and cut_silently(self.call.body, read):
            raise UpstreamBroken(
                f"the prompt exceeds the available context size: the upstream server read {read} tokens of it and left "
                "out the rest without saying so; raise the context length over there"
            )
        clock = Clock(self._arrival, self._dispatch, self._first, self._last, time.monotonic_ns())
        return final(self.call.kind, self.call.model, self.answer, clock, whole, self._silent)


async def _stream(
    request: web.Request, generation: _Generation, events: AsyncGenerator[Delta, None]
) -> web.StreamResponse:
    """NDJSON: the headers go out with the first line, so that a failure before it still has a status."""
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson", "Cache-Control": "no-store"})

    async def tell(line: dict[str, Any] | None) -> None:
        if line is not None:
            await send(request, response, encode_line(line))

    try:
        async for delta in events:
            await tell(generation.take(delta))
        await tell(generation.final(whole=False))
    except ClientGone:
        raise
    except Exception as error:
        if not response.prepared:
            raise
        if not isinstance(error, ApiError):
            _LOG.exception("in the middle of a stream")
        await tell({"error": str(error)})
    await send(request, response, last=True)
    return response


@contextlib.asynccontextmanager
async def _in_use(backend: Backend, keep_alive: float | None) -> AsyncIterator[Upstream]:
    """The model, loaded, for the time of the block.

    Raises:
        ApiError: 500 with the reason why it does not load.
    """
    try:
        upstream = await backend.acquire()
    except (LoadFailed, OSError) as error:
        raise ApiError(500, str(error)) from error
    try:
        yield upstream
    finally:
        await backend.release(keep_alive)


async def _with_obituary(backend: Backend, events: AsyncGenerator[Delta, None]) -> AsyncGenerator[Delta, None]:
    """The same events; a broken connection also tells what became of the server behind it."""
    try:
        async with aclosing(events):
            async for delta in events:
                yield delta
    except UpstreamBroken as error:
        if death := await backend.obituary():
            raise UpstreamBroken(f"model runner has unexpectedly stopped: {death}") from error
        raise


def _check_capabilities(call: Call, backend: Backend) -> None:
    """Refuse what the model cannot do, in Ollama's words."""
    facts = backend.card.facts
    if call.think and facts.can_think is False:
        raise ApiError(400, f'"{call.model}" does not support thinking')
    if facts.can_think is False:
        call.body.pop("chat_template_kwargs", None)
    if call.images:
        raise ApiError(400, f'"{call.model}" does not support images')


def _json(payload: dict[str, Any]) -> web.Response:
    return web.Response(body=encode(payload), content_type="application/json", charset="utf-8")

"""The HTTP front: the Ollama API in front of llama.cpp's server or another OpenAI-compatible one.

Handlers are cancelled when their client leaves (aiohttp's `handler_cancellation`). Leaving the `async with` of the
upstream's response then closes that connection, so a dropped request stops its generation in every phase.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
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

from localgif.endpoint.ollama_reply import Answer, Delta, UpstreamBroken, emptied, encode, timestamp
from localgif.endpoint.ollama_request import ApiError, Call, Kind, parse_object, read_call, read_model, same_model
from localgif.endpoint.upstream import Backend, Card, LoadFailed, Upstream, deltas, fit_window, new_session
from localgif.offline import is_loopback, plain_address

_LOG = logging.getLogger("localgif.endpoint")

#: The Ollama version whose behaviour this follows; clients look here whether `think` and `truncate` are known.
_OLLAMA_VERSION = "0.33.0"

#: The longest request, bytes. Prompts with sources in them are long, but not this long.
MAX_BODY = 64 * 2**20
#: A whole request must arrive within this time, seconds; its headers within server.IDLE_SECONDS.
BODY_SECONDS = 60.0
#: A client that reads nothing for this long, seconds, counts as gone; otherwise the model would go on writing for it.
READER_SECONDS = 60.0


class Gateway:
    """The application and its models: at most `slots` requests for text are answered at once, at most `max_queue` wait.

    A request that its model cannot answer beside others takes all slots.
    """

    def __init__(self, backends: Sequence[Backend], max_queue: int, slots: int = 1) -> None:
        self._backends = list(backends)
        self._slots = slots
        self._free = list(range(slots))
        # asyncio's locks hand their places on in order, and do not let newcomers overtake.
        self._first = asyncio.Lock()
        self._turns = asyncio.Semaphore(slots)
        self._max_queue = max_queue
        self._waiting = 0
        self._session: aiohttp.ClientSession | None = None

    def app(self, everybody: bool = False) -> web.Application:
        """The aiohttp application, for callers of this machine or for everybody; run it with `handler_cancellation`."""
        app = web.Application(middlewares=[_guarded(everybody)], client_max_size=MAX_BODY)
        app.cleanup_ctx.append(self._hold_session)
        # A GET route answers HEAD too.
        app.router.add_get("/", self._root)
        app.router.add_get("/api/version", self._version)
        app.router.add_get("/api/tags", self._tags)
        app.router.add_get("/api/ps", self._ps)
        app.router.add_post("/api/show", self._show)
        app.router.add_post("/api/chat", functools.partial(self._answer, "chat"))
        app.router.add_post("/api/generate", functools.partial(self._answer, "generate"))
        for verb in ("pull", "push", "create", "copy"):
            app.router.add_post(f"/api/{verb}", self._unmanaged)
        app.router.add_delete("/api/delete", self._unmanaged)
        app.router.add_route("*", "/v1/{path:.*}", self._not_openai)
        return app

    async def _hold_session(self, app: web.Application) -> AsyncIterator[None]:
        async with new_session() as self._session:
            yield

    # --- what is known -----------------------------------------------------------------------------------------------

    async def _root(self, request: web.Request) -> web.Response:
        return web.Response(text="Ollama is running")

    async def _version(self, request: web.Request) -> web.Response:
        return _json({"version": _OLLAMA_VERSION})

    async def _tags(self, request: web.Request) -> web.Response:
        return _json({"models": [_listed(backend.card) for backend in self._backends]})

    async def _ps(self, request: web.Request) -> web.Response:
        entries = []
        for backend in sorted(self._backends, key=lambda backend: -backend.expires_in()):
            if (upstream := backend.loaded()) is not None:
                until, allocated = timestamp(ahead=backend.expires_in()), upstream.window
                entries.append(
                    _listed(backend.card) | {"expires_at": until, "size_vram": 0, "context_length": allocated}
                )
        return _json({"models": entries})

    async def _show(self, request: web.Request) -> web.Response:
        return _json(_shown(self._find(read_model(parse_object(await _read_body(request)))).card))

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

    async def _answer(self, kind: Kind, request: web.Request) -> web.StreamResponse:
        arrival = time.monotonic_ns()
        call = read_call(kind, parse_object(await _read_body(request)))
        backend = self._find(call.model)
        _check_capabilities(call, backend.card)
        if call.empty:
            return await self._load_or_unload(call, backend)
        session = self._session
        assert session is not None, "the application has not started"
        shares = backend.shares(call)
        async with self._turn(shares=shares) as slot, _in_use(backend, call.keep_alive) as upstream:
            if upstream.ours:
                # A client that has enough leaves while the engine still computes a guess. In another slot, its next
                # request would have to read the whole prompt again.
                call.body["id_slot"] = slot
            await fit_window(session, upstream, call.body, call.options.num_ctx)
            tagged, trusted = backend.card.facts.can_think is not False, upstream.dialect != "other"
            left_out = upstream.left_out
            answer = Answer(call, arrival, time.monotonic_ns(), tagged=tagged, trusted=trusted, left_out=left_out)
            async with aclosing(_with_exit_reason(backend, deltas(session, upstream, call.body))) as events:
                if call.stream:
                    return await _stream(request, answer, events)
                async for delta in events:
                    answer.take(delta, time.monotonic_ns())
                return _json(answer.final(whole=True, now=time.monotonic_ns()))

    async def _load_or_unload(self, call: Call, backend: Backend) -> web.Response:
        if call.keep_alive == 0:
            # Wait for the running generation, which needs the model.
            async with self._turn(shares=False):
                if backend.loaded() is not None:
                    async with _in_use(backend, 0):
                        pass
            return _json(emptied(call.kind, call.model, "unload"))
        async with _in_use(backend, call.keep_alive):
            return _json(emptied(call.kind, call.model, "load"))

    @contextlib.asynccontextmanager
    async def _turn(self, *, shares: bool) -> AsyncIterator[int]:
        """Wait for one slot or for all, and keep them for the block; a waiter that is cancelled leaves the queue.

        Returns:
            The number of the slot: 0 for a request that has all, the highest free one for others, which then seldom
            take the place of a long prompt.
        """
        needed = 1 if shares else self._slots
        if len(self._free) < needed and self._waiting >= self._max_queue:
            raise ApiError(503, "server busy, please try again.  maximum pending requests exceeded")
        mine: list[int] = []
        self._waiting += 1
        try:
            try:
                # Only the first in the queue collects slots, so that two never wait for each other's.
                async with self._first:
                    while len(mine) < needed:
                        await self._turns.acquire()
                        mine.append(self._free.pop())
            finally:
                self._waiting -= 1
            yield min(mine)
        finally:
            self._free = sorted([*self._free, *mine])
            for _ in mine:
                self._turns.release()


async def _stream(request: web.Request, answer: Answer, events: AsyncGenerator[Delta, None]) -> web.StreamResponse:
    """NDJSON: the headers go out with the first line, so that a failure before it still has a status."""
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson", "Cache-Control": "no-store"})
    try:
        async for delta in events:
            if (line := answer.take(delta, time.monotonic_ns())) is not None:
                await _send(request, response, encode(line) + b"\n")
        await _send(request, response, encode(answer.final(whole=False, now=time.monotonic_ns())) + b"\n")
    except _ClientGone:
        raise
    except Exception as error:
        if not response.prepared:
            raise
        if not isinstance(error, ApiError):
            _LOG.exception("in the middle of a stream")
        await _send(request, response, encode({"error": str(error)}) + b"\n")
    await _send(request, response, last=True)
    return response


@contextlib.asynccontextmanager
async def _in_use(backend: Backend, keep_alive: float | None) -> AsyncIterator[Upstream]:
    """The model, loaded for the duration of the block; an ApiError (500) says why it does not load."""
    try:
        upstream = await backend.acquire()
    except (LoadFailed, OSError) as error:
        raise ApiError(500, str(error)) from error
    try:
        yield upstream
    finally:
        await backend.release(keep_alive)


async def _with_exit_reason(backend: Backend, events: AsyncGenerator[Delta, None]) -> AsyncGenerator[Delta, None]:
    """The same events; a broken connection also says how the server behind it ended."""
    try:
        async with aclosing(events):
            async for delta in events:
                yield delta
    except UpstreamBroken as error:
        if reason := await backend.exit_reason():
            raise UpstreamBroken(f"model runner has unexpectedly stopped: {reason}") from error
        raise


def _check_capabilities(call: Call, card: Card) -> None:
    """Refuse what the model cannot do, in Ollama's words."""
    if card.facts.can_think is False:
        if call.think:
            raise ApiError(400, f'"{call.model}" does not support thinking')
        call.body.pop("chat_template_kwargs", None)
    if call.has_images:
        raise ApiError(400, f'"{call.model}" does not support images')


# --- listings --------------------------------------------------------------------------------------------------------


def _described(card: Card) -> dict[str, Any]:
    """The fields of a model in every listing."""
    facts = card.facts
    return {
        "details": {
            "format": "gguf" if facts.quantisation != "unknown" else "unknown",
            "family": facts.architecture,
            "families": [facts.architecture],
            "parameter_size": facts.parameter_size,
            "quantization_level": facts.quantisation,
        },
        "capabilities": ["completion", "thinking"] if facts.can_think else ["completion"],
        "modified_at": timestamp(datetime.fromtimestamp(card.modified, UTC)),
    }


def _listed(card: Card) -> dict[str, Any]:
    """The fields of a model in both /api/tags and /api/ps."""
    # ChatOllama looks for `name:latest` in the listing if it is asked for `name`.
    name = card.name if ":" in card.name.rpartition("/")[2] else f"{card.name}:latest"
    return {"name": name, "model": name, "size": card.size, "digest": card.digest, **_described(card)}


def _shown(card: Card) -> dict[str, Any]:
    """The answer of /api/show. Exactly one key of `model_info` contains "context_length": litellm takes the first."""
    facts = card.facts
    info = {name: value for name, value in facts.metadata.items() if "context_length" not in name}
    info |= {
        "general.architecture": facts.architecture,
        "general.parameter_count": facts.parameters,
        f"{facts.architecture}.context_length": facts.context_length or card.num_ctx,
    }
    return {
        "parameters": f"num_ctx {card.num_ctx}",
        "template": facts.template or "",
        "license": str(facts.metadata.get("general.license", "")),
        "model_info": info,
        **_described(card),
    }


# --- who may call, and how slowly ------------------------------------------------------------------------------------


async def _read_body(request: web.Request) -> bytes:
    """The body of a request; an error 413 if it is too long, 408 if it does not arrive."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise ApiError(413, f"the request is larger than {MAX_BODY >> 20} MiB") from None
    except TimeoutError:
        raise ApiError(408, f"the request did not arrive within {BODY_SECONDS:.0f} s") from None


class _ClientGone(ConnectionResetError):
    """The client no longer reads the answer."""


async def _send(request: web.Request, response: web.StreamResponse, data: bytes = b"", *, last: bool = False) -> None:
    """Write a part of an answer, or with `last` its end; the headers go out with the first part."""
    try:
        async with asyncio.timeout(READER_SECONDS):
            if not response.prepared:
                await response.prepare(request)
            await (response.write_eof(data) if last else response.write(data))
    except TimeoutError:
        raise _ClientGone(f"the client read nothing for {READER_SECONDS:.0f} s") from None
    except ConnectionError as error:
        raise _ClientGone(str(error)) from error


def is_local(authority: str) -> bool:
    """Whether a Host header (or the host of an Origin) names this machine's loopback."""
    host = _hostname(authority)
    return is_loopback(host) or host.endswith(".localhost")


def _is_this_machine(authority: str) -> bool:
    """Whether a Host header names an address or this machine's own name, not a name that a stranger chose."""
    host = _hostname(authority)
    return is_local(authority) or plain_address(host) is not None or host == socket.gethostname().lower() != ""


def _hostname(authority: str) -> str:
    try:
        return urlsplit(f"//{authority}").hostname or ""
    except ValueError:  # half an IPv6 address
        return ""


def _guarded(everybody: bool) -> Middleware:
    """A middleware that refuses strangers and turns every exception into `{"error": text}`.

    A web page can make a browser call us under a name that it resolves to our address; its Host and Origin show it.
    """

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        host, origin = request.headers.get("Host", "localhost"), request.headers.get("Origin")
        welcome = _is_this_machine(host) if everybody else is_local(host)
        if not welcome or (origin is not None and not is_local(origin.partition("://")[2])):
            return _json({"error": "localgif answers local callers only"}, 403)
        return await _with_json_errors(request, handler)

    return guard


async def _with_json_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ApiError as error:
        return _json({"error": error.message}, error.status)
    except web.HTTPException as error:
        words = {404: f"{request.path} not found", 405: f"method {request.method} not allowed for {request.path}"}
        response = _json({"error": words.get(error.status, error.reason)}, error.status)
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except _ClientGone as error:
        if request.transport is not None:
            request.transport.abort()  # unread data would keep a closed connection open
        # aiohttp reports any other exception as a bug, with a traceback.
        raise asyncio.CancelledError from error
    except Exception as error:
        _LOG.exception("%s %s", request.method, request.path)
        return _json({"error": f"internal error: {type(error).__name__}: {error}"}, 500)


def _json(payload: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(status=status, body=encode(payload), content_type="application/json", charset="utf-8")

"""One address in front of several servers of the Ollama API that have the same models.

Requests and answers go through as they are, byte for byte: what a server is asked and says is its own business and the
client's. Only who gets a request is decided here, and where it goes when that server fails before it has said anything.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence

import aiohttp
from aiohttp import web

from localgif.endpoint.guard import MAX_BODY, ClientGone, guarded, read_body, send
from localgif.endpoint.pool import Exhausted, Member, Pool
from localgif.endpoint.relay import new_session
from localgif.endpoint.replies import error_text
from localgif.endpoint.translate import same_model
from localgif.endpoint.upstream import differences, find_models
from localgif.endpoint.wire import ApiError, encode_line
from localgif.errors import PreflightError
from localgif.served import PooledServer

#: Requests for text: each takes a slot of one server.
TEXT = (
    "/api/chat", "/api/generate", "/api/embed", "/api/embeddings",
    "/v1/chat/completions", "/v1/completions", "/v1/embeddings",
)  # fmt: skip
#: Questions that any of them can answer at once.
QUESTIONS = (("GET", "/"), ("GET", "/api/version"), ("GET", "/api/tags"), ("GET", "/api/ps"), ("GET", "/v1/models"))
#: After these another server is asked, when nothing has been said yet; after the first two this one is left out.
_GONE, _ELSEWHERE = (502, 504), (500, 502, 503, 504)
#: In the last line of a stream: it came to its end, or says why not.
_ENDED = re.compile(rb'"done"\s*:\s*true|"error"')
#: Bytes of a failure that are read for its text.
_EVIDENCE = 16 * 2**10
PROBE_SECONDS = 5.0


class _Elsewhere(ApiError):
    """This server did not answer; nothing was said to the client."""


class Spread:
    """The application in front of the servers.

    Args:
        servers: The servers, each with the address that its requests go to: its own, or that of a gateway before it.
        max_queue: Requests for text that may wait.
    """

    def __init__(self, servers: Sequence[tuple[PooledServer, str]], max_queue: int) -> None:
        members = [Member(url, server.slots, server.url) for server, url in servers]
        self._servers = {member: server for member, (server, _) in zip(members, servers, strict=True)}
        self._pool = Pool(members, max_queue, self._wrong)
        self._session: aiohttp.ClientSession | None = None

    def app(self, everybody: bool = False) -> web.Application:
        """The aiohttp application; run it with `handler_cancellation=True`.

        Args:
            everybody: Callers from other machines are wanted.
        """
        app = web.Application(middlewares=[guarded(everybody)], client_max_size=MAX_BODY)
        app.cleanup_ctx.append(self._hold)
        for path in TEXT:
            app.router.add_post(path, self._text)
        for _, path in QUESTIONS:
            app.router.add_get(path, self._question)
        app.router.add_post("/api/show", self._question)
        for verb in ("pull", "push", "create", "copy"):
            app.router.add_post(f"/api/{verb}", self._unmanaged)
        app.router.add_delete("/api/delete", self._unmanaged)
        return app

    async def _hold(self, app: web.Application) -> AsyncIterator[None]:
        async with new_session() as self._session, self._pool:
            yield

    @property
    def _upstreams(self) -> aiohttp.ClientSession:
        assert self._session is not None, "the application has not started"
        return self._session

    async def _unmanaged(self, request: web.Request) -> web.Response:
        raise ApiError(501, "localgif does not manage models")

    async def _text(self, request: web.Request) -> web.StreamResponse:
        body = await read_body(request)

        async def once(tried: set[Member]) -> web.StreamResponse:
            async with self._pool.lend(tried) as member:
                tried.add(member)
                return await self._forward(request, body, member)

        return await self._until_answered(once)

    async def _question(self, request: web.Request) -> web.StreamResponse:
        body = await read_body(request)

        async def once(tried: set[Member]) -> web.StreamResponse:
            member = self._pool.anyone(tried)
            tried.add(member)
            return await self._forward(request, body, member)

        return await self._until_answered(once)

    async def _until_answered(self, once: Callable[[set[Member]], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
        """Ask one server after another; `once` asks one that was not tried, and adds it to those that were."""
        tried: set[Member] = set()
        refusal: ApiError | None = None
        while True:
            try:
                return await once(tried)
            except _Elsewhere as error:
                refusal = error
            except Exhausted as error:
                raise refusal or error from None

    async def _forward(self, request: web.Request, body: bytes, member: Member) -> web.StreamResponse:
        """One server's answer, handed on as it comes.

        Raises:
            _Elsewhere: It failed before it said anything; the server is left out when it is not there.
        """
        response: web.StreamResponse | None = None
        headers = {"Content-Type": "application/json"} if body else {}
        try:
            async with self._upstreams.request(
                request.method, member.url + request.path, data=body or None, headers=headers
            ) as answer:
                if answer.status in _ELSEWHERE:
                    text = error_text((await answer.content.read(_EVIDENCE)).decode("utf-8", "replace"))
                    if answer.status in _GONE:
                        self._pool.leave_out(member, text)
                    raise _Elsewhere(answer.status, text)
                response = web.StreamResponse(status=answer.status)
                for name in ("Content-Type", "Retry-After"):
                    if name in answer.headers:
                        response.headers[name] = answer.headers[name]
                await self._copy(request, answer, response, member)
                return response
        except ClientGone:
            raise
        except (aiohttp.ClientError, OSError) as error:
            why = f"{type(error).__name__}: {error}"
            self._pool.leave_out(member, why)
            if response is not None and response.prepared:
                raise ConnectionResetError(why) from error  # no clean end for half an answer
            raise _Elsewhere(502, f"{member.name}: {why}") from error

    async def _copy(
        self, request: web.Request, answer: aiohttp.ClientResponse, response: web.StreamResponse, member: Member
    ) -> None:
        """The body of an answer; the headers go out with its first bytes, so that an early end can be mended."""
        lines = answer.status == 200 and "ndjson" in response.headers.get("Content-Type", "")
        end, why = b"", ""
        try:
            async for block in answer.content.iter_any():
                await send(request, response, block)
                end = _last_line(end + block) if lines else b""
        except aiohttp.ClientError as error:
            if not end.endswith(b"\n"):
                raise
            why = f"{type(error).__name__}: {error}"
        if lines and not _ENDED.search(end):
            # Between two lines there is room for the truth.
            why = f"{member.name} went away in the middle {why}".rstrip()
            self._pool.leave_out(member, why)
            if not response.prepared:
                raise _Elsewhere(502, why)
            await send(request, response, (b"" if end.endswith(b"\n") else b"\n") + encode_line({"error": why}))
        else:
            self._pool.succeeded(member)
        await send(request, response, last=True)

    # --- who is well -------------------------------------------------------------------------------------------------

    async def _wrong(self, member: Member) -> str:
        """What is wrong with a server that was left out; "" when it is there again, with the same weights."""
        server = self._servers[member]
        try:
            if server.remotes:
                return await asyncio.to_thread(_wrong_models, server)
            async with asyncio.timeout(PROBE_SECONDS), self._upstreams.get(f"{member.url}/api/tags") as answer:
                return wrong_weights(server.weights, (await answer.json(content_type=None))["models"])
        except TimeoutError:
            return f"no answer within {PROBE_SECONDS:.0f} s"
        except Exception as error:  # whatever answers there, it is none of ours
            return f"{type(error).__name__}: {error}"


def _last_line(data: bytes) -> bytes:
    """The last line that is not blank, with what is behind it."""
    return data[data.rstrip().rfind(b"\n") + 1 :]


def wrong_weights(expected: Collection[tuple[str, str]], listed: list[dict[str, object]]) -> str:
    """What is wrong with a listing of /api/tags, "" when it has every model with its sha256."""
    for name, digest in expected:
        entry = next((one for one in listed if same_model(str(one.get("model") or one.get("name")), name)), None)
        if entry is None:
            return f"it has no model {name!r} any more"
        found = str(entry.get("digest") or "").removeprefix("sha256:")
        if found != digest:
            return f"it has other weights under the name {name} now: sha256 {found[:12]}, not {digest[:12]}"
    return ""


def _wrong_models(server: PooledServer) -> str:
    first = server.remotes[0]
    try:
        there = {model.name: model for model in find_models(f"{server.url}/v1", first.key, patience=0)}
    except PreflightError as error:
        return error.message
    for model in server.remotes:
        if model.name not in there:
            return f"it has no model {model.name!r} any more"
        if different := differences(model, there[model.name]):
            return f"{model.name} is another one now: {different}"
    return ""

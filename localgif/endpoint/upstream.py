"""The server behind the gateway: its dialect, its turns, its stream."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import aiohttp

from localgif.endpoint.gguf import GgufFacts
from localgif.endpoint.ollama_reply import Delta, Thoughts, read_delta, upstream_failure
from localgif.endpoint.ollama_request import FOREVER, ApiError, Upstream, UpstreamBroken, adapted, counting_request
from localgif.records import RemoteModel


@dataclass(frozen=True)
class Card:
    """What the listings say about a model.

    Attributes:
        name: What clients ask for.
        facts: From its file, or what its server tells of them.
        num_ctx: The window that it is served with, tokens.
        digest: sha256 of the weights, hex; empty when nobody tells.
        size: Bytes of the weights; 0 when nobody tells.
        modified: Seconds since 1970.
        source: What it is made from: a file's name or a server's address.
        description: For people.
    """

    name: str
    facts: GgufFacts
    num_ctx: int
    digest: str = ""
    size: int = 0
    modified: float = 0.0
    source: str = ""
    description: str = ""


class LoadFailed(Exception):
    """The model could not be brought up; the text is for the user and names the reason."""


class Backend(Protocol):
    """One model behind the gateway."""

    card: Card

    def loaded(self) -> Upstream | None:
        """The server, when it is up; never waits."""

    def expires_in(self) -> float:
        """Seconds until the model is unloaded when nobody asks; may be infinite."""

    async def acquire(self) -> Upstream:
        """Keep the model loaded until `release`, and load it first when needed.

        A caller that is cancelled while it waits does not stop the load, and need not call `release`.

        Raises:
            LoadFailed: The next call tries again.
        """

    async def release(self, keep_alive: float | None) -> None:
        """End of one use.

        Args:
            keep_alive: Seconds to stay loaded from now; None is the default, 0 unloads when nobody else uses it.
        """

    async def obituary(self) -> str:
        """Why the server went away, e.g. "killed by SIGKILL"; empty when it is still there, or not ours."""

    async def close(self) -> None:
        """Stop at once, for good."""


#: How long a server may say that it is still loading, and how often it is asked.
LOAD_SECONDS = 900.0

POLL_SECONDS = 0.5

_LOADING = re.compile(r"\bloading\b", re.I)

BUSY = "server busy, please try again.  maximum pending requests exceeded"


def new_session() -> aiohttp.ClientSession:
    """A client for upstreams: no limit on time (a long prompt is silent for minutes), no proxy, no kept connections.

    A kept connection to an engine that ended meanwhile would fail the next request for nothing.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
        trust_env=False,
    )


class Turns:
    """First come, first served. One at a time by default: two busy llama.cpp on the same cores stop each other.

    Args:
        max_queue: How many may wait.
        slots: How many have their turn at once.
    """

    def __init__(self, max_queue: int, slots: int = 1) -> None:
        # asyncio's semaphore hands its places on in order, and does not let newcomers overtake.
        self._free = asyncio.Semaphore(slots)
        self._max_queue = max_queue
        self._waiting = 0

    @contextlib.asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Wait for the turn and keep it; a waiter that is cancelled leaves the queue.

        Raises:
            ApiError: 503; the queue is full.
        """
        if self._free.locked() and self._waiting >= self._max_queue:
            raise ApiError(503, BUSY)
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._free.release()


def _headers(upstream: Upstream) -> dict[str, str]:
    return {"Authorization": f"Bearer {upstream.key}"} if upstream.key else {}


@contextlib.asynccontextmanager
async def _posted(
    session: aiohttp.ClientSession, upstream: Upstream, path: str, body: dict[str, Any]
) -> AsyncIterator[aiohttp.ClientResponse]:
    """The answer to one request; waits while the server says that it is still loading its model."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + LOAD_SECONDS
    while True:
        async with session.post(upstream.url + path, json=body, headers=_headers(upstream)) as response:
            if response.status != 503:
                yield response
                return
            text = await response.text(errors="replace")
        if not _LOADING.search(text):
            raise upstream_failure(503, text)
        if loop.time() > deadline:
            raise ApiError(500, f"the upstream server did not load {upstream.model} within {LOAD_SECONDS:.0f} s")
        await asyncio.sleep(POLL_SECONDS)


async def deltas(
    session: aiohttp.ClientSession, upstream: Upstream, body: dict[str, Any]
) -> AsyncGenerator[Delta, None]:
    """The events of one generation. Closing the iterator closes the connection, which stops the generation.

    Raises:
        ApiError: The upstream refused the request, or did not load its model in time.
        UpstreamBroken: It died, or the stream ended without `[DONE]`, or it sent an error event.
    """
    try:
        async with _posted(session, upstream, "/v1/chat/completions", adapted(body, upstream)) as response:
            if response.status != 200:
                raise upstream_failure(response.status, await response.text(errors="replace"))
            async for data in _data_lines(response.content):
                if data == "[DONE]":
                    return
                yield read_delta(data)
    except (aiohttp.ClientError, OSError) as error:
        raise UpstreamBroken(f"the upstream server failed: {type(error).__name__}: {error}") from error
    raise UpstreamBroken("the upstream server ended the stream without [DONE]")


async def with_thoughts(events: AsyncGenerator[Delta, None]) -> AsyncGenerator[Delta, None]:
    """The same events, with thoughts that the server left in the text taken out of it."""
    thoughts = Thoughts()
    async with contextlib.aclosing(events):
        async for delta in events:
            content, thinking = thoughts.feed(delta.content)
            if delta.finish is not None:
                rest = thoughts.end()
                content, thinking = content + rest[0], thinking + rest[1]
            yield replace(delta, content=content, thinking=delta.thinking + thinking)


async def _data_lines(stream: aiohttp.StreamReader) -> AsyncIterator[str]:
    """Payloads of the `data:` lines; comments, pings and blank lines are not for us.

    Split by hand: aiohttp's own line reader refuses long lines.
    """
    rest = b""
    async for block in stream.iter_any():
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip().decode("utf-8", "replace")


async def count_tokens(session: aiohttp.ClientSession, upstream: Upstream, body: dict[str, Any]) -> int | None:
    """Tokens of the prompt that the upstream would make of this body, its chat template applied.

    Returns:
        None when the server cannot count.

    Raises:
        ApiError: As in `deltas`.
    """
    way = counting_request(body, upstream)
    if way is None:
        return None
    path, asked, member = way
    try:
        async with _posted(session, upstream, path, asked) as response:
            text = await response.text(errors="replace")
            if response.status in (404, 405, 501) and not upstream.ours:
                return None
            if response.status != 200:
                raise upstream_failure(response.status, text)
            value = await response.json(content_type=None)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise UpstreamBroken(f"the upstream server failed: {type(error).__name__}: {error}") from error
    count = value.get(member) if isinstance(value, dict) else None
    if not isinstance(count, int):
        raise UpstreamBroken("the upstream server did not count the prompt's tokens")
    return count


async def fit_window(
    session: aiohttp.ClientSession, upstream: Upstream, body: dict[str, Any], num_ctx: int | None
) -> None:
    """Enforce the window that the request asked for, which may be smaller than the allocated one; shortens the answer.

    A server of ours enforces its own window. Somebody else's may drop the beginning of the prompt while it writes
    (llama.cpp's context shift), or refuse a prompt that fits because the longest answer does not (vLLM).

    Raises:
        ApiError: 400; the prompt does not fit, or the window is larger than what is there.
    """
    if num_ctx is not None and num_ctx > upstream.window:
        raise ApiError(
            400,
            f"num_ctx {num_ctx} is larger than the context of {upstream.window} tokens that is allocated for "
            f"{upstream.model}; ask for at most {upstream.window}, or start the endpoint with a larger num_ctx",
        )
    window = upstream.window if num_ctx is None else num_ctx
    if upstream.ours and window == upstream.window:
        return
    prompt = await count_tokens(session, upstream, body)
    if prompt is None:
        return
    if prompt >= window:
        raise ApiError(
            400, f"request ({prompt} tokens) exceeds the available context size ({window} tokens), try increasing it"
        )
    # One token at least: vLLM refuses 0.
    body["max_tokens"] = max(1, min(body.get("max_tokens", window), window - prompt))


class Remote:
    """A `Backend` whose server is not ours to start, unload or mourn.

    Args:
        model: What `upstream.find_models` found there.
    """

    def __init__(self, model: RemoteModel) -> None:
        facts = GgufFacts(
            context_length=model.context_length or model.window,
            parameters=model.parameters,
            quantisation=model.quantisation,
            template=model.template,
        )
        self.card = Card(
            name=model.name,
            facts=facts,
            num_ctx=model.window,
            size=model.size,
            modified=float(model.created),
            source=f"{model.url}/v1",
            description=model.server,
        )
        self._upstream = Upstream(model.url, model.key, model.name, model.window, model.dialect, ours=False)

    def loaded(self) -> Upstream | None:
        return self._upstream

    def expires_in(self) -> float:
        return FOREVER

    async def acquire(self) -> Upstream:
        return self._upstream

    async def release(self, keep_alive: float | None) -> None:
        """Nothing: how long a model stays is its server's decision."""

    async def obituary(self) -> str:
        return ""

    async def close(self) -> None:
        """Nothing to stop."""
